"""Schemes: how a source's message is opened. `interface` is the port; one module for each scheme."""
