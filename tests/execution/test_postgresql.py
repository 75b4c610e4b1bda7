"""Runs on a PostgreSQL that misbehaves: sessions cut, a restart, limits, changes at the same moment (G1, G3)."""

import os
import random
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fixtures.expected import expect
from fixtures.shape import FaultShares
from fixtures.world import Shape, World
from migrator.authorizations import scopes
from migrator.campaign import Campaign, open_campaign
from migrator.core.errors import DatabaseError, DatabaseUnavailableError, ExitStatus
from migrator.core.lifecycle import RunState
from migrator.core.progress import NoProgress
from migrator.database.connect import Database
from migrator.planning.making import make_plan
from tests.execution.ready import Ready
from tests.execution.state import log_matches_outbox
from tests.execution.test_runs import outcomes
from tests.support.campaigns import small_campaign
from tests.support.postgres import server

pytestmark = pytest.mark.parametrize("prepared", ["postgresql"], indirect=True)


def at_boundaries(campaign: Campaign, act: Callable[[int, str, str], None]) -> list[int]:
    """Have `act` called at each boundary with its number from 1, label and moment; the count so far."""
    passed = [0]

    def boundary(label: str, moment: str) -> None:
        passed[0] += 1
        act(passed[0], label, moment)

    campaign.database.boundary = boundary
    return passed


def name_of(ready: Ready) -> str:
    """The database's name."""
    assert ready.database is not None
    return ready.database


def require_undisturbed_end(ready: Ready) -> None:
    """The campaign ended as one that nothing happened to, log and all."""
    with open_campaign(ready.spec) as campaign:
        assert log_matches_outbox(campaign, ready.spec.directory / "audit" / "wal.jsonl")
    found = ready.state()
    ready.restore()
    ready.run()
    assert found == ready.state()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_sessions_cut_again_and_again(ready: Ready, moment: str) -> None:
    """Many a commit of a worker is broken off, or is the last of its session: the unit is done again, once."""
    commits: list[str] = []
    drawn = random.Random(20260508)

    def cut_sessions(_number: int, label: str, at: str) -> None:
        if at == moment and label in ("unit", "page", "flip", "stage", "merge", "skips", "decided"):
            commits.append(label)
            if drawn.random() < 0.4:
                assert server().cut_off(name_of(ready)) > 0

    with open_campaign(ready.spec) as campaign:
        at_boundaries(campaign, cut_sessions)
        assert ready.run_in(campaign).state is RunState.COMPLETED
    assert len(commits) > 8
    require_undisturbed_end(ready)


def test_a_restart_in_the_middle_of_a_run(ready: Ready) -> None:
    """The server crashes with a transaction open, and comes back: the run goes on by itself."""

    def restart(number: int, _label: str, _at: str) -> None:
        if number == 25:
            server().crash()
            server().start()

    with open_campaign(ready.spec) as campaign:
        passed = at_boundaries(campaign, restart)
        assert ready.run_in(campaign).state is RunState.COMPLETED
    assert passed[0] > 25
    require_undisturbed_end(ready)


def test_a_server_that_stays_away_stops_the_run_resumable(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience ends: the command says that the database is away, with status 24; `resume` goes on when it is back."""
    monkeypatch.setattr("migrator.database.connect.PATIENCE_SECONDS", 0.2)

    def crash(number: int, _label: str, _at: str) -> None:
        if number == 25:
            server().crash()

    child = os.fork()  # as the process ends, its lease is nobody's
    if child == 0:
        code = 1
        try:
            with open_campaign(ready.spec) as campaign:
                at_boundaries(campaign, crash)
                ready.run_in(campaign)
        except DatabaseUnavailableError as error:
            code = error.exit_status if "resume" in error.changed else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    server().restart()
    assert os.WEXITSTATUS(status) == ExitStatus.SERVICE_DOWN
    assert ready.resume().state is RunState.COMPLETED
    require_undisturbed_end(ready)


def test_a_statement_timeout_stops_the_run_resumable(ready: Ready) -> None:
    """A limit that an administrator sets too low is named, not tried against for ever."""
    setting = f"ALTER DATABASE {name_of(ready)} SET statement_timeout = {{}}"

    def limit(number: int, _label: str, _at: str) -> None:
        if number == 25:
            with server().connect("postgres") as connection:
                connection.execute(setting.format("'1ms'"))
            server().cut_off(name_of(ready))

    child = os.fork()  # as the process ends, its lease is nobody's: giving it back may take too long as well
    if child == 0:
        code = 1
        try:
            with open_campaign(ready.spec) as campaign:
                at_boundaries(campaign, limit)
                ready.run_in(campaign)
        except DatabaseError as error:
            code = 0 if "took too long" in error.message and "statement_timeout" in error.hint else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    with server().connect("postgres") as connection:
        connection.execute(setting.format("DEFAULT"))
    assert os.WEXITSTATUS(status) == 0
    ready.resume()
    require_undisturbed_end(ready)


def test_a_change_of_authorisations_waits_for_the_commit_under_way(ready: Ready) -> None:
    """G1: no unit commits on a decision that an authorisation committed before it has overtaken."""
    order: list[str] = []

    def change() -> None:
        with closing(Database(ready.spec.settings.database.url, schema="migrator")) as database:
            with database.write("change") as connection:
                scopes.lock(connection)
                scopes.raise_version(connection, ready.spec.settings.campaign.name)
            order.append("changed")

    changing = threading.Thread(target=change)
    units = 0

    def change_at_first_unit(_number: int, label: str, at: str) -> None:
        nonlocal units
        if label != "unit":
            return
        units += at == "before"
        if (units, at) == (1, "before"):
            changing.start()
            _wait_for_waiter(name_of(ready))
            order.append("unit")
        elif (units, at) == (1, "after"):
            changing.join()

    with open_campaign(ready.spec) as campaign:
        at_boundaries(campaign, change_at_first_unit)
        ready.run_in(campaign)
    assert order == ["unit", "changed"]
    assert units > 1
    require_undisturbed_end(ready)


def _wait_for_waiter(database: str) -> None:
    """Until a session of the database waits for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    with server().connect("postgres") as watcher:
        while (watcher.execute(query, [database]).fetchone() or (0,))[0] < 1:
            pass


@pytest.mark.usefixtures("prepared")
def test_a_source_on_sqlite_with_what_postgresql_can_not_store(tmp_path: Path) -> None:
    """G10: NUL in message ids costs those messages, whose gaps are kept under an escaped id."""
    shape = Shape(accounts=20, conversations=20, messages=400, seed=5, faults=FaultShares(nul_id=0.02))
    url = server().url(server().create())
    spec = small_campaign(
        tmp_path / "c", shape, authorization={"quorum": "owner"}, database={"url": url, "schema": None}
    )
    with open_campaign(spec) as campaign:
        plan = make_plan(campaign, save=None, progress=NoProgress()).plan_id
    found = Ready(spec, World(shape), plan, tmp_path)
    summary = found.run()
    expected = {name: tuple(outcome) for name, outcome in expect(found.world, "owner").items()}
    assert outcomes(found, summary.run_id) == expected
    assert any("%00" in message_id for _, _, message_id, _ in found.state()["gaps"])
