"""Tests of migrator.execution.watching."""
