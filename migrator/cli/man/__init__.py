"""Man pages: one for each command and one for migrator.toml, made from the texts that --help and the settings have."""

from migrator.cli.man.writing import pages, write

__all__ = ["pages", "write"]
