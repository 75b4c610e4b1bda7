"""Rollback: a run's server history goes, what was visible before it comes back, until the run is final (G7)."""

from migrator.rollback.rolling import RollbackResult, rollback

__all__ = ["RollbackResult", "rollback"]
