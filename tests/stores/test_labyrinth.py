"""The Labyrinth store on SQLite: the port's tests, what its rows mean, and what odd rows cost."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from migrator.core.errors import SourceError
from migrator.core.model import AccountStatus, Conversation
from migrator.core.settings import SourceSettings
from migrator.stores.labyrinth import LabyrinthStore
from migrator.stores.source_database import UndecodableText
from tests.stores.conformance import StoreConformance
from tests.stores.mailboxes import Mailboxes, fill

_opened: list[LabyrinthStore] = []


def opened(url: str, *, population_page: int = 5000) -> LabyrinthStore:
    """The store at a URL, closed at the end of the test."""
    store = LabyrinthStore.open(SourceSettings(url=url), population_page=population_page)
    _opened.append(store)
    return store


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


class TestConformance(StoreConformance):
    """The port's own tests."""

    @pytest.fixture(autouse=True)
    def _source(self, source: Mailboxes) -> None:
        fill(source)
        self.source = source

    def store(self, *, population_page: int = 5000) -> LabyrinthStore:
        return opened(self.source.url, population_page=population_page)

    def add_message(self) -> None:
        self.source.message("inbox-account-00", "group-1", 2000, "new")


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Mailboxes]:
    """A store with one person, Ada, and her mailbox."""
    with closing(Mailboxes(tmp_path / "source.db")) as mailboxes:
        mailboxes.account("ada")
        mailboxes.inbox("in-a", "ada")
        yield mailboxes


def population(source: Mailboxes, page: int = 5000) -> dict[str, Conversation]:
    """The whole population by id; fails if an id comes twice."""
    found = list(chain.from_iterable(opened(source.url, population_page=page).population()))
    by_id = {conversation.conversation_id: conversation for conversation in found}
    assert len(by_id) == len(found)
    return by_id


# --- what rows mean ---


def test_both_copies_of_a_direct_thread_are_one_thread(source: Mailboxes) -> None:
    """Each copy is named after the other account, yet an authorisation for one covers both."""
    source.inbox("in-b", "bob")
    source.thread("in-a", "bob", "direct")
    source.thread("in-b", "ada", "direct")
    found = population(source)
    assert found["in-a/bob"].thread_key == found["in-b/ada"].thread_key
    assert found["in-a/bob"].participants == found["in-b/ada"].participants == ("ada", "bob")
    assert (found["in-a/bob"].owner_id, found["in-b/ada"].owner_id) == ("ada", "bob")


def test_thread_keys_of_different_pairs_differ(source: Mailboxes) -> None:
    """No choice of account ids makes two pairs look like one."""
    source.inbox("in-1", "a:b")
    source.inbox("in-2", "a")
    source.thread("in-1", "c", "direct")
    source.thread("in-2", "b:c", "direct")
    assert len({conversation.thread_key for conversation in population(source).values()}) == 2


def test_a_group_is_one_thread_whoever_owns_the_copy(source: Mailboxes) -> None:
    """Group copies share the thread id; the owner takes part even where the member rows forget him."""
    source.inbox("in-b", "bob")
    source.thread("in-a", "g", "group", ["bob", "eve"])
    source.thread("in-b", "g", "group", ["ada", "bob", "eve"])
    found = population(source)
    assert found["in-a/g"].thread_key == found["in-b/g"].thread_key == "group:g"
    assert found["in-a/g"].participants == found["in-b/g"].participants == ("ada", "bob", "eve")


def test_a_thread_id_may_have_a_slash(source: Mailboxes) -> None:
    """Only what stands before the first slash is the inbox."""
    source.thread("in-a", "x/y/z", "group")
    source.message("in-a", "x/y/z", 1, "m")
    found = population(source)["in-a/x/y/z"]
    assert (found.fault, found.messages, found.owner_id) == (False, 1, "ada")
    assert opened(source.url).conversations(["in-a/x/y/z"]) == {"in-a/x/y/z": found}


@pytest.mark.parametrize("kind", ["no thread row", "no inbox row", "a member that is NULL", "a member with NUL"])
def test_an_orphan_counts_and_has_nobody_to_ask(source: Mailboxes, kind: str) -> None:
    """What can't be resolved to accounts has no owner and no participants."""
    if kind == "no inbox row":
        source.thread("in-x", "g", "group", ["ada"])
    elif kind.startswith("a member"):
        source.thread("in-x", "g", "group", ["ada", None if kind.endswith("NULL") else "a\0b"])
        source.inbox("in-x", "ada")
    source.message("in-x", "g", 7, "m")
    found = population(source)["in-x/g"]
    assert found == Conversation("in-x/g", None, "orphan:in-x/g", (), 1, 7, orphan=True)
    assert opened(source.url).conversations(["in-x/g"]) == {"in-x/g": found}


@pytest.mark.parametrize("page", [1, 2, 3, 5000])
def test_orphans_between_empty_threads_are_all_found(source: Mailboxes, page: int) -> None:
    """Thread rows and messages are merged by key, however unevenly they lie."""
    expected = set()
    for number in range(12):
        source.thread("in-a", f"empty-{number:02}", "group")
        source.message("in-a", f"orphan-{number:02}", 1, "m")
        source.message("in-z", f"orphan-{number:02}", 1, "m")
        expected |= {f"in-a/empty-{number:02}", f"in-a/orphan-{number:02}", f"in-z/orphan-{number:02}"}
    assert set(population(source, page)) == expected


# --- faults ---


def _plant(source: Mailboxes, inbox_id: Any, thread_id: Any) -> None:
    source.message(inbox_id, thread_id, 3, "m")
    source.thread(inbox_id, thread_id, "group", ["ada"])


FAULTS: list[tuple[Any, Any, str]] = [
    ("in/a", "g", "in/a/g"),
    ("in\0a", "g", "in%00a/g"),
    ("in-a", "g\0", "in-a/g%00"),
    ("in/\0", "g", "fault:text:in%2F%00|text:g"),
    ("in-a", "%\0", "fault:text:in-a|text:%25%00"),
    (b"in-a", "g", "fault:blob:in-a|text:g"),
    ("in-a", b"g", "fault:text:in-a|blob:g"),
    ("in-a", None, "fault:text:in-a|NoneType:None"),
    (None, "g", "fault:NoneType:None|text:g"),
    (None, None, "fault:NoneType:None|NoneType:None"),
]


@pytest.mark.parametrize(("inbox_id", "thread_id", "expected"), FAULTS)
@pytest.mark.parametrize("page", [1, 2, 5000])
def test_a_faulty_key_counts_as_a_fault_and_costs_no_other(
    source: Mailboxes, inbox_id: Any, thread_id: Any, expected: str, page: int
) -> None:
    """A key that can't be a conversation's is in the population once, beside sound neighbours."""
    for neighbour in ("a", "g", "z"):
        source.thread("in-a", neighbour, "group", ["ada"])
    source.thread("in-b", "g", "direct")
    _plant(source, inbox_id, thread_id)
    found = population(source, page)
    assert found.pop(expected)[4:8] == (1, found_last(inbox_id, thread_id), False, True)
    assert set(found) == {"in-a/a", "in-a/g", "in-a/z", "in-b/g"}
    assert not any(conversation.fault for conversation in found.values())
    assert opened(source.url).conversations([expected]) == {}


def found_last(inbox_id: Any, thread_id: Any) -> int | None:
    """Keys with NULL are counted without their times."""
    return None if inbox_id is None or thread_id is None else 3


@pytest.mark.parametrize("page", [1, 2, 5000])
def test_undecodable_ids_are_faults_of_their_own(source: Mailboxes, page: int) -> None:
    """Text that is not UTF-8 in a key costs that conversation; the walk goes on behind it."""
    source.execute(
        "INSERT INTO message(inbox_id, thread_id, sent_at, message_id) VALUES ('in-a', CAST(X'62FF' AS TEXT), 1, 'm')"
    )
    source.execute("INSERT INTO thread VALUES (CAST(X'FF2F' AS TEXT), 'g', 'group')")
    for neighbour in ("a", "😀"):
        source.thread("in-a", neighbour, "group")
    source.thread("😀", "g", "group")
    found = population(source, page)
    faults = {identifier for identifier, conversation in found.items() if conversation.fault}
    assert faults == {"fault:text:in-a|text:b%FF", "fault:text:%FF%2F|text:g"}
    assert set(found) - faults == {"in-a/a", "in-a/😀", "😀/g"}


def test_a_faulty_key_never_takes_the_id_of_another_conversation(source: Mailboxes) -> None:
    """Where `inbox/thread` is ambiguous, the sound conversation keeps it and the faulty ones get ids of their own."""
    _plant(source, "in-a", "b/c")
    _plant(source, "in-a/b", "c")
    _plant(source, "x/y", "z/w")
    _plant(source, "x/y/z", "w")
    _plant(source, "in-a", "n%00")
    _plant(source, "in-a", "n\0")
    found = population(source)
    assert not found["in-a/b/c"].fault
    assert not found["in-a/n%00"].fault
    assert {identifier for identifier in found if found[identifier].fault} == {
        "fault:text:in-a%2Fb|text:c",
        "fault:text:x%2Fy|text:z%2Fw",
        "fault:text:x%2Fy%2Fz|text:w",
        "fault:text:in-a|text:n%00",
    }


def test_ids_of_any_length_can_be_kept(source: Mailboxes) -> None:
    """An id that no client could hand in, or with slashes without end, becomes a fault with a short id."""
    _plant(source, "in-a", "x" * 100_000)
    _plant(source, "/" * 500, "x")
    found = population(source)
    assert len(found) == 2
    assert all(conversation.fault for conversation in found.values())
    assert all(len(identifier.encode()) <= 1024 for identifier in found)


@pytest.mark.parametrize("kind", [None, "", "channel", "Direct", b"direct", 7])
def test_an_unknown_kind_is_a_fault(source: Mailboxes, kind: Any) -> None:
    """Who takes part depends on the kind, so a kind that isn't known can't be guessed at."""
    source.thread("in-a", "g", kind, ["ada"])
    found = population(source)["in-a/g"]
    assert found.fault
    assert opened(source.url).conversations(["in-a/g"]) == {"in-a/g": found}


# --- messages ---


def test_odd_values_come_as_they_are(source: Mailboxes) -> None:
    """The store gives what the driver gives: judging a row is the scheme's."""
    source.message("in-a", "g", 1, "m-1", sender_id=None, epoch_id=b"e", version="four", data=None)
    source.message("in-a", "g", -5, "m-2", data="text")
    assert opened(source.url).messages(["in-a/g"])["in-a/g"] == [
        (-5, "m-2", "sender", "text", "epoch-1", 4),
        (1, "m-1", None, None, b"e", "four"),
    ]


def test_undecodable_text_costs_no_other_message(source: Mailboxes) -> None:
    """A sender that is not UTF-8 comes as bytes; other rows and other conversations are as ever."""
    source.message("in-a", "g", 1, "m-1")
    source.message("in-a", "h", 1, "m-1")
    source.execute(
        "INSERT INTO message(inbox_id, thread_id, sent_at, message_id, sender_id, epoch_id, version) "
        "VALUES ('in-a', 'g', 2, 'm-2', CAST(X'FF' AS TEXT), 'epoch-1', 4)"
    )
    store = opened(source.url)
    found = store.messages(["in-a/g", "in-a/h"])
    assert found["in-a/g"][1][2] == UndecodableText(b"\xff")
    assert isinstance(found["in-a/g"][1][2], UndecodableText)
    assert store.page("in-a/g", None, 10) == found["in-a/g"]
    assert found["in-a/h"] == [(1, "m-1", "sender", bytes(60), "epoch-1", 4)]
    assert store.key_slots(["in-a/g"]) == {"in-a/g": {("epoch-1", 4)}}
    assert store.messages(["in-a/h"])["in-a/h"] == found["in-a/h"]


@pytest.mark.parametrize("place", [(None, "m"), (5, None), (5, b"m"), ("soon", "m"), (2.5, "m")])
def test_pages_end_where_a_place_is_odd(source: Mailboxes, place: tuple[Any, Any]) -> None:
    """Rows without an honest place never make paging loop or repeat; what can't be reached is missing."""
    for number in range(4):
        source.message("in-a", "g", number * 4, f"m-{number}")
    source.message("in-a", "g", *place)
    store = opened(source.url)
    seen: list[tuple[Any, ...]] = []
    page = store.page("in-a/g", None, 1)
    for _ in range(6):
        seen += page
        if not page:
            break
        page = store.page("in-a/g", store.cursor(page[-1]), 1)
    assert not page
    assert len(seen) == len(set(seen)) <= 5
    assert population(source)["in-a/g"].messages == 5


def test_key_slots_leave_out_what_is_no_slot(source: Mailboxes) -> None:
    """A message without an epoch or a version needs no key."""
    source.message("in-a", "g", 1, "m-1")
    source.message("in-a", "g", 2, "m-2", version=0)
    source.message("in-a", "g", 3, "m-3", epoch_id=None)
    source.message("in-a", "g", 4, "m-4", version="x")
    source.message("in-a", "g", 5, "m-5", epoch_id="e\0")
    slots = opened(source.url).key_slots(["in-a/g", "in-a/none"])
    assert slots == {"in-a/g": {("epoch-1", 4), ("epoch-1", 0)}, "in-a/none": set()}


def test_a_newest_time_that_is_no_number_is_unknown(source: Mailboxes) -> None:
    """SQLite sorts text over every number; it is not taken for a time."""
    source.message("in-a", "g", 1, "m-1")
    source.message("in-a", "g", "later", "m-2")
    assert population(source)["in-a/g"][4:6] == (2, None)


# --- accounts and devices ---


@pytest.mark.parametrize(
    ("stored", "status"),
    [
        ("active", AccountStatus.ACTIVE),
        ("locked", AccountStatus.LOCKED),
        ("deceased", AccountStatus.DECEASED),
        ("unresolvable", AccountStatus.UNRESOLVABLE),
        ("Active", AccountStatus.UNRESOLVABLE),
        (None, AccountStatus.UNRESOLVABLE),
        (b"active", AccountStatus.UNRESOLVABLE),
        (1, AccountStatus.UNRESOLVABLE),
    ],
)
def test_only_the_named_states_count(source: Mailboxes, stored: Any, status: AccountStatus) -> None:
    """A state that isn't known is that of nobody who could authorise."""
    source.account("x", status=stored)
    assert opened(source.url).accounts(["x"])["x"].status is status


@pytest.mark.parametrize("age_band", ["minor", None, "", "ADULT", "adult ", b"adult", 18])
def test_whoever_is_not_plainly_an_adult_is_a_minor(source: Mailboxes, age_band: Any) -> None:
    """In doubt, protect."""
    source.account("x", age_band=age_band)
    found = opened(source.url).accounts(["x", "ada"])
    assert found["x"].minor
    assert not found["ada"].minor


def test_odd_account_fields_are_taken_as_missing(source: Mailboxes) -> None:
    """An address or guardian that is not text is none; undecodable text costs that field only."""
    source.account("x", email=b"x", locale=7, timezone="a\0b", guardian_account_id=b"g", region=None)
    source.execute("UPDATE account SET email = CAST(X'FF' AS TEXT) WHERE account_id = 'ada'")
    found = opened(source.url).accounts(["x", "ada"])
    x = found["x"]
    assert (x.email, x.timezone, x.guardian_account_id, x.region) == (None, None, None, None)
    assert (found["ada"].email, found["ada"].locale) == (None, "de")


def test_accounts_without_an_id_are_passed_over(source: Mailboxes) -> None:
    """The walk over accounts is not stopped by ids that are NULL, bytes, or not UTF-8."""
    for odd in (None, b"bytes", "n\0ul"):
        source.account(odd)
    source.account("zoe")
    source.execute("UPDATE account SET account_id = CAST(X'FF' AS TEXT) WHERE account_id = 'n' || char(0) || 'ul'")
    pages = list(opened(source.url, population_page=1).all_accounts())
    assert [account.account_id for account in chain.from_iterable(pages)] == ["ada", "zoe"]


def test_a_device_is_read(source: Mailboxes) -> None:
    """Key and times, revoked or not."""
    source.device("d", "ada", bytes(32), "2024-01-01T00:00:00Z", None)
    source.device("r", "ada", bytes(32), "2024-01-01T00:00:00Z", "2024-06-01T00:00:00+02:00")
    found = opened(source.url).devices(["d", "r", "x"])
    assert set(found) == {"d", "r"}
    assert found["d"].revoked_at is None
    assert found["r"].revoked_at is not None
    assert found["r"].revoked_at.isoformat() == "2024-05-31T22:00:00+00:00"


@pytest.mark.parametrize(
    "row",
    [
        (None, bytes(32), "2024-01-01T00:00:00Z", None),
        ("ada", bytes(31), "2024-01-01T00:00:00Z", None),
        ("ada", "k" * 32, "2024-01-01T00:00:00Z", None),
        ("ada", None, "2024-01-01T00:00:00Z", None),
        ("ada", bytes(32), "yesterday", None),
        ("ada", bytes(32), None, None),
        ("ada", bytes(32), 1_700_000_000, None),
        ("ada", bytes(32), "0001-01-01T00:00:00+05:00", None),
        ("ada", bytes(32), "2024-01-01T00:00:00Z", "perhaps"),
        ("ada", bytes(32), "2024-01-01T00:00:00Z", b"2024-01-01T00:00:00Z"),
    ],
)
def test_a_device_that_cant_be_understood_is_unknown(source: Mailboxes, row: tuple[Any, ...]) -> None:
    """Nothing it signed can be relied on; a revocation that can't be read is not passed over."""
    source.device("d", *row)
    assert opened(source.url).devices(["d"]) == {}


# --- the source as a whole ---


def test_reading_leaves_no_trace(source: Mailboxes) -> None:
    """Every method runs without changing a byte of the source or making a file beside it."""
    fill(source)
    before = (hashlib.sha256(source.path.read_bytes()).digest(), sorted(source.path.parent.iterdir()))
    store = opened(source.url)
    ids = list(population(source))
    store.messages(ids)
    store.key_slots(ids)
    store.conversations(ids)
    list(store.all_accounts())
    store.identity()
    store.close()
    assert (hashlib.sha256(source.path.read_bytes()).digest(), sorted(source.path.parent.iterdir())) == before


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    """A typo in the path is an error, not an empty store."""
    with pytest.raises(SourceError, match="no source database") as caught:
        opened(f"sqlite:///{tmp_path}/none.db")
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """A file of something else, a folder, an empty file: each with a hint."""
    (tmp_path / "text.db").write_text("not a database, but long enough to have a header of a hundred bytes" * 3)
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "empty.db").touch()
    for name in ("text.db", "folder.db", "empty.db"):
        with pytest.raises(SourceError) as caught:
            opened(f"sqlite:///{tmp_path}/{name}")
        assert caught.value.hint


def test_a_missing_table_is_named(source: Mailboxes) -> None:
    """Another kind of database is told apart at once."""
    source.execute("DROP TABLE thread_member")
    with pytest.raises(SourceError, match="thread_member"):
        opened(source.url)


def test_a_missing_column_is_a_source_error(source: Mailboxes) -> None:
    """A schema that differs stops the read, with a hint."""
    source.execute("ALTER TABLE message DROP COLUMN version")
    with pytest.raises(SourceError, match="column"):
        opened(source.url).messages(["in-a/g"])


def test_a_database_in_utf_16_is_refused(tmp_path: Path) -> None:
    """Its order is not bytewise on UTF-8, which everything after relies on."""
    connection = sqlite3.connect(tmp_path / "wide.db")
    connection.execute("PRAGMA encoding = 'UTF-16'")
    connection.execute("CREATE TABLE account (account_id TEXT)")
    connection.close()
    with pytest.raises(SourceError, match="UTF-16"):
        opened(f"sqlite:///{tmp_path}/wide.db")


def test_a_damaged_database_is_a_source_error(source: Mailboxes) -> None:
    """Pages overwritten in the middle of the file stop the read in an orderly way."""
    fill(source)
    source.close()
    data = bytearray(source.path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    source.path.write_bytes(data)
    with pytest.raises(SourceError):
        population(source)


def test_names_that_a_uri_would_take_apart(tmp_path: Path) -> None:
    """A path with `?`, `#`, `%` and blanks is that path."""
    folder = tmp_path / "100% odd #1"
    folder.mkdir()
    with closing(Mailboxes(folder / "who knows.db")) as source:
        source.account("ada")
    assert set(opened(source.url).accounts(["ada"])) == {"ada"}


def test_identity_tells_stores_apart(tmp_path: Path) -> None:
    """Another place, or another population in the same place, is another store; a later account is not."""
    with closing(Mailboxes(tmp_path / "1.db")) as first, closing(Mailboxes(tmp_path / "2.db")) as second:
        for mailboxes in (first, second):
            for number in range(9):
                mailboxes.account(f"a-{number}", created_at=f"2020-01-0{number + 1}T00:00:00Z")
        one = opened(first.url).identity()
        assert opened(second.url).identity() != one
        first.account("a-00", created_at="2021-01-01T00:00:00Z")
        assert opened(first.url).identity() == one
        first.account("older", created_at="2019-01-01T00:00:00Z")
        assert opened(first.url).identity() != one


def test_errors_name_no_password() -> None:
    """What can't be reached is said without the URL's secrets."""
    with pytest.raises(SourceError) as caught:
        opened("nosuch://user:hunter2@host/db")
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
