"""The audit log as evidence for others: proofs about single entries, and the log against the database."""

from migrator.evidence.proving import prove
from migrator.evidence.reconciliation import Finding, FindingKind, Reconciliation, reconcile

__all__ = ["Finding", "FindingKind", "Reconciliation", "prove", "reconcile"]
