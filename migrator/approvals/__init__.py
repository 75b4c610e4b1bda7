"""Four eyes: operators approve a plan with their SSH keys before production executes it.

`signing` makes a signature, `recording` keeps and revokes approvals, `standing` says which of them count and closes the
gate, `rehearsals` takes the word of a rehearsal in staging, or of who waives it.
"""
