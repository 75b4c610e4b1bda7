"""Looks attachments up for a stretch of entries at a time, so that there is no query for each message."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from migrator.archiving.interface import Attachment, AttachmentOpener
from migrator.reading import Entry, ReadMessage, place_of

STRETCH: Final = 200


def with_attachments(
    entries: Iterable[Entry], attachments: AttachmentOpener
) -> Iterator[tuple[Entry, Sequence[Attachment]]]:
    """Each entry with what is attached to it; memory holds one stretch, and no attachment's bytes."""
    rest = iter(entries)
    while stretch := list(islice(rest, STRETCH)):
        found = attachments.of([entry for entry in stretch if isinstance(entry, ReadMessage)])
        for entry in stretch:
            yield entry, found.get(place_of(entry), ())
