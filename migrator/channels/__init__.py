"""Notice channels: how a notice leaves for its reader. `interface` is the port; one module for each channel."""
