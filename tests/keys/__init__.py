"""Tests of keys over time."""
