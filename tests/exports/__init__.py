"""Tests of client exports."""
