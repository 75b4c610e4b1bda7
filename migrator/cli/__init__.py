"""The command line: parses, calls a service, shows what came of it. Decides nothing, knows no SQL."""
