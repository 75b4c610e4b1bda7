"""What this machine, this database and this key service can do: measured on a synthetic store, and gone afterwards."""

from migrator.bench.measuring import MESSAGES, measure
from migrator.bench.result import BenchResult

__all__ = ["MESSAGES", "BenchResult", "measure"]
