"""Verification: a sound run passes, and whatever is tampered with is found."""
