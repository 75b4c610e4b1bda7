"""Finalisations on both databases."""

from tests.verification.support import database_kind

__all__ = ["database_kind"]
