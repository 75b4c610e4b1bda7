"""A real homeserver's events with real clients' keys, against what those clients sent (`fixtures/synapse_lab`)."""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fixtures import synapse_lab
from migrator.core.model import MessageRow
from migrator.core.outcomes import GapReason
from migrator.execution.claims import settle
from migrator.schemes.interface import KeyRing, Opened
from migrator.schemes.megolm import MegolmScheme
from migrator.stores.source_database import SourceDatabase
from migrator.stores.synapse_backup import SynapseKeyBackup
from tests.matrix.oracle import EDGES
from tests.support.megolm import Alone, room

CAROL = "@carol:lab.example"
_EVENTS = """
SELECT e.event_id, e.room_id, e.origin_server_ts, e.sender, e.state_key, e.rejection_reason, j.json,
  EXISTS (SELECT 1 FROM redactions r WHERE r.redacts = e.event_id)
FROM events e JOIN event_json j ON j.event_id = e.event_id WHERE e.type = 'm.room.encrypted'
ORDER BY e.origin_server_ts, e.event_id
"""

Rooms = Mapping[str, list[MessageRow]]
Results = dict[str, Opened | GapReason]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lab, unpacked."""
    folder = tmp_path_factory.mktemp("lab")
    synapse_lab.unpack(folder)
    return folder


@pytest.fixture(scope="module")
def rooms(lab: Path) -> Rooms:
    """The encrypted events of each room, in message order, as a store gives them."""
    connection = sqlite3.connect(lab / synapse_lab.DATABASE)
    try:
        owners = _owners(connection)
        found: dict[str, list[MessageRow]] = defaultdict(list)
        for event_id, room_id, sent_at, sender, state_key, rejected, text, redacted in connection.execute(_EVENTS):
            content = json.loads(text)["content"] if state_key is None else {}
            closed = bool(redacted) or rejected is not None
            named = {name: value for name, value in content.items() if isinstance(value, str)}
            ciphertext = named["ciphertext"].encode() if "ciphertext" in named and not closed else None
            found[room_id].append(
                (
                    sent_at, event_id, sender, ciphertext, named.get("algorithm"), named.get("session_id"),
                    named.get("sender_key"), closed, owners, True,
                )
            )  # fmt: skip
    finally:
        connection.close()
    return found


def _owners(connection: sqlite3.Connection) -> dict[str, str]:
    owners: dict[str, str] = {}
    for user_id, device_id, text in connection.execute("SELECT user_id, device_id, key_json FROM e2e_device_keys_json"):
        key = json.loads(text)["keys"][f"curve25519:{device_id}"]
        owners[key] = "" if key in owners else user_id
    return owners


@pytest.fixture(scope="module")
def truth(lab: Path) -> dict[str, dict[str, Any]]:
    """What the clients sent, by event."""
    return {line["event_id"]: line for line in map(json.loads, (lab / "truth.jsonl").read_text().splitlines())}


@pytest.fixture(scope="module")
def secrets(lab: Path) -> dict[str, Any]:
    """Passphrases and recovery keys."""
    found: dict[str, Any] = json.loads((lab / "secrets.json").read_text())
    return found


@pytest.fixture(scope="module")
def exported(lab: Path, secrets: Mapping[str, Any]) -> dict[str, KeyRing]:
    """The keys of all exports, by room."""
    scheme = MegolmScheme()
    rings: dict[str, KeyRing] = defaultdict(dict)
    for name, secret in secrets["exports"].items():
        line = {"megolm_key_export": (lab / "exports" / name).read_text(), "passphrase": secret["passphrase"]}
        for entry in scheme.read_key_entries(line, Alone()):
            rings[entry.conversation_id].setdefault(entry.slot, []).append(entry.key)
    return rings


@pytest.fixture
def backup(lab: Path, rooms: Rooms) -> Iterator[SynapseKeyBackup]:
    """Carol's backup, as the homeserver keeps it."""
    database = SourceDatabase(f"sqlite:///{lab / synapse_lab.DATABASE}")
    yield SynapseKeyBackup(database, CAROL, list(rooms))
    database.close()


def results_of(rooms: Rooms, rings: Mapping[str, KeyRing]) -> Results:
    """What becomes of each event, replays settled as execution does."""
    scheme = MegolmScheme()
    found: Results = {}
    for room_id, rows in rooms.items():
        results = scheme.open_messages([(room(room_id), rings.get(room_id, {}), rows)])[0]
        settle(scheme, rows, results)
        found.update(zip([row[1] for row in rows], results, strict=True))
    return found


def test_exactly_what_may_be_opened_is(
    rooms: Rooms, exported: Mapping[str, KeyRing], truth: Mapping[str, Mapping[str, Any]]
) -> None:
    """264 of 312, and each of them says what its client sent."""
    results = results_of(rooms, exported)
    assert len(results) == 312
    opened = {event_id: result for event_id, result in results.items() if isinstance(result, tuple)}
    assert len(opened) == 264
    for event_id, (content_type, content) in opened.items():
        sent = truth[event_id]
        if "raw_plaintext" in sent:
            assert content == sent["raw_plaintext"].encode()
        else:
            assert json.loads(content) == sent["plaintext"]
        assert content_type == f"application/json;type={json.loads(content)['type']}"


def test_each_of_the_others_has_its_reason(
    rooms: Rooms, exported: Mapping[str, KeyRing], truth: Mapping[str, Mapping[str, Any]]
) -> None:
    """By what was done to it: 10 redacted, 25 without a key, 13 bad on purpose."""
    results = results_of(rooms, exported)
    gaps = {event_id: result.value for event_id, result in results.items() if isinstance(result, GapReason)}
    edges = {truth[e]["case"]: reason for e, reason in gaps.items() if truth[e]["case"].startswith("edge-")}
    assert edges == EDGES
    rest = Counter(reason for e, reason in gaps.items() if not truth[e]["case"].startswith("edge-"))
    assert rest == {"redacted": 10, "no_key": 24}


def test_the_order_of_keys_changes_nothing(rooms: Rooms, exported: Mapping[str, KeyRing]) -> None:
    """Exports come in any order."""
    turned: dict[str, KeyRing] = {
        room_id: {slot: keys[::-1] for slot, keys in ring.items()} for room_id, ring in exported.items()
    }
    assert results_of(rooms, turned) == results_of(rooms, exported)


@pytest.mark.parametrize("way", ["backup_recovery_key", "ssss_recovery_key", "ssss_passphrase"])
def test_the_server_side_backup_opens_in_each_way(
    rooms: Rooms, secrets: Mapping[str, Any], backup: SynapseKeyBackup, exported: Mapping[str, KeyRing], way: str
) -> None:
    """By its own recovery key, by that of secret storage and by the passphrase: the same 30 sessions."""
    member = "secret_storage_passphrase" if way == "ssss_passphrase" else "backup_recovery_key"
    entries = list(MegolmScheme().read_key_entries({member: secrets["backup"][way]}, Alone(backup)))
    assert len(entries) == secrets["backup"]["sessions"]
    rings: dict[str, KeyRing] = defaultdict(dict)
    for entry in entries:
        rings[entry.conversation_id][entry.slot] = [entry.key]
    opened = [result for result in results_of(rooms, rings).values() if isinstance(result, tuple)]
    alone = {room_id: {s: exported[room_id][s] for s in ring} for room_id, ring in rings.items()}
    assert opened
    assert opened == [result for result in results_of(rooms, alone).values() if isinstance(result, tuple)]


def test_a_backup_is_read_for_the_rooms_that_are_asked_for(lab: Path, secrets: Mapping[str, Any]) -> None:
    """And for the account alone; what is not there is no key."""
    database = SourceDatabase(f"sqlite:///{lab / synapse_lab.DATABASE}")
    line = {"backup_recovery_key": secrets["backup"]["backup_recovery_key"]}
    room_id = "!sTWJNHaYjDyZWJNshT:lab.example"
    try:
        one = SynapseKeyBackup(database, CAROL, [room_id, "!none"])
        assert {e.conversation_id for e in MegolmScheme().read_key_entries(line, Alone(one))} == {room_id}
        with pytest.raises(ValueError, match=r"\w"):
            MegolmScheme().read_key_entries(line, Alone(SynapseKeyBackup(database, "@bob:lab.example", [room_id])))
    finally:
        database.close()
