"""The audit log: events committed with their effect, one sequencer that writes them down, and how to read them."""
