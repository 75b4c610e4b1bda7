"""The settings of a campaign: loaded from file and environment, shown, digested, and an example to begin with."""

from migrator.config.effective import digest, effective, rules_digest
from migrator.config.example import comments, example_text, write_example
from migrator.config.loading import Loaded, load

__all__ = ["Loaded", "comments", "digest", "effective", "example_text", "load", "rules_digest", "write_example"]
