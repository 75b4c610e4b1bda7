"""migrator: moves message history from end-to-end to server-side encryption, for those who authorised it."""

from importlib.metadata import version

__version__ = version("migrator")
