"""Runs on a PostgreSQL at its limits: no room, no connection, deadlocks; each is named and costs nothing (G3, G10)."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from migrator.campaign import Campaign, open_campaign
from migrator.core.errors import DatabaseError, DatabaseUnavailableError, ExitStatus
from migrator.core.lifecycle import RunState
from migrator.core.progress import NoProgress
from migrator.planning.making import make_plan
from tests.execution.ready import Ready
from tests.execution.test_postgresql import at_boundaries, name_of, require_undisturbed_end
from tests.support.postgres import NOBODY, server

pytestmark = pytest.mark.parametrize("prepared", ["postgresql"], indirect=True)

_FAILING = """
CREATE SEQUENCE migrator.failures;
CREATE FUNCTION migrator.fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('migrator.failures') % 7 = 1 THEN
        RAISE EXCEPTION 'it happens' USING ERRCODE = '{state}';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER fail AFTER INSERT ON migrator.migrator_data_key FOR EACH STATEMENT EXECUTE FUNCTION migrator.fail();
"""
"""Sequences count what is rolled back, too: the same statement fails once, and not again."""


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_a_transaction_that_gave_way_is_done_again_as_a_whole(ready: Ready, state: str) -> None:
    """Serialization failures and deadlocks: the server's own errors, in the middle of units; nothing twice."""
    with server().connect(name_of(ready)) as connection:
        connection.execute(_FAILING.format(state=state))
    try:
        assert ready.run().state is RunState.COMPLETED
        with server().connect(name_of(ready)) as connection:
            (tried,) = connection.execute("SELECT last_value FROM migrator.failures").fetchone() or (0,)
    finally:
        with server().connect(name_of(ready)) as connection:
            connection.execute("DROP FUNCTION migrator.fail() CASCADE; DROP SEQUENCE migrator.failures")
    assert tried > 7
    require_undisturbed_end(ready)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own with so much room, for the server."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False)
    if made.returncode != 0:
        pytest.skip("only root may make a file system")
    try:
        os.chown(folder, NOBODY, NOBODY)
        for parent in folder.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_stops_the_run_resumable(ready: Ready, tmp_path: Path) -> None:
    """The disk under the server history is full: the command says so, with status 24; with more room it goes on."""
    table = "ALTER TABLE migrator.migrator_message SET TABLESPACE {}"
    with small_disk(tmp_path / "disk", "300k") as disk, server().connect(name_of(ready)) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        try:
            connection.execute(table.format("small"))
            with pytest.raises(DatabaseError, match="full") as caught:
                ready.run()
            assert caught.value.exit_status is ExitStatus.SERVICE_DOWN
            assert "resume" in caught.value.changed
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            assert ready.resume().state is RunState.COMPLETED
            require_undisturbed_end(ready)
        finally:
            server().cut_off(name_of(ready))
            with server().connect(name_of(ready)) as again:
                again.execute(table.format("pg_default"))
                again.execute("DROP TABLESPACE small")


def test_a_server_out_of_connections_stops_the_run_resumable(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others take every connection in the middle of a run, and keep them: status 24, and the setting to raise."""
    monkeypatch.setattr("migrator.database.connect.PATIENCE_SECONDS", 0.1)
    others = []

    def take_all(number: int, _label: str, _at: str) -> None:
        if number == 25:
            server().cut_off(name_of(ready))
            with suppress(psycopg.OperationalError):
                while True:
                    others.append(server().connect("postgres"))

    child = os.fork()  # as the process ends, its lease is nobody's, and all connections are free
    if child == 0:
        code = 1
        try:
            with open_campaign(ready.spec) as campaign:
                at_boundaries(campaign, take_all)
                ready.run_in(campaign)
        except DatabaseUnavailableError as error:
            named = "no connection left" in error.message and "max_connections" in error.hint
            code = error.exit_status if named and "resume" in error.changed else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WEXITSTATUS(status) == ExitStatus.SERVICE_DOWN
    assert ready.resume().state is RunState.COMPLETED
    require_undisturbed_end(ready)


def test_a_plan_whose_sessions_are_cut_is_none(ready: Ready) -> None:
    """Status 24, nothing that could be executed; the next plan is the same as an undisturbed one."""

    def cut(campaign: Campaign) -> None:
        def boundary(label: str, moment: str) -> None:
            if (label, moment) == ("plan-page", "before"):
                server().cut_off(name_of(ready))

        campaign.database.boundary = boundary

    with open_campaign(ready.spec) as campaign:
        reference = make_plan(campaign, save=None, progress=NoProgress())
    with open_campaign(ready.spec) as campaign:
        cut(campaign)
        with pytest.raises(DatabaseUnavailableError) as caught:
            make_plan(campaign, save=None, progress=NoProgress())
    assert caught.value.exit_status is ExitStatus.SERVICE_DOWN
    with open_campaign(ready.spec) as campaign:
        again = make_plan(campaign, save=None, progress=NoProgress())
    assert again.document["items_root"] == reference.document["items_root"]
    with server().connect(name_of(ready)) as connection:
        states = connection.execute("SELECT state, count(*) FROM migrator.migrator_plan GROUP BY state").fetchall()
    assert states == [("ready", 3)]
