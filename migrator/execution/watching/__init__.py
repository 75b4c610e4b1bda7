"""What anybody sees of a run from any shell, out of the rows alone; and what the process at work tells by itself."""
