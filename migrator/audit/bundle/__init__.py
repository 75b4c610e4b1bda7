"""Bundles: proofs about single entries, with all that somebody needs to check them without this program."""
