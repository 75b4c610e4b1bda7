"""Reports: numbers that reconcile, files that keep to themselves."""
