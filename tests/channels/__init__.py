"""Tests of notice channels."""
