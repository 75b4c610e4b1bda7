"""Tests of migrator.config."""
