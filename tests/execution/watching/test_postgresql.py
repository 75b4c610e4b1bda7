"""Samples and calls of hooks on PostgreSQL, in a schema of the settings."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from migrator.core.estimate import rate
from migrator.database import schema, tables
from migrator.database.connect import Database
from migrator.execution.hooks import calls
from migrator.execution.hooks.process import Ended, Result
from migrator.execution.watching import samples
from tests.support.postgres import server

NOW = datetime(2026, 5, 9, 12, tzinfo=UTC)
RUN = {"run_id": "run-1", "run_no": 1, "plan_id": "plan-1", "state": "running", "generation": 1,
       "started_at": "2026-05-09T00:00:00.000000Z"}  # fmt: skip


@pytest.fixture
def database() -> Iterator[Database]:
    """An empty migrator database."""
    name = server().create()
    database = Database(server().url(name), schema="migrator")
    schema.upgrade(database)
    yield database
    database.close()


def test_the_same_on_postgresql(database: Database) -> None:
    """What a session notes, a ring that goes round, and the last call of a hook."""
    with database.write("test") as connection:
        connection.execute(tables.run.insert().values(RUN))
        for number, decision in ((1, "rewrap"), (2, "extend"), (3, "skipped:refused")):
            connection.execute(
                tables.plan_item.insert().values(
                    plan_id="plan-1", conversation_no=number, decision=decision, messages=100
                )
            )
        connection.execute(
            tables.item.insert().values(
                run_id="run-1", conversation_no=1, outcome="rewrapped", messages=100, gaps=0, finished_at="x"
            )
        )
        samples.begin_session(connection, "run-1", 1, None)
        row = connection.execute(tables.run.select()).one()
        assert (row.expected, row.earlier, row.committed_at) == (200, 100, None)
        for number in range(200):
            at = NOW - timedelta(seconds=5 * (199 - number))
            samples.take(connection, "run-1", 1, number, messages=50 * number, held_seconds=0.0, at=at)
        found = rate(samples.taken(connection, "run-1", 1), NOW)
        assert found is not None
        assert found.per_second == 10.0
        ended = Ended(result=Result.TIMED_OUT, exit_status=137, seconds=60.0)
        calls.record(connection, "on-start", ended, plan_id="plan-1", run_id=None, called_at=NOW)
        trouble = calls.last_trouble(connection, "plan-1")
        assert trouble is not None
        assert (trouble.hook, trouble.result, trouble.called_at) == ("on-start", Result.TIMED_OUT, NOW)
