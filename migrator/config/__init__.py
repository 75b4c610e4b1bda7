"""The settings of a campaign: loaded from file and environment, shown, digested, and an example to begin with."""

from migrator.config.effective import digest, effective, rules_digest
from migrator.config.example import write_example
from migrator.config.loading import Loaded, load

__all__ = ["Loaded", "digest", "effective", "load", "rules_digest", "write_example"]
