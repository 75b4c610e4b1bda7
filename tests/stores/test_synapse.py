"""Tests of migrator.stores.synapse on the laboratory's homeserver and on small ones made by hand."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path

import pytest

from fixtures import synapse_lab
from migrator import plugins
from migrator.core.model import AccountStatus
from migrator.core.settings import SourceSettings
from migrator.stores import synapse_messages, synapse_owners
from migrator.stores.synapse import SynapseStore
from tests.stores.conformance import StoreConformance
from tests.support import postgres
from tests.support.synapse import DOMAIN, Homeserver, copy_to_postgresql, key_of, lab, opened, source

NOW = datetime(2026, 5, 9, tzinfo=UTC)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Homeserver]:
    """An empty homeserver."""
    with closing(Homeserver(tmp_path / "homeserver.db")) as made:
        yield made


def lab_source(**values: str) -> SourceSettings:
    """The laboratory, as it is."""
    return source(f"sqlite:///{lab() / synapse_lab.DATABASE}", domain=synapse_lab.LOCAL_DOMAIN, **values)


def fill(server: Homeserver) -> None:
    """A dozen users with a room for each pair of neighbours, and a room for all with many messages."""
    people = [server.user(f"user-{number:02}") for number in range(12)]
    for number, user_id in enumerate(people[:4]):
        for place in range(number):
            server.device(user_id, f"DEVICE{place}")
    for number, user_id in enumerate(people):
        room = server.room(f"!room-{number:02}", user_id, people[number - 1])
        for place in range(number % 4):
            server.message(room, user_id, origin_server_ts=1000 + place // 2, session=f"s-{place}")
    everybody = server.room(f"!all:{DOMAIN}", *people)
    for place, ending in enumerate(["a", "B", "é", "😀", "\uff5e"] * 5):
        server.message(
            everybody,
            people[0],
            event_id=f"${ending}-{place}",
            origin_server_ts=1000 + place // 10,
            session=f"s-{place}",
        )


class TestConformance(StoreConformance):
    """The port."""

    @pytest.fixture(autouse=True)
    def _source(self, server: Homeserver, tmp_path: Path) -> Iterator[None]:
        fill(server)
        self.server = server
        self.holds = tmp_path / "holds.txt"
        self.holds.write_text("", encoding="utf-8")
        self.stores: list[SynapseStore] = []
        yield
        for store in self.stores:
            store.close()

    def store(self, *, population_page: int = 5000) -> SynapseStore:
        """The same source anew."""
        self.stores.append(SynapseStore.open(self.settings(self.server.url), population_page=population_page))
        return self.stores[-1]

    def settings(self, url: str) -> SourceSettings:
        """A homeserver at a URL."""
        return source(url, legal_holds=str(self.holds))

    def test_it_names_its_scheme_and_quorums(self) -> None:
        """As everywhere, where the scheme is installed."""
        if "megolm" not in entry_points(group="migrator.schemes").names:
            pytest.skip("the scheme megolm is not installed")
        super().test_it_names_its_scheme_and_quorums()

    def add_message(self) -> None:
        """Somebody says something."""
        self.server.message("!room-00", f"@user-00:{DOMAIN}")


def test_it_is_found_by_its_kind() -> None:
    """`source.kind = "synapse"`; its messages are opened by `megolm`."""
    assert plugins.store_class("synapse") is SynapseStore
    assert SynapseStore.scheme == "megolm"


# --- the laboratory ---


def test_every_encrypted_event_of_the_laboratory_is_a_message() -> None:
    """Each one that the truth knows, once, in its room and with its session; the clear room is none of ours."""
    truth = [json.loads(line) for line in (lab() / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    expected = {(one["room_id"], one["event_id"]): one for one in truth if one["encrypted"]}
    with opened(lab_source()) as store:
        rooms = {room.conversation_id: room for page in store.population() for room in page}
        found = {(room, row[1]): row for room, rows in store.messages(list(rooms)).items() for row in rows}
    assert found.keys() == expected.keys()
    assert len(rooms) == 6
    for at, row in found.items():
        if row[3] is not None and expected[at].get("session_id"):
            assert row[5] == expected[at]["session_id"]
        assert row[2] == expected[at]["sender"]
    assert Counter(row[7] for row in found.values()) == {False: 302, True: 10}
    assert sum(room.changes for room in rooms.values()) == 10


def test_a_redacted_event_has_no_ciphertext_though_its_json_has() -> None:
    """Two of the laboratory's were not censored yet."""
    with opened(lab_source()) as store:
        rows = [row for page in store.population() for room in page for row in store.page(room[0], None, 1000)]
    assert all(row[3] is None for row in rows if row[7])
    assert sum(row[7] for row in rows) == 10


def test_people_of_the_laboratory() -> None:
    """Frank is deactivated; who left a room is a participant still; hidden and deleted devices are none."""
    with opened(lab_source()) as store:
        accounts = {account.account_id: account for page in store.all_accounts() for account in page}
        rooms = {room.conversation_id: room for page in store.population() for room in page}
        devices = store.devices_of(list(accounts))
    assert accounts["@frank:lab.example"].status is AccountStatus.LOCKED
    assert accounts["@alice:lab.example"].status is AccountStatus.ACTIVE
    assert "@erin:lab.example" in rooms["!Zr8pfTtuGU11FEj8vfURuhBa-oe1yNxyoWehlI5w-Vw"].participants
    manifest = json.loads((lab() / "manifest.json").read_text(encoding="utf-8"))["devices"]
    keys = {one["device"]: one["user"] for name, one in manifest.items() if "deleted" not in name}
    assert {d.device_id: d.account_id for d in devices} == {d: u for d, u in keys.items() if u != "@frank:lab.example"}


def test_the_laboratory_on_postgresql() -> None:
    """Copied row by row, it is the same: rooms, messages in order, people, slots."""
    with postgres.database() as url:
        copy_to_postgresql(lab() / synapse_lab.DATABASE, url)
        theirs = source(url, domain=synapse_lab.LOCAL_DOMAIN)
        with opened(lab_source()) as here, opened(theirs, population_page=2) as there:
            rooms = {room.conversation_id: room for page in here.population() for room in page}
            assert {room.conversation_id: room for page in there.population() for room in page} == rooms
            assert there.messages(list(rooms)) == here.messages(list(rooms))
            assert there.conversations(list(rooms)) == rooms
            assert there.key_slots(list(rooms)) == here.key_slots(list(rooms))
            assert there.some_key_slot(list(rooms)) == here.some_key_slot(list(rooms))
            for room_id in rooms:
                assert _paged(there, room_id, 7) == _paged(here, room_id, 1000)
            assert list(chain.from_iterable(there.all_accounts())) == list(chain.from_iterable(here.all_accounts()))
            people = [account.account_id for page in here.all_accounts() for account in page]
            assert there.devices_of(people) == here.devices_of(people)
            assert [doubt.message for doubt in there.doubts()] == []
        with closing(SynapseStore.open_eraser(theirs)) as eraser:
            assert eraser.count_all(list(rooms)) == 302  # 8 are censored, 2 never had a ciphertext


def _paged(store: SynapseStore, room_id: str, limit: int) -> list[object]:
    rows: list[object] = []
    after = None
    while page := store.page(room_id, after, limit):
        rows += page
        after = store.cursor(page[-1])
    return rows


# --- messages ---


def rows_of(server: Homeserver, room: str, **values: str) -> list[tuple[object, ...]]:
    """All messages of a room, which pages of any size hold too."""
    with opened(source(server.url, **values)) as store:
        rows = list(store.messages([room])[room])
        assert _paged(store, room, 2) == rows
        return rows


def test_a_row_has_what_the_event_says(server: Homeserver) -> None:
    """Place, sender, content as it stands, whose keys are whose, and the policy for keys that are nobody's."""
    ada, bob = server.user("ada"), server.user("bob")
    curve = server.device(ada, "PHONE")
    room = server.room("!r", ada, bob)
    event_id = server.message(room, ada, say="c2FpZA", session="s", origin_server_ts=77)
    (row,) = rows_of(server, room)
    assert row[:8] == (77, event_id, ada, b"c2FpZA", "m.megolm.v1.aes-sha2", "s", key_of(1), False)
    assert row[8:] == ({curve: ada}, True)
    assert rows_of(server, room, unverifiable_senders="gap")[0][9] is False


def remote_device(user_id: str, device_id: str, keys: dict[str, str]) -> str:
    """What a homeserver keeps of a device of another server's user."""
    inner = {"algorithms": [], "user_id": user_id, "device_id": device_id, "keys": keys}
    return json.dumps({"user_id": user_id, "device_id": device_id, "keys": inner})


def test_a_device_has_one_key_of_its_own(server: Homeserver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another server says beside it, at whatever length, takes nobody's key away, and no memory; all are read."""
    monkeypatch.setattr(synapse_owners, "PAGE", 2)
    ada, remote = server.user("ada"), "@eve:b.example"
    curve = server.device(ada, "PHONE")
    room = server.room("!r", ada, remote)
    for number in range(5):
        keys = {f"curve25519:X{number}": key_of(5000 + number), "curve25519:Y": curve, "curve25519:": "k" * 9}
        content = remote_device(remote, f"X{number}", keys)
        server.insert("device_lists_remote_cache", user_id=remote, device_id=f"X{number}", content=content)
    for device_id, key in (("LONG", "k" * 45), ("LONGER", "k" * 43 + " " * 20_000)):
        content = remote_device(remote, device_id, {f"curve25519:{device_id}": key.strip(), "more": key})
        server.insert("device_lists_remote_cache", user_id=remote, device_id=device_id, content=content)
    server.message(room, ada)
    assert rows_of(server, room)[0][8] == {curve: ada} | {key_of(5000 + number): remote for number in range(5)}


def test_a_key_of_two_users_is_nobodys(server: Homeserver) -> None:
    """Remote devices are known from a cache of their own; a key that two claim proves nothing."""
    ada, remote = server.user("ada"), "@eve:b.example"
    curve = server.device(ada, "PHONE")
    room = server.room("!r", ada, remote)
    for device_id, key in (("X", key_of(5000)), ("Y", curve)):
        content = remote_device(remote, device_id, {f"curve25519:{device_id}": key, "ed25519:X": key_of(7)})
        server.insert("device_lists_remote_cache", user_id=remote, device_id=device_id, content=content)
    server.insert("device_lists_remote_cache", user_id=remote, device_id="Z", content="no JSON")
    server.message(room, ada)
    assert rows_of(server, room)[0][8] == {curve: "", key_of(5000): remote}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (None, None, None, None)),
        ("no JSON", (None, None, None, None)),
        ("[1, 2]", (None, None, None, None)),
        ("[" * 100_000, (None, None, None, None)),
        ('{"content": "text"}', (None, None, None, None)),
        ('{"content": {"ciphertext": 5, "algorithm": ["x"], "session_id": null}}', (None, None, None, None)),
        ('{"content": {"ciphertext": "\\ud800", "session_id": "\\udfff"}}', (None, None, None, None)),
        ('{"content": {"ciphertext": "a\\u0000b", "algorithm": "x"}}', (b"a\0b", "x", None, None)),
        ('{"content": {"ciphertext": "a"}, "n": ' + "9" * 10_000 + "}", (None, None, None, None)),
        ('{"content": {"ciphertext": "%s"}}' % ("a" * 10_000_000), (None, None, None, None)),
        (None, (None, None, None, None)),
    ],
    ids=[
        "empty",
        "no JSON",
        "list",
        "deep",
        "no object",
        "other types",
        "surrogates",
        "NUL",
        "number",
        "10 MB",
        "gone",
    ],
)
def test_an_event_that_is_none_costs_itself_alone(server: Homeserver, text: str | None, expected: object) -> None:
    """The row is there, without what can't be understood; its neighbours are whole."""
    ada = server.user("ada")
    room = server.room("!r", ada)
    server.message(room, ada)
    odd = server.message(room, ada, text=text)
    server.message(room, ada)
    rows = rows_of(server, room)
    assert [row[1] == odd for row in rows] == [False, True, False]
    assert rows[1][3:7] == expected
    assert rows[0][3] is not None
    assert rows[2][3] is not None
    with opened(source(server.url)) as store:
        assert store.key_slots([room]) == {room: {"session-1"}}


def test_text_that_is_not_utf8_costs_itself_alone(server: Homeserver) -> None:
    """Also in a sender, an event id or a room id: SQLite holds any bytes."""
    ada = server.user("ada")
    room = server.room("!r", ada)
    server.message(room, ada)
    server.execute("UPDATE event_json SET json = CAST(x'7bff7d' AS TEXT) WHERE json LIKE '%ciphertext%'")
    server.message(room, ada)
    server.execute("UPDATE events SET sender = CAST(x'40ff' AS TEXT) WHERE stream_ordering = 5")
    server.message("!x", ada)
    server.execute("UPDATE events SET room_id = CAST(x'21ff' AS TEXT) WHERE room_id = '!x'")
    with opened(source(server.url)) as store:
        rooms = {found.conversation_id: found for page in store.population() for found in page}
        rows = store.messages([room])[room]
    assert [row[3] is None for row in rows] == [True, False]
    assert rooms.keys() == {room, "fault:text:%21%FF"}
    assert rooms["fault:text:%21%FF"].fault
    assert rooms[room].messages == 2


@pytest.mark.parametrize("sent_at", [-1, 0, 253402300800000, 2**63 - 1, -(2**63)])
def test_any_time_is_told_as_it_is(server: Homeserver, sent_at: int) -> None:
    """Before 1970 or beyond the year 9999: what becomes of it is the scheme's to say. The order holds."""
    ada = server.user("ada")
    room = server.room("!r", ada)
    server.message(room, ada, origin_server_ts=5)
    server.message(room, ada, origin_server_ts=sent_at)
    rows = rows_of(server, room)
    assert sorted([5, sent_at]) == [row[0] for row in rows]


@pytest.mark.parametrize("room", ["!r'; DROP TABLE events; --", '!"', "!%_\\", "!", "fault", "!x:y:z", "r" * 1000])
def test_room_ids_are_opaque(server: Homeserver, room: str) -> None:
    """Nothing in one is SQL or structure; the room's name is never looked at."""
    ada = server.user("ada")
    server.room(room, ada)
    server.event(room, "m.room.name", {"name": "'; DROP TABLE events; --"}, state_key="")
    server.message(room, ada)
    with opened(source(server.url)) as store:
        ((found,),) = store.population()
        assert (found.conversation_id, found.thread_key, found.owner_id, found.messages) == (room, room, None, 1)
        assert len(store.messages([room])[room]) == len(store.page(room, None, 10)) == 1
        assert store.key_slots([room]) == {room: {"session-1"}}


@pytest.mark.parametrize("room", ["!a\0b", "r" * 1025, "fault:text:%21"])
def test_a_room_that_can_be_no_conversation_is_a_fault(server: Homeserver, room: str) -> None:
    """It counts, under an id that no other has; sound rooms beside it are whole."""
    ada = server.user("ada")
    for one in (room, "!a", "!z"):
        server.room(one, ada)
        server.message(one, ada)
    with opened(source(server.url), population_page=1) as store:
        found = [one for page in store.population() for one in page]
        assert sorted(one.fault for one in found) == [False, False, True]
        assert len({one.conversation_id for one in found}) == 3
        assert [one.messages for one in found] == [1, 1, 1]
        assert store.page(room, None, 10) == []
        assert store.conversations([room]) == {}


def test_a_state_event_is_a_row_that_nobody_opens(server: Homeserver) -> None:
    """`m.room.encrypted` with a state key: no ciphertext, no algorithm."""
    ada = server.user("ada")
    room = server.room("!r", ada)
    server.message(room, ada, state_key="")
    ((_, _, _, ciphertext, algorithm, *_, redacted, _, _),) = rows_of(server, room)
    assert (ciphertext, algorithm, redacted) == (None, None, False)


def test_what_must_not_be_opened(server: Homeserver) -> None:
    """Redacted, by an erased sender, rejected, kept from clients, and by a ban that redacts: none has a ciphertext."""
    ada, bob, eve = (server.user(name) for name in ("ada", "bob", "eve"))
    room = server.room("!r", ada, bob, eve)
    open_to_all = server.message(room, ada)
    redacted = server.message(room, ada)
    server.redact(room, redacted, sender=ada)
    server.message(room, bob)
    server.insert("erased_users", user_id=bob)
    server.message(room, ada, rejection_reason="auth_error")
    server.message(room, ada, internal='{"soft_failed":true}')
    server.message(room, eve)
    ban = server.event(room, "m.room.member", {"membership": "ban"}, sender=ada, state_key=eve)
    server.insert("room_ban_redactions", room_id=room, user_id=eve, redacting_event_id=ban)
    server.message(room, ada, outlier=1)
    rows = rows_of(server, room)
    assert [row[1] for row in rows if not row[7]] == [open_to_all]
    assert [row[3] is None for row in rows] == [row[7] for row in rows]
    assert len(rows) == 6
    with opened(source(server.url)) as store:
        found = store.conversations([room])[room]
        assert (found.messages, found.changes) == (6, 3)
        assert store.key_slots([room]) == {room: {"session-1"}}


def test_a_redaction_counts_only_if_it_is_one(server: Homeserver) -> None:
    """The event itself has to be there, accepted, of the same room, and of the same server where that is open."""
    ada = server.user("ada")
    room, other = server.room("!r", ada), server.room("!o", ada)
    ids = [server.message(room, ada) for _ in range(5)]
    server.insert("redactions", event_id="$nowhere", redacts=ids[0], have_censored=0)
    server.redact(room, ids[1], rejection_reason="auth_error")
    server.redact(other, ids[2])
    server.redact(room, ids[3], sender="@x:elsewhere.example", internal='{"recheck_redaction":true}')
    server.redact(room, ids[4], sender="@x:elsewhere.example", internal='{"recheck_redaction":false}')
    assert [row[7] for row in rows_of(server, room)] == [False, False, False, False, True]


def test_a_ban_redacts_what_came_before_its_end(server: Homeserver) -> None:
    """A later ban or invitation sets the end; what is backfilled is always before it."""
    eve = server.user("eve")
    room = server.room("!r", eve)
    server.message(room, eve, stream_ordering=-5)
    server.message(room, eve, stream_ordering=100)
    server.message(room, eve, stream_ordering=200)
    ban = server.event(room, "m.room.member", {"membership": "ban"}, state_key=eve)
    server.insert("room_ban_redactions", room_id=room, user_id=eve, redacting_event_id=ban, redact_end_ordering=150)
    assert [row[7] for row in rows_of(server, room)] == [True, True, False]


def test_backfilled_events_are_messages(server: Homeserver) -> None:
    """Their stream orderings are negative; the order is that of their times."""
    ada = server.user("ada")
    room = server.room("!r", ada)
    late = server.message(room, ada, origin_server_ts=9)
    early = server.message(room, ada, origin_server_ts=1, stream_ordering=-7)
    assert [row[1] for row in rows_of(server, room)] == [early, late]


def test_with_several_writers_the_stream_ends_at_the_least(server: Homeserver) -> None:
    """Above it an earlier event may be under way; it counts once that writer has moved on. One writer is no bound."""
    ada = server.user("ada")
    room = server.room("!r", ada)
    for stream in (100, 200):
        server.message(room, ada, stream_ordering=stream)
    server.insert("stream_positions", stream_name="events", instance_name="one", stream_id=100)
    server.insert("stream_positions", stream_name="backfill", instance_name="two", stream_id=1)
    assert len(rows_of(server, room)) == 2
    server.insert("stream_positions", stream_name="events", instance_name="two", stream_id=250)
    assert len(rows_of(server, room)) == 1
    with opened(source(server.url)) as store:
        assert store.conversations([room])[room].messages == 1
        (doubt,) = store.doubts()
    assert "1 encrypted events" in doubt.message
    server.execute("UPDATE stream_positions SET stream_id = 200 WHERE instance_name = 'one'")
    assert len(rows_of(server, room)) == 2


def test_windows_join(server: Homeserver, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small a window is, pages hold all messages in order; one that is purged meanwhile ends no page early."""
    monkeypatch.setattr(synapse_messages, "WINDOW", 5)
    ada = server.user("ada")
    room = server.room("!r", ada)
    ids = [server.message(room, ada, origin_server_ts=1000 + number // 7) for number in range(23)]
    assert [row[1] for row in rows_of(server, room)] == sorted(ids)
    with opened(source(server.url)) as store:
        first = store.page(room, None, 3)
        server.execute("DELETE FROM event_json WHERE event_id = ?", [(sorted(ids)[3],)])
        server.execute("DELETE FROM events WHERE event_id = ?", [(sorted(ids)[3],)])
        rest = store.page(room, store.cursor(first[-1]), 100)
        assert [row[1] for row in [*first, *rest]] == [one for one in sorted(ids) if one != sorted(ids)[3]]
        assert [row[1] for row in store.page(room, store.cursor(first[-1]), 2)] == sorted(ids)[4:6]


def test_a_room_without_events_is_empty(server: Homeserver) -> None:
    """Encryption was on, once; nothing was sent. A room that was never encrypted is no conversation."""
    ada = server.user("ada")
    server.room("!empty", ada)
    server.event("!clear", "m.room.message", {}, sender=ada)
    server.event("!rejected", "m.room.encryption", {}, state_key="", rejection_reason="auth_error")
    server.event("!no-state", "m.room.encryption", {})
    server.event("!remote", "m.room.encryption", {}, state_key="", outlier=1)
    with opened(source(server.url)) as store:
        found = [(one.conversation_id, one.messages, one.orphan) for page in store.population() for one in page]
    assert found == [("!empty", 0, False), ("!remote", 0, True)]


def test_sessions_of_long_rooms_are_read_page_by_page(server: Homeserver, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is looked through at once: each room has the sessions of its own messages that may be opened."""
    monkeypatch.setattr(synapse_messages, "_STREAMS", 3)
    ada = server.user("ada")
    for room in ("!long", "!short"):
        server.room(room, ada)
    for number in range(10):
        server.message("!long", ada, session=f"long-{number % 4}")
    server.message("!short", ada, session="short")
    server.redact("!long", server.message("!long", ada, session="redacted"))
    server.redact("!short", server.message("!short", ada, session="redacted"))
    with opened(source(server.url)) as store:
        expected = {"!long": {f"long-{number}" for number in range(4)}, "!short": {"short"}, "!none": set()}
        assert store.key_slots(["!long", "!short", "!none"]) == expected
        assert store.some_key_slot(["!long", "!short", "!none"]) == {"!long": "long-1", "!short": "short"}
