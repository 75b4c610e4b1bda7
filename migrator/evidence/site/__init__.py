"""The audit log as a static site: pages of entries with the state of their proof, checkpoints, lists, search."""

from migrator.evidence.site.writing import Site, write_site

__all__ = ["Site", "write_site"]
