"""Key lines of the Megolm scheme that come from files: whole parts, derived once, contained whatever they hold."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from migrator.core.encoding import canonical_json
from migrator.core.limits import LIMITS
from migrator.schemes import megolm_keys
from migrator.schemes.megolm import MegolmScheme
from migrator.schemes.megolm_keys import KeyLines
from tests.support.megolm import PASSPHRASE, Sending, key_file


def line_of(*sendings: Sending, rounds: int = 3) -> dict[str, str]:
    """A line with a file."""
    return {"megolm_key_export": key_file([s.entry() for s in sendings], rounds=rounds), "passphrase": PASSPHRASE}


@pytest.mark.parametrize("passphrase", [PASSPHRASE, "пароль-密码-🔑", 'quote " and \\ backslash', "new\nline", ""])
def test_a_file_that_is_a_whole_part_is_read_as_its_line_is(passphrase: str) -> None:
    """The short cut gives what the parser's way gives."""
    text = key_file([Sending().entry(), Sending("!b:lab").entry()], passphrase)
    line = {"megolm_key_export": text, "passphrase": passphrase}
    entries = MegolmScheme().read_plain_part(canonical_json(line) + b"\n")
    assert entries == list(MegolmScheme().read_key_entries(line, lambda: None))
    assert entries is not None
    assert len(entries) == 2


def test_only_the_plainest_form_is_taken_whole() -> None:
    """Two lines, another order, spaces, other escapes: the parser sees to those, under its limit on lines."""
    line = line_of(Sending())
    part = canonical_json(line) + b"\n"
    for other in (
        part + part,
        json.dumps(line).encode(),
        canonical_json({**line, "more": ""}),
        part.replace(b"\\n", b"\\u000a"),
        part[:-2],
        b"",
        canonical_json({"conversation_id": "!a", "sessions": []}),
    ):
        assert MegolmScheme().read_plain_part(other) is None


@pytest.mark.parametrize(
    "changes",
    [{"passphrase": "other"}, {"megolm_key_export": "x"}, {"passphrase": "x" * (LIMITS.passphrase_bytes + 1)}],
)
def test_a_whole_part_that_does_not_open_is_unusable(changes: Mapping[str, str]) -> None:
    """A wrong passphrase, no file, a passphrase that is too long."""
    with pytest.raises(ValueError, match=r"\w"):
        MegolmScheme().read_plain_part(canonical_json({**line_of(Sending()), **changes}))


def test_a_file_much_longer_than_a_line_is_read() -> None:
    """Files have no bound but the part's; what stands in one is filed under its room."""
    entry = Sending().entry()
    entries: list[Any] = [entry | {"room_id": f"!{n}:lab"} for n in range(300)]
    part = canonical_json({"megolm_key_export": key_file(entries), "passphrase": PASSPHRASE})
    assert len(part) > 2 * LIMITS.key_line_bytes
    found = MegolmScheme().read_plain_part(part)
    assert found is not None
    assert [e.conversation_id for e in found] == [f"!{n}:lab" for n in range(300)]


def test_what_is_no_session_in_a_file_costs_itself() -> None:
    """Of other kinds, without a room, under another's id."""
    good, other = Sending(), Sending()
    entries: list[Any] = [
        None, 7, [], {}, good.entry() | {"room_id": None}, good.entry() | {"room_id": "\0"},
        other.entry(session_id=good.session_id), good.entry(),
    ]  # fmt: skip
    line = {"megolm_key_export": key_file(entries), "passphrase": PASSPHRASE}
    assert [e.slot for e in MegolmScheme().read_key_entries(line, lambda: None)] == [good.session_id]


def test_keys_of_a_file_are_derived_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the file is read, until as many others came in between as are remembered."""
    asked: list[int] = []
    real = megolm_keys.pbkdf2

    def counting(passphrase: bytes, salt: bytes, rounds: int, length: int) -> bytes:
        asked.append(rounds)
        return real(passphrase, salt, rounds, length)

    monkeypatch.setattr(megolm_keys, "pbkdf2", counting)
    monkeypatch.setattr(megolm_keys, "MAX_DERIVED", 2)
    lines = KeyLines()
    files = [line_of(Sending(), rounds=rounds) for rounds in (3, 4, 5)]
    for file in (files[0], files[0], files[1], files[0], files[2], files[0], files[1]):
        list(lines.read(file, lambda: None))
    assert asked == [3, 4, 5, 4]
