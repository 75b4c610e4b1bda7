"""The short cut through a part of key lines: what it takes, the parser reads alike; what it can't, it leaves."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from migrator.core.encoding import b64url_encode, canonical_json
from migrator.core.export import part_lines
from migrator.core.limits import LIMITS
from migrator.schemes.interface import KeyEntry, ScopeTooBroadError
from migrator.schemes.labyrinth import LabyrinthScheme
from migrator.schemes.labyrinth_lines import plain_entries

KEY = bytes(range(32))


def entry(**changes: Any) -> dict[str, Any]:
    """An entry as an honest client makes it, with some members changed."""
    made = {"conversation_id": "in-a/bob", "epoch_id": "e1", "epoch_sequence": 3, "message_key": b64url_encode(KEY)}
    return {**made, "version": 4, **changes}


def part(*entries: dict[str, Any]) -> bytes:
    """The part that a client writes."""
    return b"".join(canonical_json(each) + b"\n" for each in entries)


def line_by_line(plaintext: bytes) -> list[KeyEntry] | None:
    """What the parser makes of a part; None where it refuses a line."""
    entries = []
    for line in part_lines(plaintext, LIMITS.key_line_bytes):
        if isinstance(line, ValueError):
            return None
        try:
            entries += LabyrinthScheme().read_key_entries(line, lambda: None)
        except (ValueError, ScopeTooBroadError):
            return None
    return entries


_NATURAL = st.one_of(st.integers(min_value=0, max_value=5), st.integers(min_value=0, max_value=2**63 - 1))
_ENTRIES = st.lists(
    st.builds(
        entry,
        conversation_id=st.text(min_size=1, max_size=8),
        epoch_id=st.text(min_size=1, max_size=3),
        epoch_sequence=_NATURAL,
        version=_NATURAL,
        message_key=st.binary(min_size=32, max_size=32).map(b64url_encode),
    ),
    max_size=4,
)


@given(_ENTRIES)
@example([])
@example([entry(), entry(version=2**63 - 1)])
def test_what_it_takes_is_what_the_parser_reads(entries: list[dict[str, Any]]) -> None:
    """For any part of a client's it gives the parser's entries, or leaves the part alone."""
    found = plain_entries(part(*entries))
    assert found is None or found == line_by_line(part(*entries))


@given(st.data())
def test_any_other_byte_anywhere(data: st.DataObject) -> None:
    """A byte changed, put in or taken out: it still reads what the parser reads, or nothing."""
    plaintext = bytearray(part(entry(), entry(epoch_id="é")))
    at = data.draw(st.integers(min_value=0, max_value=len(plaintext) - 1))
    taken = data.draw(st.integers(min_value=0, max_value=1))
    plaintext[at : at + taken] = data.draw(st.binary(max_size=1))
    found = plain_entries(bytes(plaintext))
    assert found is None or found == line_by_line(bytes(plaintext))


def test_what_clients_write_is_taken() -> None:
    """Else every part would go the long way: any ids that need no escape, and no line end after the last line."""
    plaintext = part(entry(), entry(conversation_id="in-é/😀", epoch_id="x" * 256, epoch_sequence=0, version=0))
    found = plain_entries(plaintext)
    assert found == plain_entries(plaintext.removesuffix(b"\n")) == line_by_line(plaintext)
    assert found is not None
    assert found[0] == KeyEntry("in-a/bob", ("e1", 4), KEY)


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(entry()).encode(),
        part(entry(epoch_root_key="AA")),
        part(entry(conversation_id='"')),
        part(entry(conversation_id="x" * 257)),
        part(entry(conversation_id="")),
        part(entry(version=-1)),
        part(entry(version=True)),
        part(entry(version=10**18)),
        part(entry(message_key=b64url_encode(bytes(31)))),
        part(entry(message_key="_" * 43)),
        part(entry()).replace(b"\n", b"\r\n"),
        b"\n",
        b"\xff\n",
    ],
    ids=lambda line: line[:30],
)
def test_other_lines_are_left_to_the_parser(line: bytes) -> None:
    """Whatever is wrong or only unusual with one line, the whole part goes the long way."""
    assert plain_entries(part(entry()) + line) is None
    assert plain_entries(line + part(entry())) is None
