"""The campaign's lease: one holder at a time, taken over from the dead at once, and lost visibly."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator import lease
from migrator.campaign import Campaign, CampaignSpec, open_campaign
from migrator.core.clock import format_time
from migrator.core.errors import DatabaseError, ExitStatus, LeaseHeldError
from migrator.database import tables
from migrator.execution import status
from tests.execution.bench import Bench

PATIENCE = 20
"""Seconds after which something that should happen at once has not happened."""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A campaign with nothing in it."""
    return Bench(tmp_path / "campaign")


@pytest.fixture
def campaign(bench: Bench) -> Iterator[Campaign]:
    """The same, open."""
    with bench.open() as opened:
        yield opened


def held_by(bench: Bench, holder: str | None, beat: datetime, *, token: int = 7) -> None:
    """The lease as somebody else left it."""
    with bench.database() as connection:
        connection.execute(tables.lease.delete())
        connection.execute(
            tables.lease.insert().values(
                campaign="bench", token=token, holder=holder, purpose="execute", heartbeat_at=format_time(beat)
            )
        )


def token(bench: Bench) -> int:
    """The token that counts now."""
    (row,) = bench.all(tables.lease)
    return int(row["token"])


def test_held_once_and_released(bench: Bench, campaign: Campaign) -> None:
    """While it is held nobody else gets it, whoever asks is told by whom; afterwards it is free, the token raised."""
    with lease.hold(campaign, purpose="execute") as held:
        with (
            bench.open() as other,
            pytest.raises(LeaseHeldError, match=rf"{os.getpid()}.*\(execute\)") as caught,
            lease.hold(other, purpose="rollback"),
        ):
            pytest.fail("held twice")
        assert caught.value.exit_status is ExitStatus.LEASE_HELD
        holder = status.lease_holder(campaign)
        assert holder is not None
        assert (holder.alive, holder.purpose) == (True, "execute")
    assert status.lease_holder(campaign) is None
    with lease.hold(campaign, purpose="resume") as again:
        assert again.token == held.token + 1 == token(bench)


def test_released_when_the_block_fails(campaign: Campaign) -> None:
    """An error leaves no lease behind."""
    with pytest.raises(ZeroDivisionError), lease.hold(campaign, purpose="execute"):
        raise ZeroDivisionError
    assert status.lease_holder(campaign) is None


def _hold_until_killed(spec: CampaignSpec, told: Connection) -> None:
    with open_campaign(spec) as campaign, lease.hold(campaign, purpose="execute"):
        told.send("held")
        signal.pause()


def test_a_dead_holder_of_this_host_is_taken_over_at_once(bench: Bench, campaign: Campaign) -> None:
    """G3: a coordinator that was killed blocks nobody; one that lives does, however old its heartbeat is."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold_until_killed, args=(bench.spec, theirs))
    process.start()
    try:
        assert ours.poll(PATIENCE)
        old = format_time(datetime.now(UTC) - timedelta(days=1))
        with bench.database() as connection:
            connection.execute(tables.lease.update().values(heartbeat_at=old))
        with pytest.raises(LeaseHeldError), lease.hold(campaign, purpose="resume"):
            pytest.fail("taken from the living")
    finally:
        process.kill()
        process.join(PATIENCE)
    with lease.hold(campaign, purpose="resume") as held:
        assert held.token == 2
    process.close()


def test_a_process_of_the_same_number_is_not_the_holder(bench: Bench, campaign: Campaign) -> None:
    """Process ids come again: the time at which the process began tells them apart."""
    mine = lease._this_process()
    held_by(bench, mine.rpartition("/")[0] + "/1", datetime.now(UTC))
    with lease.hold(campaign, purpose="resume") as held:
        assert held.token == 8


@pytest.mark.parametrize(
    ("age", "free"), [(timedelta(0), False), (lease.EXPIRY / 2, False), (lease.EXPIRY + timedelta(seconds=5), True)]
)
def test_another_host_is_believed_while_its_heartbeat_is_fresh(
    bench: Bench, campaign: Campaign, age: timedelta, free: bool
) -> None:
    """Nobody can look into another machine: only time tells."""
    held_by(bench, "other-host/other-boot/1/1", datetime.now(UTC) - age)
    if not free:
        with pytest.raises(LeaseHeldError, match="other-host"), lease.hold(campaign, purpose="resume"):
            pytest.fail("taken from the living")
        assert token(bench) == 7
        return
    with lease.hold(campaign, purpose="resume") as held:
        assert held.token == 8


def test_a_machine_that_booted_again_holds_nothing_for_long(bench: Bench, campaign: Campaign) -> None:
    """A holder of an earlier boot of this machine can't be asked either: its heartbeat decides."""
    host = lease._this_process().split("/")[0]
    held_by(bench, f"{host}/earlier-boot/{os.getpid()}/1", datetime.now(UTC) - lease.EXPIRY * 2)
    with lease.hold(campaign, purpose="resume") as held:
        assert held.token == 8


def test_whoever_swaps_first_has_it(bench: Bench, campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare-and-swap: between the look and the update somebody else took it."""
    held_by(bench, None, datetime.now(UTC))
    process = lease._this_process

    def meanwhile() -> str:
        for connection in opened:
            connection.execute(tables.lease.update().values(token=99, holder="somebody/else/1/1"))
        return process()

    opened: list[sa.Connection] = []
    sa.event.listen(campaign.database.engine, "begin", opened.append)
    monkeypatch.setattr(lease, "_this_process", meanwhile)
    with pytest.raises(LeaseHeldError, match="at this moment"), lease.hold(campaign, purpose="resume"):
        pytest.fail("taken by two")


def test_a_lost_lease_is_noticed(bench: Bench, campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next heartbeat finds another token; what the loser then releases is not the winner's lease."""
    monkeypatch.setattr(lease, "HEARTBEAT", timedelta(milliseconds=20))
    with lease.hold(campaign, purpose="execute") as held:
        assert not held.lost.is_set()
        held_by(bench, "other-host/other-boot/1/1", datetime.now(UTC), token=99)
        assert held.lost.wait(PATIENCE)
    (row,) = bench.all(tables.lease)
    assert (row["token"], row["holder"]) == (99, "other-host/other-boot/1/1")


def test_the_heartbeat_renews(bench: Bench, campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the block runs the heartbeat moves on."""
    monkeypatch.setattr(lease, "HEARTBEAT", timedelta(milliseconds=20))
    beats: set[str] = set()

    def noted(label: str, moment: str) -> None:
        if (label, moment) == ("lease-heartbeat", "after"):
            beats.add(bench.all(tables.lease)[0]["heartbeat_at"])
            if len(beats) == 3:
                enough.set()

    enough = threading.Event()
    campaign.database.boundary = noted
    with lease.hold(campaign, purpose="execute"):
        assert enough.wait(PATIENCE)


def test_heartbeats_that_can_not_be_written_are_missed_then_lost(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One failing write is nothing; when they fail for as long as a lease lives, somebody else may have it."""
    monkeypatch.setattr(lease, "HEARTBEAT", timedelta(milliseconds=10))
    failed = threading.Event()
    write = campaign.database.write

    def failing(label: str) -> AbstractContextManager[sa.Connection]:
        if label == "lease-heartbeat":
            failed.set()
            raise DatabaseError("the migrator database is locked by another process")
        return write(label)

    monkeypatch.setattr(campaign.database, "write", failing)
    with lease.hold(campaign, purpose="execute") as held:
        assert failed.wait(PATIENCE)
        assert not held.lost.is_set()
        monkeypatch.setattr(lease, "EXPIRY", timedelta(0))
        assert held.lost.wait(PATIENCE)
