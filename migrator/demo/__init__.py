"""A whole campaign on a synthetic store, step by step, through the same services as the commands."""

from migrator.demo.stations import DemoResult, run

__all__ = ["DemoResult", "run"]
