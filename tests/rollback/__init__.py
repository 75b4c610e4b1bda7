"""Rollback: everything comes back, whenever it is killed."""
