"""Verification: proves what a run did from its rows, keys, source and audit log (G6)."""

from migrator.verification.findings import Mismatch, MismatchKind, Verification
from migrator.verification.verifying import verify

__all__ = ["Mismatch", "MismatchKind", "Verification", "verify"]
