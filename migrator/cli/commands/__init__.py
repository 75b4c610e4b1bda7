"""The commands, one module per group: parse and call. What they show is made in `migrator.cli.views`."""
