"""Key services: who wraps and unwraps data keys. `interface` is the port; one module for each service."""
