"""Fixtures for tests of keys over time."""

from tests.verification.support import database_kind

__all__ = ["database_kind"]
