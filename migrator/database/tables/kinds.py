"""What all tables have in common: their metadata, and kinds of columns that databases tell apart."""

from sqlalchemy import BigInteger, Integer, MetaData, Text
from sqlalchemy.dialects import postgresql

metadata = MetaData()

Serial = BigInteger().with_variant(Integer, "sqlite")
"""A number that the database gives out: SQLite only does so for a column of type INTEGER."""

Key = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""An identifier of somebody else's: compared and sorted by its bytes, whatever the database's locale."""
