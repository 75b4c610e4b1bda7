"""Tests of `migrator.execution.control`."""
