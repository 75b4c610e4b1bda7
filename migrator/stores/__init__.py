"""Message stores: where the E2EE history lies. `interface` is the port; one module for each kind of store."""
