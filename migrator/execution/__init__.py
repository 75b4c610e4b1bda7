"""Execution of a plan: lease, shards, workers, the transactions that move a conversation."""
