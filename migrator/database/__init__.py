"""The migrator database: its tables, how it is reached, and how its schema moves from version to version."""
