"""The guarantees of the design, held by number (G8, the evidence of the log, by the tests of `tests/audit`)."""
