"""What a homeserver has in the clear beside its encrypted events, for archives."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures import synapse_lab
from migrator.core.settings import SourceSettings
from migrator.stores.rooms import KnowsRooms
from migrator.stores.synapse import SynapseStore

ODD = ["", "\0", "nobody", "\udce9", "' OR 1=1 --"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The homeserver, with relations that no client would send in two of its events."""
    path = synapse_lab.unpack(tmp_path_factory.mktemp("lab"))
    connection = sqlite3.connect(path)
    with connection:
        for number, text in enumerate(['{"content":{"m.relates_to":{"n":NaN}}}', "not json"]):
            connection.execute(
                "UPDATE event_json SET json = ? WHERE event_id = (SELECT event_id FROM events WHERE type = "
                "'m.room.encrypted' ORDER BY stream_ordering LIMIT 1 OFFSET ?)",
                (text, number),
            )
    connection.close()
    return path


@pytest.fixture
def store(lab: Path) -> Iterator[SynapseStore]:
    """It, open."""
    opened = SynapseStore.open(SourceSettings(kind="synapse", url=f"sqlite:///{lab}", local_domain="lab.example"))
    yield opened
    opened.close()


def test_messages_in_the_clear_are_counted(store: SynapseStore, lab: Path) -> None:
    """Room by room as many as the clients sent; state and redactions are none, and odd ids have none."""
    lines = (lab.parent / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    sent = Counter(one["room_id"] for one in map(json.loads, lines) if not one["encrypted"])
    assert store.clear_text([*sent, *ODD]) == sent
    assert isinstance(store, KnowsRooms)


def test_relations_are_those_of_the_events(store: SynapseStore, lab: Path) -> None:
    """As the event has them, `null` where there is none or none that JSON knows; other rooms' events are not there."""
    connection = sqlite3.connect(lab)
    query = """SELECT e.room_id, e.event_id, j.json FROM events e JOIN event_json j USING (event_id)
               WHERE e.type = 'm.room.encrypted' ORDER BY e.stream_ordering"""
    rows = connection.execute(query).fetchall()
    connection.close()
    room_id = rows[0][0]
    found = store.relations(room_id, [*(row[1] for row in rows), *ODD])
    own = {event_id: text for of_room, event_id, text in rows if of_room == room_id}
    assert found.keys() == own.keys()
    assert [found[row[1]] for row in rows[:2]] == ["null", "null"]
    for event_id in [row[1] for row in rows[2:] if row[1] in own]:
        assert json.loads(found[event_id]) == json.loads(own[event_id])["content"].get("m.relates_to")
    assert sum(text != "null" for text in found.values()) > 3
    assert store.relations(room_id, []) == {}
