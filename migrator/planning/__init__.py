"""Planning: a decision for every conversation of the source, and the plan file that says so."""
