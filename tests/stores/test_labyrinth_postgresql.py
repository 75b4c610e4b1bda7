"""The Labyrinth store on PostgreSQL: the port's tests, under collations of the operator's choice, and its troubles."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from migrator.core.errors import DatabaseError, SourceError, SourceUnavailableError
from migrator.core.settings import SourceSettings
from migrator.database.connect import Database
from migrator.stores.labyrinth import LabyrinthStore
from migrator.stores.labyrinth_tables import message
from migrator.stores.source_database import SourceDatabase, raw_rows
from tests.stores.conformance import StoreConformance
from tests.stores.mailboxes import PostgresMailboxes, fill
from tests.support.postgres import PEOPLES, Server, server


@pytest.fixture(scope="module", params=["C", PEOPLES])
def filled(request: pytest.FixtureRequest) -> Iterator[PostgresMailboxes]:
    """A filled source whose ids are collated bytewise, or as people sort."""
    name = server().create()
    if request.param == PEOPLES and not server().make_peoples_collation(name):
        pytest.skip("this machine can't make a locale")
    with closing(PostgresMailboxes(server().url(name), request.param)) as mailboxes:
        fill(mailboxes)
        yield mailboxes


class TestConformance(StoreConformance):
    """The port's own tests."""

    @pytest.fixture(autouse=True)
    def _source(self, filled: PostgresMailboxes) -> Iterator[None]:
        self.source = filled
        self._stores: list[LabyrinthStore] = []
        yield
        for store in self._stores:
            store.close()

    def store(self, *, population_page: int = 5000) -> LabyrinthStore:
        store = LabyrinthStore.open(SourceSettings(url=self.source.url), population_page=population_page)
        self._stores.append(store)
        return store

    def add_message(self) -> None:
        self.source.message("inbox-account-00", "group-1", 2000, "new")

    def test_the_collation_is_another_one(self) -> None:
        """The test tests: unless the collation is "C", this database's own order of the ids is not theirs."""
        ids = self.source.column("SELECT message_id FROM message ORDER BY message_id")
        assert (ids == sorted(ids, key=str.encode)) == (self.source.collation == "C")


@pytest.fixture
def source() -> Iterator[PostgresMailboxes]:
    """A small source that a test may break."""
    with closing(PostgresMailboxes(server().url(server().create()))) as mailboxes:
        fill(mailboxes)
        yield mailboxes


def test_the_walk_takes_the_order_of_the_keys(source: PostgresMailboxes) -> None:
    """Where all tables sort alike their indexes serve every page; where they don't, bytes do, and nothing is lost."""
    found = []
    for statement in (None, 'ALTER TABLE message ALTER COLUMN thread_id TYPE text COLLATE "POSIX"'):
        if statement:
            source.execute(statement)
        said: list[str] = []
        with closing(LabyrinthStore.open(SourceSettings(url=source.url), population_page=3)) as store:
            sa.event.listen(store._database._engine, "before_cursor_execute", lambda *given: said.append(given[2]))  # noqa: B023
            found.append([c for page in store.population() for c in page])
        pages = [text for text in said if "ORDER BY" in text]
        assert len(pages) > 5
        assert all(("COLLATE" in text) == (statement is not None) for text in pages)
    assert sorted(found[0]) == sorted(found[1])


def test_every_comparison_of_ids_is_bytewise(source: PostgresMailboxes) -> None:
    """Where the columns' collations differ, order and bounds of the walk and of pages name theirs: "C"."""
    source.execute('ALTER TABLE message ALTER COLUMN inbox_id TYPE text COLLATE "POSIX"')
    said: list[str] = []
    with closing(LabyrinthStore.open(SourceSettings(url=source.url), population_page=3)) as store:
        engine = store._database._engine
        sa.event.listen(engine, "before_cursor_execute", lambda *arguments: said.append(arguments[2]))
        conversations = [c.conversation_id for page in store.population() for c in page]
        list(store.all_accounts())
        rows = store.page("inbox-account-00/group-1", None, 5)
        store.page("inbox-account-00/group-1", store.cursor(rows[-1]), 5)
        store.messages(conversations)
    ordered = [text for text in said if "ORDER BY" in text]
    assert len(ordered) > 5
    for text in ordered:
        after = text.partition("ORDER BY")[2].partition("LIMIT")[0]
        names = [part for part in after.split(",") if "_id" in part]
        assert names, text
        assert all('COLLATE "C"' in part for part in names), text


def test_a_source_can_not_be_written(source: PostgresMailboxes) -> None:
    """Whatever statement slips in: the session itself is read-only, as a replica is."""
    database = SourceDatabase(source.url)
    with pytest.raises(SourceError):
        database.run(lambda connection: connection.execute(message.delete()))
    with closing(LabyrinthStore.open(SourceSettings(url=source.url))) as store:
        assert sum(c.messages for page in store.population() for c in page) > 0
    database.close()


def test_a_read_goes_on_when_its_sessions_were_cut(source: PostgresMailboxes) -> None:
    """A source that was restarted between or within two reads costs a wait, and no page."""
    with closing(LabyrinthStore.open(SourceSettings(url=source.url), population_page=4)) as store:
        whole = [c for page in store.population() for c in page]
        walked = []
        for page in store.population():
            walked += page
            server().cut_off(str(make_url(source.url).database))
        assert walked == whole

        attempts = 0

        def cut_once(connection: sa.Connection) -> list[tuple[object, ...]]:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                connection.execute(sa.select(sa.func.pg_terminate_backend(sa.func.pg_backend_pid())))
            return raw_rows(connection, sa.select(message.c.message_id))

        assert len(store._database.run(cut_once)) > 20
        assert attempts == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("/test_", "/none_"), "does not exist"),
        (("migrator@", "nobody-here@"), "login"),
        (("migrator-pg-", "migrator-none-"), "reached"),
        (("+psycopg", "+psycopg2"), "driver"),
    ],
)
def test_what_is_wrong_with_a_source_is_said(source: PostgresMailboxes, change: tuple[str, str], words: str) -> None:
    """A mistyped URL is told apart: server, database, role, driver; and each has a hint."""
    with pytest.raises(SourceError, match=words) as caught:
        LabyrinthStore.open(SourceSettings(url=source.url.replace(*change)))
    assert caught.value.hint


def test_a_statement_that_takes_too_long_is_said() -> None:
    """The role's or the URL's own limit is kept, and the error names it."""
    name = server().create()
    database = SourceDatabase(server().url(name, options="-cstatement_timeout%3D50"))
    with pytest.raises(SourceError, match="took too long") as caught:
        database.run(partial(raw_rows, statement=sa.select(sa.func.pg_sleep(5))))
    assert "statement_timeout" in caught.value.hint
    assert not isinstance(caught.value, SourceUnavailableError)
    database.close()


def test_a_source_in_another_encoding_is_refused() -> None:
    """Ids in other encodings have neither place nor order in the server history."""
    name = server().create(options="ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'")
    with pytest.raises(SourceError, match="UTF-8"):
        LabyrinthStore.open(SourceSettings(url=server().url(name)))


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Server, Server]]:
    """A server of its own, and a hot standby that follows it at once, whatever is read there."""
    primary = Server(shared_buffers="16MB", max_connections="15")
    try:
        replica = primary.replica(max_standby_streaming_delay="0")
        yield primary, replica
        replica.remove()
    finally:
        primary.remove()


@pytest.fixture
def replicated(pair: tuple[Server, Server]) -> Iterator[tuple[PostgresMailboxes, str]]:
    """A filled source on the primary, and its database's name."""
    primary, replica = pair
    name = primary.create()
    with closing(PostgresMailboxes(primary.url(name))) as mailboxes:
        fill(mailboxes)
        primary.caught_up(replica)
        yield mailboxes, name


def test_a_replica_is_a_source(pair: tuple[Server, Server], replicated: tuple[PostgresMailboxes, str]) -> None:
    """The walk finds what the primary has, and what comes later; as migrator database it is refused."""
    primary, replica = pair
    mailboxes, name = replicated
    with (
        closing(LabyrinthStore.open(SourceSettings(url=primary.url(name)))) as written,
        closing(LabyrinthStore.open(SourceSettings(url=replica.url(name)), population_page=3)) as read,
    ):
        for number in range(2):
            wanted = [c for page in written.population() for c in page]
            assert sorted(c for page in read.population() for c in page) == sorted(wanted)
            mailboxes.message("inbox-account-00", "group-1", 2000, f"new-{number}")
            primary.caught_up(replica)
    with (
        closing(Database(replica.url(name))) as database,
        pytest.raises(DatabaseError, match="read-only") as caught,
        database.write("test") as connection,
    ):
        connection.execute(sa.text("DELETE FROM message"))
    assert "replica" in caught.value.hint


def test_a_read_that_a_replica_gave_up_is_done_again(
    pair: tuple[Server, Server], replicated: tuple[PostgresMailboxes, str]
) -> None:
    """What a primary removes conflicts with a read on its replica: cancelled there, read anew here."""
    primary, replica = pair
    _, name = replicated
    attempts = 0

    def overtaken(connection: sa.Connection) -> int:
        nonlocal attempts
        attempts += 1
        count = sa.select(sa.func.count()).select_from(message)
        before = connection.scalar(count)
        if attempts == 1:
            with primary.connect(name) as other:
                other.execute("DELETE FROM message")
                other.execute("VACUUM message")
            primary.caught_up(replica)
            connection.scalar(count)
        return before or 0

    with closing(SourceDatabase(replica.url(name))) as database:
        assert database.run(partial(raw_rows, statement=sa.select(message.c.message_id)))
        assert database.run(overtaken) == 0
    assert attempts == 2
