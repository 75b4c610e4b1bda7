"""Whether attachments can be taken over: the source's are there, and a blob can be written, read and removed."""

import secrets
from typing import Final

from migrator.campaign import Campaign
from migrator.core.errors import BlobsUnavailableError, ConfigError

_CONTENT: Final = b"migrator preflight"


def probe(campaign: Campaign) -> str:
    """The name of the store that works; raises where it, or the source's attachments, can't be used."""
    _ = campaign.media
    blobs, name = campaign.blobs, secrets.token_hex(16)
    if blobs is None:
        raise ConfigError("attachments.target is not set", hint="it says where sealed attachments go")
    with blobs.writing(name) as file:
        file.write(_CONTENT)
    with blobs.reading(name) as sealed:
        same = sealed.read() == _CONTENT
    blobs.delete([name])
    if not same:
        raise BlobsUnavailableError(f"{blobs.name} gives back something else than was written", hint="see to the store")
    return blobs.name
