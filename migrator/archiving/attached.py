"""The attachments of migrated messages, for archives: what server history has of them, under their senders' names."""

from collections.abc import Iterable, Mapping, Sequence

from migrator.archiving.interface import Attachment
from migrator.archiving.matrix_event import MatrixEvent, event_of
from migrator.history import Place
from migrator.reading import History, ReadAttachment, ReadMessage, place_of


class StoredAttachments:
    """Finds them within the read transaction of a history; nothing is opened before somebody reads it."""

    def __init__(self, history: History) -> None:
        self._history = history

    def of(self, messages: Sequence[ReadMessage]) -> Mapping[Place, Sequence[Attachment]]:
        """The attachments of some messages; see the interface."""
        found = self._history.attachments(messages)
        bearing = [message for message in messages if place_of(message) in found]
        return {place_of(message): _attachments(event_of(message), found[place_of(message)]) for message in bearing}


def _attachments(event: MatrixEvent | None, stored: Iterable[ReadAttachment]) -> list[Attachment]:
    return [_attachment(event, one) for one in stored]


def _attachment(event: MatrixEvent | None, stored: ReadAttachment) -> Attachment:
    """Name and kind are what the event says; content that is no event says neither."""
    name, mimetype = (None, None) if event is None else event.file(stored.attachment_id)
    return Attachment(
        kind=stored.kind,
        name=name,
        mimetype=mimetype,
        size=stored.size,
        gap=stored.reason,
        chunks=stored.chunks,
    )
