"""Tests here may ask for PostgreSQL."""

from tests.verification.support import database_kind

__all__ = ["database_kind"]
