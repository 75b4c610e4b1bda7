"""A decrypted Matrix event as the client sealed it: its payload taken apart without being changed.

What came out of a decryptor is the sender's own text. Parsing it and writing it again would change floats, large
numbers and repeated members, so the exact text of each member is kept beside its value. Anything may stand in it; what
does not have the form that the Matrix specification gives it is treated as if it were not there.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NoReturn

from migrator.core.encoding import check_depth
from migrator.history import storable
from migrator.reading import ReadMessage

MAX_DEPTH: Final = 100
"""Deeper JSON is kept as it is, as bytes: most parsers of archives would not survive it."""
_RELATION: Final = "m.relates_to"
_MAX_IDENTIFIER: Final = 1024
_SPACE: Final = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixEvent:
    """Type and content of an event; `exact`: the text of each top-level member's value as it was written."""

    type: str
    content: Mapping[str, Any] = field(repr=False)
    exact: Mapping[str, str] = field(repr=False)

    @property
    def body(self) -> str:
        """The plain text; of an edit, its new text."""
        return _text(self.new_content, "body")

    @property
    def formatted_body(self) -> str | None:
        """The HTML, which is its sender's and must be sanitised; of an edit, the new one."""
        if self.new_content.get("format") != "org.matrix.custom.html":
            return None
        return _text(self.new_content, "formatted_body") or None

    @property
    def msgtype(self) -> str:
        """`m.text`, `m.image`, …; empty where there is none."""
        return _text(self.new_content, "msgtype")

    @property
    def new_content(self) -> Mapping[str, Any]:
        """What counts once an edit is applied; the content itself where this is no edit."""
        replaced = self.content.get("m.new_content")
        return replaced if self.edits is not None and isinstance(replaced, dict) else self.content

    def file(self, attachment_id: str) -> tuple[str | None, str | None]:
        """Name and media type that the sender gives an attachment; None where none is given.

        The id says where it stands (`schemes/encrypted_file`): `file` or `thumbnail`, with `new.` those of an edit.
        """
        replaced = self.content.get("m.new_content")
        content = replaced if attachment_id.startswith("new.") and isinstance(replaced, dict) else self.content
        info = content.get("info")
        info = info if isinstance(info, dict) else {}
        if attachment_id.endswith("thumbnail"):
            about = info.get("thumbnail_info")
            return None, _text(about if isinstance(about, dict) else {}, "mimetype") or None
        return _text(content, "filename") or _text(content, "body") or None, _text(info, "mimetype") or None

    @property
    def edits(self) -> str | None:
        """Id of the event that this one replaces."""
        return self._related("m.replace")

    @property
    def reacts_to(self) -> str | None:
        """Id of the event that this one is a reaction to."""
        return self._related("m.annotation")

    @property
    def reaction(self) -> str:
        """What the reaction says, mostly one emoji."""
        return _text(self._relation, "key")

    @property
    def thread(self) -> str | None:
        """Id of the event at the root of the thread that this one stands in."""
        return self._related("m.thread")

    @property
    def replies_to(self) -> str | None:
        """Id of the event that this one answers; what a thread names for clients without threads is no answer."""
        reply = self._relation.get("m.in_reply_to")
        if not isinstance(reply, dict) or (self.thread is not None and self._relation.get("is_falling_back") is True):
            return None
        return _identifier(reply.get("event_id"))

    @property
    def _relation(self) -> Mapping[str, Any]:
        relation = self.content.get(_RELATION)
        return relation if isinstance(relation, dict) else {}

    def _related(self, kind: str) -> str | None:
        return _identifier(self._relation.get("event_id")) if self._relation.get("rel_type") == kind else None


def is_json(content_type: str) -> bool:
    """Whether that is what Matrix events are kept as (`application/json;type=m.room.message`)."""
    return content_type.partition(";")[0].strip().lower() == "application/json"


def event_of(message: ReadMessage) -> MatrixEvent | None:
    """The event in a message; None where its content is something else.

    What it refers to stands beside the ciphertext, and counts even where that is nothing (Matrix 1.11, client-server
    API, "Forming relationships between events"); what stands in the payload counts only where the source has no word.
    """
    event = parse(message.content) if is_json(message.content_type) else None
    if event is None or message.relation is None:
        return event
    content = {name: value for name, value in event.content.items() if name != _RELATION}
    return replace(event, content={**content, _RELATION: _parsed(message.relation)})


def parse(payload: bytes) -> MatrixEvent | None:
    """The event in a payload; None where it is not strict JSON in UTF-8 of bounded depth, an object, or has no type."""
    try:
        text = payload.decode()
        check_depth(text, MAX_DEPTH)
        values, exact = _members(text)
    except ValueError:
        return None
    kind, content = values.get("type"), values.get("content")
    if not isinstance(kind, str):
        return None
    return MatrixEvent(type=kind, content=content if isinstance(content, dict) else {}, exact=exact)


def clear_relation(message: ReadMessage) -> str | None:
    """What stands beside the ciphertext as text that may be part of a document; None where the source has no word."""
    if message.relation is None:
        return None
    return message.relation if isinstance(_parsed(message.relation), dict) else "null"


def _parsed(relation: str) -> object:
    try:
        check_depth(relation, MAX_DEPTH)
        value: object = _DECODER.decode(relation)
    except ValueError:
        return None
    return value


def _members(text: str) -> tuple[dict[str, object], dict[str, str]]:
    """The members of the object that the text is, by value and by exact text; of repeated ones the last counts."""
    values: dict[str, object] = {}
    exact: dict[str, str] = {}
    at = _expect(text, 0, "{")
    if text[at : at + 1] == "}":
        return _ended(text, at + 1, values, exact)
    while True:
        if text[at : at + 1] != '"':
            raise ValueError("a member without a name")
        name, end = _DECODER.raw_decode(text, at)
        at = _expect(text, end, ":")
        values[name], end = _DECODER.raw_decode(text, at)
        exact[name] = text[at:end]
        at = _space(text, end)
        if text[at : at + 1] == "}":
            return _ended(text, at + 1, values, exact)
        at = _expect(text, at, ",")


def _ended(
    text: str, at: int, values: dict[str, object], exact: dict[str, str]
) -> tuple[dict[str, object], dict[str, str]]:
    if _space(text, at) != len(text):
        raise ValueError("more than one value")
    return values, exact


def _expect(text: str, at: int, mark: str) -> int:
    """The place of what follows a mark and the space around it."""
    at = _space(text, at)
    if text[at : at + 1] != mark:
        raise ValueError(f"no {mark}")
    return _space(text, at + 1)


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def _integer(digits: str) -> int | str:
    """A number that Python takes no part in (over 4,300 digits) stays text: nobody computes with it here."""
    try:
        return int(digits)
    except ValueError:
        return digits


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not JSON: a constant such as NaN")


_DECODER: Final = json.JSONDecoder(parse_int=_integer, parse_constant=_no_constant)


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""


def _identifier(value: object) -> str | None:
    """An id that a database could hold; None for anything else."""
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_IDENTIFIER and storable(value) else None
