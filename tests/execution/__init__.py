"""Execution: its units, and whole runs that are killed, resumed, extended and compared."""
