"""G10: each kind of bad input costs the one message or conversation concerned, and nothing else."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fixtures.world import Fault, FaultShares, Shape, UserShares, World
from tests.guarantees import reader
from tests.guarantees.reader import Shown
from tests.guarantees.support import run
from tests.support.campaigns import RUN, at, import_authorizations, import_exports, small_campaign
from tests.verification.support import rows, tamper

_SHARE = 0.04
_SOUND = Shape(
    accounts=12, conversations=24, messages=400, huge=1200, users=UserShares.none(), faults=FaultShares.none()
)
_SETTINGS = {"page_size": 200, "max_gap_fraction": 1.0, "max_failures": "100%"}
_REASONS = {
    "truncated": {"malformed", "corrupt"},
    "flipped": {"corrupt"},
    "moved": {"corrupt"},
    "unsupported_version": {"unsupported_version"},
    "nul_id": {"malformed"},
    "absurd_time": {"malformed"},
    "null_ciphertext": {"malformed"},
}
Contents = dict[str, dict[int, bytes]]
"""What readers see: contents by conversation and number of the message in it."""


def migrated(folder: Path, shape: Shape, *statements: str, source: str = "store.db") -> dict[str, Shown]:
    """What readers see after a run over a world, tampered with by statements before its plan."""
    spec = small_campaign(folder / "campaign", shape, authorization={"quorum": "owner"}, execution=_SETTINGS)
    if statements:
        tamper(spec, *statements, name=source)
    summary = run(spec)
    assert summary.pending == 0
    return reader.read(spec.directory)


def contents(shown: dict[str, Shown], world: World) -> Contents:
    """By number of message, whatever its id and time became."""
    return {
        name: {world.index_of(name, place[1]): content for place, content in conversation.messages.items()}
        for name, conversation in shown.items()
    }


@cache
def sound(huge: int = _SOUND.huge) -> Contents:
    """The world in which nothing is wrong."""
    shape = replace(_SOUND, huge=huge)
    with TemporaryDirectory(prefix="migrator-test-") as folder:
        return contents(migrated(Path(folder), shape), World(shape))


@pytest.mark.parametrize("kind", _REASONS)
def test_a_faulty_message_costs_itself(tmp_path: Path, kind: str) -> None:
    """Contained: every faulty row becomes a gap with its reason; every other one is as in the world without faults."""
    shape = replace(_SOUND, faults=FaultShares.none(**{kind: _SHARE}))
    world = World(shape)
    shown = migrated(tmp_path, shape)
    faulty = {
        copy.conversation_id: {m.index for m in world.messages(copy.conversation_id) if m.fault is not Fault.SOUND}
        for copy in world.copies
    }
    assert sum(map(len, faulty.values())) > 20
    found = contents(shown, world)
    for name, messages in sound().items():
        rest = {index: content for index, content in messages.items() if index not in faulty[name]}
        assert found.get(name, {}) == rest, name
        if rest:  # at least one message must open, else the conversation is held
            gaps = {world.index_of(name, message_id): reason for (_, message_id), reason in shown[name].gaps.items()}
            assert set(gaps) == faulty[name]
            assert set(gaps.values()) <= _REASONS[kind]


@pytest.mark.parametrize("kind", ["too_broad_export", "no_export", "locked", "legal_hold"])
def test_a_users_trouble_costs_that_users_conversations(tmp_path: Path, kind: str) -> None:
    """Contained: what is wrong with a user's export, inbox or account leaves every other mailbox as it was."""
    shape = replace(_SOUND, huge=0, users=UserShares.none(**{kind: 0.25}))
    world = World(shape)
    found = contents(migrated(tmp_path, shape), world)
    troubled = {
        person.number
        for person in world.people
        if person.status == "locked" or person.exporting.value in ("too_broad", "none")
    }
    assert len(troubled) == (0 if kind == "legal_hold" else 3)
    others = {copy.conversation_id for copy in world.copies if copy.owner not in troubled}
    assert found == {name: messages for name, messages in sound(0).items() if name in others}


_VICTIM = "in00000003"
_MALFORMED_ROWS = {
    "an id that is bytes": "UPDATE message SET message_id = CAST(message_id AS BLOB)",
    "a time that is text": "UPDATE message SET sent_at = 'yesterday ' || sent_at",
    "a ciphertext that is a number": "UPDATE message SET encrypted_message_data = 5",
    "a version that is text": "UPDATE message SET version = 'four'",
    "an epoch that is bytes": "UPDATE message SET epoch_id = x'ff00'",
    "a sender that is no text": "UPDATE message SET sender_id = x'ff00'",
    "a sender with a NUL": "UPDATE message SET sender_id = 'a' || char(0) || 'b'",
}


@pytest.mark.parametrize("name", _MALFORMED_ROWS)
def test_malformed_rows_cost_their_conversation(tmp_path: Path, name: str) -> None:
    """Contained: a mailbox full of values of the wrong type ends without a word; the others don't notice."""
    statement = f"{_MALFORMED_ROWS[name]} WHERE inbox_id = '{_VICTIM}'"
    found = contents(migrated(tmp_path, _SOUND, statement), World(_SOUND))
    others = {n: messages for n, messages in sound().items() if not n.startswith(f"{_VICTIM}/")}
    assert len(others) < len(sound())
    assert found == others


@pytest.mark.parametrize("part", ["x''", "substr(sealed, 1, 60)", "CAST(sealed || 'x' AS BLOB)", "zeroblob(100000)"])
def test_a_damaged_export_costs_its_user(tmp_path: Path, part: str) -> None:
    """Contained: an export that no longer unseals is as absent; the others open."""
    account = f"(SELECT export_no FROM migrator_export WHERE account_id = '{_VICTIM.replace('in', 'u')}')"
    statement = f"UPDATE migrator_export_part SET sealed = {part} WHERE export_no IN {account}"
    found = contents(migrated(tmp_path, _SOUND, statement, source="migrator.db"), World(_SOUND))
    assert found == {n: messages for n, messages in sound().items() if not n.startswith(f"{_VICTIM}/")}


def test_rubbish_in_the_hand_in_costs_nothing(tmp_path: Path) -> None:
    """Contained: hostile files among good ones are refused one by one, each with a reason; all else is recorded."""
    spec = small_campaign(tmp_path / "campaign", _SOUND, authorization={"quorum": "owner"}, execution=_SETTINGS)
    good = rows(spec, "SELECT (SELECT COUNT(*) FROM migrator_authorization), (SELECT COUNT(*) FROM migrator_export)")
    records, exports = (spec.directory / "hand-in" / name for name in ("authorizations", "exports"))
    token = next(records.glob("*.jws")).read_text().strip()
    rubbish = {
        "a.jws": token[:-3] + "AAA", "b.jws": "", "c.jws": "." * 70_000, "d.jws": "e30.e30.e30",
        "e.jsonl": "{" * 5000 + "\n\n" + token + "\n" + "\0\n",
    }  # fmt: skip
    for name, text in rubbish.items():
        (records / name).write_text(text)
    archive = next(exports.iterdir()).read_bytes()
    (exports / "a.export.tar").write_bytes(archive[: len(archive) // 2])
    (exports / "b.export.tar").write_bytes(b"\x1f\x8b" + archive)
    (exports / "c.export.tar").write_bytes(b"")
    late = at(spec, RUN)
    refused = [*import_authorizations(late).refused, *import_exports(late).refused]
    assert {path.rpartition("/")[2] for path in (str(r.file) for r in refused)} >= {
        "a.jws", "c.jws", "d.jws", "e.jsonl", "b.export.tar", "c.export.tar",
    }  # fmt: skip
    assert all(refusal.reason for refusal in refused)
    assert good == rows(
        spec, "SELECT (SELECT COUNT(*) FROM migrator_authorization), (SELECT COUNT(*) FROM migrator_export)"
    )
    run(late)
    assert contents(reader.read(spec.directory), World(_SOUND)) == sound()
