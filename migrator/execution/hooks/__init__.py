"""An operator's own programs that a run calls: before it opens anything, and when something happens to it."""
