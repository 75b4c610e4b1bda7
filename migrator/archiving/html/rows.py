"""One entry as the page's template takes it: plain values, all texts made visible, HTML only where it was sanitised."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from migrator.archiving.html.index import Index, Related, Relation, Stands
from migrator.archiving.html.quoting import Quotes
from migrator.archiving.html.sanitising import sanitised
from migrator.archiving.interface import History
from migrator.archiving.matrix_event import MatrixEvent, event_of
from migrator.archiving.plain_text import moment_of, readable, visible
from migrator.core.clock import format_time
from migrator.reading import Entry, ReadGap

_SHOWN_AS_TEXT: Final = frozenset(("m.room.message", "m.sticker", "m.reaction"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """An entry of the page with all that the index knows of it."""

    number: int
    entry: Entry
    event: MatrixEvent | None
    edits: Related
    reactions: Related
    thread: Related
    edited_before: Sequence[Stands]


def rows(
    history: History, index: Index, first: int, entries: Sequence[Entry], files: Sequence[Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """The rows of a page that begins with the number `first`; `files`: what was saved of each one's attachments."""
    known = [_known(index, number, entry) for number, entry in enumerate(entries, start=first)]
    targets = index.find(target for one in known for target in _targets(one.event))
    wanted = [*targets.values()]
    for one in known:
        wanted += [*one.reactions.first, *one.edited_before]
    quotes = Quotes(history, wanted)
    return [_row(one, targets, quotes, saved) for one, saved in zip(known, files, strict=True)]


def _known(index: Index, number: int, entry: Entry) -> _Known:
    event = None if isinstance(entry, ReadGap) else event_of(entry)
    return _Known(
        number=number,
        entry=entry,
        event=event,
        edits=index.about(entry.message_id, Relation.EDIT),
        reactions=index.about(entry.message_id, Relation.REACTION),
        thread=index.about(entry.message_id, Relation.THREAD),
        edited_before=index.edit_before(event.edits, number) if event is not None and event.edits is not None else (),
    )


def _targets(event: MatrixEvent | None) -> list[str]:
    if event is None:
        return []
    return [t for t in (event.edits, event.reacts_to, event.thread, event.replies_to) if t is not None]


def _row(
    known: _Known, targets: Mapping[str, Stands], quotes: Quotes, saved: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    entry = known.entry
    moment = moment_of(entry.sent_at)
    row: dict[str, Any] = {
        "number": known.number,
        "event_id": visible(entry.message_id),
        "day": "without a date" if moment is None else moment.date().isoformat(),
        "time": f"time {entry.sent_at}" if moment is None else moment.time().isoformat(timespec="seconds"),
        "moment": "" if moment is None else format_time(moment),
        "edits": known.edits,
        "reactions": known.reactions,
        "reaction_words": _reaction_words(known.reactions, quotes),
        "thread": known.thread,
        "gap": None,
        "links": [],
        "files": [],
        "file_left": None,
        "html": None,
        "note": None,
        "reaction": None,
        "replaced": None,
    }
    if isinstance(entry, ReadGap):
        return {**row, "gap": entry.reason, "sender": None}
    row |= {"sender": visible(entry.sender_id), "files": [_file(file) for file in saved]}
    return {**row, **_said(known, targets, quotes)}


def _said(known: _Known, targets: Mapping[str, Stands], quotes: Quotes) -> dict[str, Any]:
    """What a message says, and what it refers to."""
    entry, event = known.entry, known.event
    if isinstance(entry, ReadGap):
        raise TypeError("a gap says nothing")
    if event is None:
        text = readable(entry.content)
        opaque = base64.encodebytes(entry.content).decode() if text is None else None
        return {"kind": "opaque", "text": visible(text or ""), "raw": opaque}
    replaced = None
    if event.edits is not None:
        replaced = quotes.replaced(entry.sender_id, targets.get(event.edits), known.edited_before)
    formatted = None if event.formatted_body is None else sanitised(event.formatted_body)
    plain = event.type in _SHOWN_AS_TEXT and (event.body or event.reacts_to is not None)
    return {
        "kind": "emote" if event.msgtype == "m.emote" else "message",
        "text": visible(event.body),
        "html": None if formatted is None else Markup(formatted),  # noqa: S704 - sanitised by nh3's allow-list
        "raw": None if plain else visible(entry.content.decode()),
        "note": _note(event),
        "replaced": replaced,
        "reaction": visible(event.reaction) if event.reacts_to is not None else None,
        "links": _links(event, targets, quotes),
        "file_left": _file_left(event),
    }


def _file_left(event: MatrixEvent) -> str | None:
    """The address of a file that a message names, for where none was migrated; it is shown, never fetched."""
    file = event.new_content.get("file")
    address = file.get("url") if isinstance(file, dict) else event.new_content.get("url")
    return visible(address[:500]) if isinstance(address, str) else None


def _note(event: MatrixEvent) -> str | None:
    """What a reader must know beside the text."""
    if event.type not in _SHOWN_AS_TEXT:
        return visible(event.type)
    if event.msgtype == "m.location":
        uri = event.new_content.get("geo_uri")
        return visible(uri) if isinstance(uri, str) else "location"
    return {"m.sticker": "sticker"}.get(event.type) or ("notice" if event.msgtype == "m.notice" else None)


def _links(event: MatrixEvent, targets: Mapping[str, Stands], quotes: Quotes) -> list[dict[str, Any]]:
    found = (
        ("edits", event.edits),
        ("reacts to", event.reacts_to),
        ("in the thread of", event.thread),
        ("in reply to", event.replies_to),
    )
    return [
        {"what": what, "event_id": visible(t), "stands": targets.get(t), "quote": quotes.of(targets.get(t))}
        for what, t in found
        if t is not None
    ]


def _reaction_words(reactions: Related, quotes: Quotes) -> list[tuple[str, int]]:
    words = Counter(q.reaction for stands in reactions.first if (q := quotes.of(stands)) is not None and q.reaction)
    return words.most_common()


def _file(saved: Mapping[str, Any]) -> dict[str, Any]:
    name, path = saved["name"], saved["file"]
    picture = path is not None and saved["kind"] == "thumbnail" and path.endswith((".png", ".jpg", ".gif", ".webp"))
    return {**saved, "name": visible(name) if name else saved["kind"], "picture": picture}
