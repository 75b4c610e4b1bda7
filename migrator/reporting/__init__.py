"""Reports: what a run came to, in numbers that reconcile with the rows, and as files for those who ask."""

from migrator.reporting.numbers import SCHEMA, summary
from migrator.reporting.saving import SavedFile, SavedReport, save

__all__ = ["SCHEMA", "SavedFile", "SavedReport", "save", "summary"]
