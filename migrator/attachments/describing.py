"""What is said of the attachments of opened messages, by their content or by the source's own table."""

from collections.abc import Sequence

from migrator.campaign import Campaign
from migrator.core.attachments import Described
from migrator.schemes.interface import BearsAttachments
from migrator.stores.interface import ListsAttachments, LocatesAttachments

Message = tuple[str, str, str, bytes]
"""(conversation id, message id, content type, content)."""


def described_by(campaign: Campaign, messages: Sequence[Message]) -> list[list[Described]]:
    """The attachments of each message, in order; each has an id of its own within its message."""
    scheme, store = campaign.scheme, campaign.store
    found: list[list[Described]] = [[] for _ in messages]
    if isinstance(scheme, BearsAttachments):
        for listed, (_, _, content_type, content) in zip(found, messages, strict=True):
            listed.extend(scheme.attachments_of(content_type, content))
    if isinstance(store, ListsAttachments):
        wanted: dict[str, set[str]] = {}
        for conversation_id, message_id, _, _ in messages:
            wanted.setdefault(conversation_id, set()).add(message_id)
        in_table = store.attachments_of(wanted)
        for listed, (conversation_id, message_id, _, _) in zip(found, messages, strict=True) if in_table else ():
            listed.extend(in_table.get((conversation_id, message_id), ()))
    return [list({one.attachment_id: one for one in listed}.values()) for listed in found]


def locations_of(campaign: Campaign, uris: Sequence[str]) -> dict[str, str | None]:
    """Where attachments lie below `source.media`, as `LocatesAttachments` says; by their URIs where nobody says."""
    store = campaign.store
    return store.locations(uris) if isinstance(store, LocatesAttachments) else {uri: uri for uri in uris}
