"""Tests of the facts that decisions rest on."""
