"""Keyed references, and the outbox that carries them."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.audit import outbox, verifying
from migrator.audit.events import Event, EventType
from migrator.audit.references import References, ensure_salts
from migrator.core.errors import IntegrityError
from migrator.core.progress import NoProgress
from migrator.database import tables
from tests.audit.support import NOW, make_log, open_database, open_log

KEY = bytes(range(32))


def _salt(folder: Path, subject: str) -> bytes:
    with open_database(folder).read() as connection:
        table = tables.reference_salt
        salt: bytes = connection.execute(sa.select(table.c.salt).where(table.c.subject_id == subject)).scalar_one()
        return salt


def test_a_reference_is_what_the_format_says(tmp_path: Path) -> None:
    """The first 16 bytes of HMAC-SHA256 of the id under the subject's own key, in hex."""
    make_log(tmp_path)
    with open_database(tmp_path).write("test") as connection:
        ensure_salts(connection, ["ana"])
        found = References(KEY).of(connection, {"ana": "ana", "i1/bén": "ana"})
    subject_key = hmac.digest(KEY, _salt(tmp_path, "ana"), hashlib.sha256)
    assert found == {
        name: hmac.digest(subject_key, name.encode(), hashlib.sha256)[:16].hex() for name in ("ana", "i1/bén")
    }


def test_salts_stay(tmp_path: Path) -> None:
    """A subject keeps its salt; many at once, some new, some known, some twice."""
    make_log(tmp_path)
    with open_database(tmp_path).write("test") as connection:
        ensure_salts(connection, ["s1", "s1"])
    before = _salt(tmp_path, "s1")
    with open_database(tmp_path).write("test") as connection:
        ensure_salts(connection, [f"s{n}" for n in range(1200)])
        assert len(References(KEY).accounts(connection, [f"s{n}" for n in range(1200)])) == 1200
    assert _salt(tmp_path, "s1") == before


def test_erasing_a_salt_unlinks(tmp_path: Path) -> None:
    """Without the salt there is no reference, and a new salt gives another one."""
    make_log(tmp_path)
    with open_database(tmp_path).write("test") as connection:
        ensure_salts(connection, ["ana"])
        before = References(KEY).accounts(connection, ["ana"])
        connection.execute(tables.reference_salt.delete())
        with pytest.raises(IntegrityError, match="erased"):
            References(KEY).accounts(connection, ["ana"])
        ensure_salts(connection, ["ana"])
        assert References(KEY).accounts(connection, ["ana"]) != before


def test_the_key_does_not_show() -> None:
    """Neither in `repr` nor in `str`."""
    assert KEY.hex() not in repr(References(KEY)) + str(References(KEY))
    assert repr(KEY) not in repr(References(KEY))


def test_events_go_with_their_transaction(tmp_path: Path) -> None:
    """A transaction that fails leaves no event behind; one that commits leaves its data in canonical form."""
    log = make_log(tmp_path)
    event = Event(type=EventType.KEY_CREATED, subject="ab", data={"b": 1, "a": {"y": 2, "x": 1}, "n": None, "t": True})

    def fail() -> None:
        with open_database(tmp_path).write("test") as connection:
            outbox.record(connection, [event], actor="a", now=NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert log.flush() == 0
    with open_database(tmp_path).write("test") as connection:
        outbox.record(connection, [], actor="a", now=NOW)
        outbox.record(connection, [event, event], actor="a", now=NOW)
    assert log.flush() == 2
    first, second = log.lines()
    assert b'"data":{"a":{"x":1,"y":2},"b":1,"n":null,"t":true}' in first
    assert json.loads(first)["id"] != json.loads(second)["id"]


def test_an_erased_salt_leaves_a_log_that_verifies(tmp_path: Path) -> None:
    """Erasure changes no entry: the log verifies, and nothing that is left leads from a subject to its entries."""
    log = make_log(tmp_path)
    with open_database(tmp_path).write("test") as connection:
        ensure_salts(connection, ["ana", "ben"])
        before = References(KEY).accounts(connection, ["ana", "ben"])
        events = [Event(type=EventType.EXPORT_RECORDED, subject=before[name]) for name in ("ana", "ben")]
        outbox.record(connection, events, actor="a", now=NOW)
    log.flush()
    with open_database(tmp_path).write("test") as connection:
        connection.execute(tables.reference_salt.delete().where(tables.reference_salt.c.subject_id == "ana"))
    found = verifying.verify(open_log(tmp_path), NoProgress())
    assert (found.ok, found.size) == (True, 2)
    with open_database(tmp_path).write("test") as connection:
        with pytest.raises(IntegrityError):
            References(KEY).accounts(connection, ["ana"])
        assert References(KEY).accounts(connection, ["ben"])["ben"] == before["ben"]
        ensure_salts(connection, ["ana"])
        assert References(KEY).accounts(connection, ["ana"])["ana"] != before["ana"]
