"""Tests of migrator.execution.hooks."""
