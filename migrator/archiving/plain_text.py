"""Words for people about a message, and texts of strangers made harmless to look at.

Characters that turn the direction of what follows, and control characters, could make a message look like another one
or hide what it says (Unicode Technical Report 36, section 2.4). They are written out, `⟦U+202E⟧`, never dropped.
"""

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from migrator.archiving.gap_words import ATTACHMENT_GAP_WORDS, in_words
from migrator.archiving.interface import Attachment
from migrator.archiving.matrix_event import MatrixEvent
from migrator.reading import ReadMessage

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TURNS: Final = frozenset([*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0x206A, 0x2070)])
"""Embeddings, overrides, isolates, and deprecated formatting characters."""
_KEPT: Final = frozenset("\t\n")


def moment_of(milliseconds: int) -> datetime | None:
    """When something was sent, in UTC; None where that is no time: a gap may have any number (`malformed`)."""
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def visible(text: str) -> str:
    """A text in which what steers a display is written out; line breaks are `\\n`."""
    if text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character.isprintable() or character in _KEPT:
        return character
    if ord(character) in _TURNS or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return f"\u27e6U+{ord(character):04X}\u27e7"
    return character


def readable(content: bytes) -> str | None:
    """Content that is UTF-8, as text; None where it is something else."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def summary(event: MatrixEvent) -> str:
    """What an event says, in plain words; the type alone where it says nothing that a reader of messages expects."""
    if event.reacts_to is not None:
        return f"reacted: {event.reaction}"
    if event.msgtype == "m.emote":
        return f"* {event.body}"
    return event.body or f"({event.type})"


def described(message: ReadMessage, event: MatrixEvent | None, attachments: Sequence[Attachment]) -> str:
    """The text of a message as mail: what it says, what it refers to, what is attached."""
    if event is None:
        text, notes = readable(message.content), list[str]()
        said = "(not text: the content is attached)" if text is None else text
    else:
        said, notes = summary(event), _relations(event)
    notes += [_attached(attachment) for attachment in attachments]
    return visible("\n\n".join([said, "\n".join(notes)] if notes else [said]) + "\n")


def _attached(attachment: Attachment) -> str:
    gap = attachment.gap
    state = "attached" if gap is None else f"not migrated: {in_words(ATTACHMENT_GAP_WORDS, gap)}"
    return f"[{attachment.kind} {attachment.name or 'without a name'}: {state}]"


def _relations(event: MatrixEvent) -> list[str]:
    relations = (
        ("Edits", event.edits),
        ("Reaction to", event.reacts_to),
        ("In reply to", event.replies_to),
        ("In the thread of", event.thread),
    )
    return [f"[{what} {target}]" for what, target in relations if target is not None]
