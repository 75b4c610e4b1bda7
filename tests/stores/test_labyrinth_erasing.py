"""Deleting from a store: exactly what is named, twice as well as once, on both databases."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.core.errors import SourceError
from migrator.core.settings import SourceSettings
from migrator.stores import labyrinth_tables as tables
from migrator.stores.labyrinth import LabyrinthStore
from migrator.stores.labyrinth_erasing import LabyrinthEraser
from tests.stores.mailboxes import Mailboxes, fill
from tests.support.postgres import server

GROUP = "inbox-account-00/group-1"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A filled store in either database."""
    with closing(Mailboxes(tmp_path / "source.db")) as mailboxes:
        fill(mailboxes)
    if request.param == "sqlite":
        yield mailboxes.url
        return
    name = server().create()
    copy(mailboxes.url, server().url(name))
    yield server().url(name)


def copy(source: str, target: str) -> None:
    """The same rows in another database."""
    old, new = sa.create_engine(source), sa.create_engine(target.replace("postgresql://", "postgresql+psycopg://"))
    tables.metadata.create_all(new)
    with old.connect() as reading, new.begin() as writing:
        rows = [dict(row) for row in reading.execute(sa.select(tables.message)).mappings()]
        writing.execute(tables.message.insert(), rows)
        rows = [dict(row) for row in reading.execute(sa.select(tables.thread)).mappings()]
        writing.execute(tables.thread.insert(), rows)
    old.dispose()
    new.dispose()


def places(url: str, conversation_id: str) -> list[tuple[str, int, str]]:
    """The messages of a conversation."""
    with closing(LabyrinthStore.open(SourceSettings(url=url))) as store:
        return [(conversation_id, row[0], row[1]) for row in store.messages([conversation_id])[conversation_id]]


def test_messages_by_their_place(url: str) -> None:
    """Those that are named go, their neighbours stay; strangers and what is gone are no error."""
    before = places(url, GROUP)
    some, rest = before[::2], before[1::2]
    strangers = [("no/body", 1, "x"), ("nonsense", 1, "x"), (GROUP, -1, before[0][2])]
    with closing(LabyrinthStore.open_eraser(SourceSettings(url=url))) as eraser:
        assert eraser.count(some + strangers) == len(some)
        for _ in range(2):
            eraser.erase(some + strangers)
            assert eraser.count(before) == len(rest)
        assert eraser.count([]) == 0
        eraser.erase([])
    assert places(url, GROUP) == rest


def test_whole_conversations(url: str) -> None:
    """Everything of theirs, and nothing of others."""
    other = "inbox-account-01/account-02"
    kept = places(url, other)
    with closing(LabyrinthStore.open_eraser(SourceSettings(url=url))) as eraser:
        assert eraser.count_all([GROUP, "nonsense"]) == 25
        eraser.erase_all([GROUP, "nonsense"])
        assert eraser.count_all([GROUP]) == 0
    assert places(url, other) == kept


def test_many_at_once(url: str) -> None:
    """More than fits one statement."""
    asked = [(GROUP, number, "m") for number in range(1_500)] + places(url, GROUP)
    with closing(LabyrinthStore.open_eraser(SourceSettings(url=url))) as eraser:
        assert eraser.count(asked) == 25
        eraser.erase(asked)
        assert eraser.count(asked) == 0


def test_freed_pages_are_overwritten(tmp_path: Path) -> None:
    """What was deleted from a SQLite file can't be found in it any more."""
    with closing(Mailboxes(tmp_path / "source.db")) as mailboxes:
        fill(mailboxes)
        mailboxes.execute("UPDATE message SET encrypted_message_data = ?", [(b"a sealed secret" * 20,)])
    assert b"a sealed secret" in (tmp_path / "source.db").read_bytes()
    with closing(LabyrinthStore.open(SourceSettings(url=mailboxes.url))) as store:
        everything = [c.conversation_id for page in store.population() for c in page]
    with closing(LabyrinthStore.open_eraser(SourceSettings(url=mailboxes.url))) as eraser:
        eraser.erase_all(everything)
    assert b"a sealed secret" not in (tmp_path / "source.db").read_bytes()


@pytest.mark.parametrize("url", ["nonsense", "oracle://x/y", "postgresql+pg8000://x/y"])
def test_what_cant_be_opened(url: str) -> None:
    """A clear error."""
    with pytest.raises(SourceError, match="can't be opened for writing"):
        LabyrinthEraser.open(url)
