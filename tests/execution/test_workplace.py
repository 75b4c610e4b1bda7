"""What has to be right around a worker: its database, its clock, its key services; each said when it is not."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migrator.campaign import Campaign
from migrator.core.clock import SystemClock
from migrator.core.errors import ConfigError, ExitStatus, KeyServiceError
from migrator.engines import remote
from migrator.execution import process, workplace
from migrator.execution.assignment import Assignment
from migrator.facts import Watermarks
from tests.execution.bench import Bench


@dataclass(frozen=True, slots=True)
class Wrong(SystemClock):
    """A machine's clock that is off."""

    by: timedelta

    def now(self) -> datetime:
        """Off."""
        return datetime.now(UTC) + self.by


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A campaign with one conversation, and a second key service for another region."""
    made = Bench(tmp_path / "campaign", keys={"regions": {"EU": "local:keys#migrator", "US": "local:us#migrator"}})
    made.account("alice")
    made.messages(made.thread("alice", "x"), range(3))
    made.keys("alice", ["in-alice/x"])
    return made


def assignment(bench: Bench, plan_id: str) -> Assignment:
    """A shard of a dry run of a plan."""
    return Assignment(
        spec=bench.spec, run_id="dry-run", plan_id=plan_id, generation=0, shard_no=1, token=1, first_no=1, last_no=9,
        watermarks=Watermarks(9, 9), dry_run=True,
    )  # fmt: skip


def test_another_database_is_said(bench: Bench) -> None:
    """Each machine may have its own idea of where the reference to it leads."""
    plan_id = bench.plan().plan_id
    with bench.open() as campaign:
        workplace.require_same_database(campaign, assignment(bench, plan_id))
        with pytest.raises(ConfigError, match="does not hold the run of plan plan-of-another"):
            workplace.require_same_database(campaign, assignment(bench, "plan-of-another"))


def test_an_sqlite_file_is_for_one_machine(bench: Bench) -> None:
    """A path may exist on two machines and be two files."""
    elsewhere = replace(assignment(bench, bench.plan().plan_id), machine="another boot")
    with bench.open() as campaign, pytest.raises(ConfigError, match="SQLite file") as caught:
        workplace.require_same_database(campaign, elsewhere)
    assert "PostgreSQL" in caught.value.hint


@pytest.mark.parametrize("seconds", [-3600, -70, 70, 3600])
def test_a_clock_that_is_off(bench: Bench, seconds: int) -> None:
    """More than a minute, in either direction: a resumable stop that says by how much."""
    bench.spec = replace(bench.spec, clock=Wrong(timedelta(seconds=seconds)))
    with bench.open() as campaign, pytest.raises(workplace.WrongClockError) as caught:
        workplace.require_clock(campaign)
    assert f"{abs(seconds) - 1} s" in caught.value.message or f"{abs(seconds)} s" in caught.value.message
    assert caught.value.exit_status is ExitStatus.SERVICE_DOWN


def test_a_clock_that_is_right_enough(bench: Bench) -> None:
    """Half a minute decides nothing; a clock that stands still by order is no clock to compare."""
    with bench.open() as campaign:
        workplace.require_clock(campaign)
    bench.spec = replace(bench.spec, clock=Wrong(timedelta(seconds=30)))
    with bench.open() as campaign:
        workplace.require_clock(campaign)


def test_a_key_service_that_does_not_wrap_here(bench: Bench) -> None:
    """Any of those that are configured."""
    with bench.open() as campaign:
        workplace.require_key_services(campaign)
    (bench.folder / "us" / "migrator.json").unlink()
    with bench.open() as campaign, pytest.raises(KeyServiceError, match="local key"):
        workplace.require_key_services(campaign)


def test_only_a_cluster_has_environments_of_its_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one machine a region without its service costs that region's conversations; in a cluster it stops the run."""
    (bench.folder / "us" / "migrator.json").unlink()
    shard = assignment(bench, bench.plan().plan_id)
    assert process.run_shard(shard).counts["rewrapped"].conversations == 1
    process.close()
    monkeypatch.setattr(remote, "in_cluster", lambda: True)
    with pytest.raises(KeyServiceError, match=rf"\(worker {remote.this_worker()}\)"):
        process.run_shard(shard)


def test_what_a_process_has_open_is_closed_with_its_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of a cluster live on: when they are released, connections and keys go."""
    closed: list[Campaign] = []
    close: Callable[[Campaign], None] = Campaign.close

    def watched(campaign: Campaign) -> None:
        closed.append(campaign)
        close(campaign)

    shard = assignment(bench, bench.plan().plan_id)
    process.run_shard(shard)
    monkeypatch.setattr(Campaign, "close", watched)
    process.run_shard(shard)
    assert closed == []
    remote.release()
    assert len(closed) == 1
