"""A key service of somebody else's."""
