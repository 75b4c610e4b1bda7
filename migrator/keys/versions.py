"""Versions of wrapping keys: which one a blob is under, and which one is the newest."""

from migrator.campaign import Campaign
from migrator.core.encoding import canonical_json
from migrator.core.errors import KeyServiceError
from migrator.key_routing import PatientKeyService
from migrator.keyservices.interface import KeyRefusal

_PROBE = b"which version is the newest?"


def newest_version(campaign: Campaign, service: PatientKeyService) -> str:
    """The version that the service wraps under now, by wrapping something; empty where its blobs don't tell.

    No service is asked for its keys' metadata: the permission to wrap is enough.
    """
    context = canonical_json({"campaign": campaign.name, "purpose": "probe"})
    wrapped = service.wrap([(_PROBE, context)])[0]
    if isinstance(wrapped, KeyRefusal):
        raise KeyServiceError(f"{service.name} does not wrap: {wrapped.detail}")
    return service.version(wrapped)
