"""Signed authorisations: imported into the migrator database, linked to threads, counted (formats, section 3)."""

from migrator.authorizations.counting import AuthorizationStatus, status
from migrator.authorizations.importing import import_paths
from migrator.authorizations.scopes import link_scopes

__all__ = ["AuthorizationStatus", "import_paths", "link_scopes", "status"]
