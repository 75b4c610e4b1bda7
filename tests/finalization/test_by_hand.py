"""A campaign over a homeserver made final: an operator purges, migrator makes sure of it and counts exactly."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from migrator import plugins
from migrator.campaign import open_campaign
from migrator.core.errors import SourceError
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.finalization import Finalized, finalize, preview
from migrator.stores.source_database import SourceDatabase
from migrator.stores.synapse import SynapseStore
from tests.execution.bench import NOW
from tests.execution.house import ADA, ROOM, House
from tests.support.plain_scheme import PlainScheme
from tests.support.synapse import DOMAIN, opened, source

CAROL = f"@carol:{DOMAIN}"
OTHER, SEALED = "!other", "!sealed"


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two messages at once, a scheme that needs no cryptography, and a campaign that stays itself when it is copied."""
    monkeypatch.setattr(plugins, "scheme", lambda _name: PlainScheme())
    monkeypatch.setattr("migrator.finalization.retiring.BATCH", 2)
    monkeypatch.setattr(SourceDatabase, "location", lambda _: "here")


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Two rooms that were migrated and verified, the second with Carol; one that stays sealed; windows are over."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "scheme", lambda _name: PlainScheme())
        patch.setattr(SourceDatabase, "location", lambda _: "here")
        made = House(tmp_path_factory.mktemp("house") / "campaign")
        made.home.user("carol")
        made.answer(CAROL, "grant")
        made.notice(CAROL)
        made.home.room(OTHER, CAROL)
        for _ in range(2):
            made.home.message(OTHER, CAROL)
        made.home.room(SEALED, f"@dave:{DOMAIN}")
        made.home.message(SEALED, f"@dave:{DOMAIN}")
        entry = {"conversation_id": OTHER, "session_id": "session-1"}
        made.export(CAROL, [entry], {OTHER: (1, [{"session_id": "session-1"}])})
        made.run()
        made.verified()
        made.at(NOW + timedelta(days=31))
        with closing(made.home):
            yield made


@pytest.fixture
def house(migrated: House, tmp_path: Path) -> Iterator[House]:
    """A copy of it."""
    made = migrated.copied(tmp_path / "campaign")
    with closing(made.home):
        yield made


def finalized(house: House, *, sealed: bool = False) -> Finalized:
    """Finalise in a process of its own."""
    with open_campaign(house.spec) as campaign:
        return finalize(campaign, None, sealed=sealed, confirm="bench", progress=NoProgress())


def refused(house: House, *, sealed: bool = False) -> SourceError:
    """Why it waits."""
    with pytest.raises(SourceError) as caught:
        finalized(house, sealed=sealed)
    return caught.value


def test_it_waits_until_the_rooms_are_purged(house: House) -> None:
    """The error says how; what is left is listed; the next call finds nothing and counts what went, once."""
    before = house.home.path.read_bytes()
    error = refused(house)
    assert "never writes" in error.message
    assert "purge_history" in error.hint
    assert "finalize" in error.hint
    assert house.home.path.read_bytes() == before
    with house.open(read_only=True) as campaign, campaign.database.read() as connection:
        assert dict(preview(campaign, connection, None, sealed=False).conversations) == {ROOM: 3, OTHER: 2}
    house.home.purge(ROOM)
    assert "2 messages" in refused(house).message
    for table in ("events", "event_json", "room_memberships"):  # a room that is deleted whole is gone as well
        house.home.execute(f"DELETE FROM {table} WHERE room_id = ?", [(OTHER,)])
    done = finalized(house)
    assert (done.row.counts["messages"], done.row.counts["conversations"]) == (5, 2)
    assert (done.row.counts["exports"], done.row.counts["recipient_keys"]) == (2, 1)
    assert done.certificate.is_file()
    assert finalized(house).already
    retired = {row["conversation_id"]: row["retired_at"] is not None for row in house.all(tables.conversation)}
    assert retired == {ROOM: True, OTHER: True, SEALED: False}


def test_a_hold_keeps_its_rooms(house: House) -> None:
    """Nobody has to purge them, they are not counted; once the hold is over, they are next."""
    (house.folder / "holds.txt").write_text(f"{ADA}\n", encoding="utf-8")
    assert "2 messages" in refused(house).message
    house.home.purge(OTHER)
    done = finalized(house)
    counts = done.row.counts
    assert (counts["messages"], counts["conversations"], counts["kept_conversations"]) == (2, 1, 1)
    (house.folder / "holds.txt").write_text("", encoding="utf-8")
    refused(house)
    house.home.purge(ROOM)
    assert finalized(house).row.counts["messages"] == 3


def test_a_hold_that_comes_in_between_is_counted_out(house: House) -> None:
    """What was announced and stays is not taken in."""
    refused(house)
    (house.folder / "holds.txt").write_text(f"{ADA}\n", encoding="utf-8")
    house.home.purge(OTHER)
    counts = finalized(house).row.counts
    assert (counts["messages"], counts["conversations"]) == (2, 1)


def test_without_a_file_of_holds_nothing_is_made_final(house: House) -> None:
    """Whoever purged meanwhile: migrator destroys no export and no key."""
    (house.folder / "holds.txt").unlink()
    house.home.purge(ROOM)
    house.home.purge(OTHER)
    assert "legal holds" in refused(house).message
    assert not house.all(tables.finalization)


def test_a_purge_that_keeps_local_events_is_none(house: House) -> None:
    """They are outliers then, and their ciphertext is where it was."""
    house.home.execute("UPDATE events SET outlier = 1 WHERE type = 'm.room.encrypted'")
    assert "messages are still in" in refused(house).message


def test_what_stayed_sealed(house: House) -> None:
    """`--sealed` waits as well, and counts rooms and messages when they are gone."""
    house.home.purge(ROOM)
    house.home.purge(OTHER)
    finalized(house)
    house.at(NOW + timedelta(days=200))
    assert "1 messages" in refused(house, sealed=True).message
    house.home.purge(SEALED)
    counts = finalized(house, sealed=True).row.counts
    assert (counts["messages"], counts["conversations"], counts["kept_conversations"]) == (1, 1, 0)
    assert finalized(house, sealed=True).already


def test_the_eraser_counts_what_is_there(house: House) -> None:
    """By place: room, time and id together; in all rooms; ids that lead nowhere are passed over."""
    settings = source(house.home.url)
    with opened(settings) as store:
        rows = store.page(ROOM, None, 10)
    with closing(SynapseStore.open_eraser(settings)) as eraser:
        places = [(ROOM, row[0], row[1]) for row in rows]
        assert eraser.count(places) == eraser.count_all([ROOM, ROOM + "x", "a\0b", "\ud800"]) == 4
        assert eraser.count([(OTHER, *places[0][1:]), (ROOM, 5, places[0][2]), ("\ud800", 1, "\0")]) == 0
        eraser.erase([])
        eraser.erase_all(["!nowhere"])
        with pytest.raises(SourceError):
            eraser.erase_all([ROOM])
