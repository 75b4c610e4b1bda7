"""Engines: what runs the workers. `interface` is the port; one module for each engine."""
