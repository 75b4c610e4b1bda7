"""Client exports: taken in sealed, opened during execution only."""
