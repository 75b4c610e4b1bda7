"""The audit log as evidence for others: proofs about single entries, a site to read, the log against the database."""

from migrator.evidence.proving import prove
from migrator.evidence.reconciliation import Finding, FindingKind, Reconciliation, reconcile
from migrator.evidence.site import Site, write_site

__all__ = ["Finding", "FindingKind", "Reconciliation", "Site", "prove", "reconcile", "write_site"]
