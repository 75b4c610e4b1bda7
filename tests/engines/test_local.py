"""The local engine: a pool of processes that leave Ctrl-C to the coordinator and end when it dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from migrator.campaign import open_campaign
from migrator.core.errors import RESUMABLE, ExitStatus
from migrator.core.lifecycle import RunState
from migrator.database import tables
from migrator.engines.local import LocalEngine
from migrator.execution.assignment import Assignment, ShardResult
from migrator.execution.dispatch import WorkersLostError
from migrator.execution.process import run_shard
from migrator.execution.worker import work_through
from migrator.exports.opening import ExportReader
from tests.engines.conformance import PATIENCE, EngineConformance
from tests.execution.bench import Bench, run_in

T = TypeVar("T")
ROOT = Path(__file__).parents[2]


class TestLocalEngine(EngineConformance):
    """The port's tests."""

    def engine(self, workers: int) -> LocalEngine:
        """A pool on this machine."""
        return LocalEngine(workers)


def test_one_worker_a_core_unless_asked_otherwise() -> None:
    """0 is as many as this process may use."""
    assert LocalEngine(0).workers == len(os.sched_getaffinity(0))
    assert LocalEngine(3).workers == 3


def signals(_: int) -> tuple[bool, bool]:
    """How this worker takes SIGINT and SIGTERM."""
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def interrupt_myself(_: int) -> str:
    """What a terminal does to every process of a group on Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)
    return "still at work"


def test_workers_leave_ctrl_c_to_the_coordinator() -> None:
    """SIGINT means nothing to a worker; SIGTERM ends it as it ends anything."""
    with LocalEngine(1).executor() as executor:
        assert executor.submit(signals, 0).result(PATIENCE) == (True, True)
        assert executor.submit(interrupt_myself, 0).result(PATIENCE) == "still at work"


_COORDINATOR = """
import sys, time
from migrator.engines.local import LocalEngine
from tests.engines.conformance import process_id
if __name__ == "__main__":
    executor = LocalEngine(2).executor()
    print(*{executor.submit(process_id, n).result() for n in range(4)}, flush=True)
    sys.stdin.read()
"""


def test_workers_end_with_a_coordinator_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves it no time to tell them: they find out by themselves."""
    script = tmp_path / "coordinator.py"
    script.write_text(_COORDINATOR)
    process = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    workers = [psutil.Process(int(number)) for number in process.stdout.readline().split()]
    assert workers
    process.kill()
    process.wait(PATIENCE)
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE)
    process.stdin.close()
    process.stdout.close()
    assert alive == []


# --- with the coordinator: a shard whose worker died ---


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Two conversations, each a shard of its own."""
    made = Bench(tmp_path / "campaign", execution={"page_size": 5, "workers": 1, "max_failures": "100%"})
    for owner in ("alice", "bob"):
        made.account(owner)
        name = made.thread(owner, "x")
        made.messages(name, range(5))
        made.keys(owner, [name])
    return made


def work_and_die(assignment: Assignment, *, label: str) -> ShardResult:
    """A worker that is killed right after a commit, as long as nobody has tried before."""
    if assignment.token == 1 and assignment.shard_no == 1:

        def pull_the_plug(found: str, moment: str) -> None:
            if (found, moment) == (label, "after"):
                os.kill(os.getpid(), signal.SIGKILL)

        with open_campaign(assignment.spec) as campaign:
            campaign.database.boundary = pull_the_plug
            exports = ExportReader(campaign, last_export_no=assignment.watermarks.export_no)
            work_through(campaign, assignment, exports)
    return run_shard(assignment)


def always_die(_: Assignment) -> ShardResult:
    """What takes every worker with it."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class Replacing(Executor):
    """A real pool that is given other work than what the coordinator hands it."""

    def __init__(self, pool: Executor, work: Callable[[Assignment], ShardResult], seen: list[Assignment]) -> None:
        self._pool, self._work, self._seen = pool, work, seen

    def submit(self, _function: Callable[..., T], /, *args: Any, **_: Any) -> Future[T]:
        """Note the assignment, once the pool has taken it."""
        future: Future[Any] = self._pool.submit(self._work, *args)
        self._seen.append(args[0])
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As the pool does."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


class Replaced:
    """An engine whose workers do something else with each assignment."""

    workers = 1

    def __init__(self, work: Callable[[Assignment], ShardResult]) -> None:
        self._engine, self._work = LocalEngine(1), work
        self.seen: list[Assignment] = []
        self.executors = 0

    def executor(self) -> Executor:
        """Another one."""
        self.executors += 1
        return Replacing(self._engine.executor(), self._work, self.seen)


@pytest.mark.parametrize("label", ["claim", "unit"])
def test_a_shard_whose_worker_died_is_handed_out_again(bench: Bench, label: str) -> None:
    """G3: under a higher fencing token; what was committed stays, what was not is done by the next worker."""
    plan = bench.plan().plan_id
    engine = Replaced(partial(work_and_die, label=label))
    with bench.open() as campaign:
        summary = run_in(campaign, plan, engine=engine)
    assert summary.state is RunState.COMPLETED
    assert bench.outcomes(summary.run_id) == {"in-alice/x": ("rewrapped", 5, 0), "in-bob/x": ("rewrapped", 5, 0)}
    assert (1, 2) in [(assignment.shard_no, assignment.token) for assignment in engine.seen]
    assert engine.executors == 2
    assert {row["shard_no"]: row["token"] for row in bench.all(tables.shard)}[1] == 2
    assert len(bench.all(tables.message)) == 10
    assert len(bench.events("conversation.rewrapped")) == len(bench.events("key.created")) == 2


def test_workers_that_die_again_and_again_stop_the_run(bench: Bench) -> None:
    """Three deaths are bad luck, the fourth is a reason: status 24, and the run can be resumed."""
    plan = bench.plan().plan_id
    engine = Replaced(always_die)
    with bench.open() as campaign, pytest.raises(WorkersLostError) as caught:
        run_in(campaign, plan, engine=engine)
    assert (caught.value.exit_status, caught.value.changed) == (ExitStatus.SERVICE_DOWN, RESUMABLE)
    assert engine.executors >= 3
    summary = bench.resume()
    assert summary.state is RunState.COMPLETED
    assert bench.outcomes(summary.run_id).keys() == {"in-alice/x", "in-bob/x"}


def test_a_worker_of_a_lost_shard_that_still_lives_writes_nothing(bench: Bench) -> None:
    """The same shard under the token of before: its claim is refused, and its result says unfinished."""
    plan = bench.plan().plan_id
    engine = Replaced(run_shard)
    with bench.open() as campaign:
        run_in(campaign, plan, engine=engine)
    first = engine.seen[0]
    before = [bench.all(table) for table in (tables.item, tables.message, tables.outbox, tables.shard)]
    for stale in (first, replace(first, token=0), replace(first, generation=0, token=9)):
        assert not run_shard(stale).finished
    assert [bench.all(table) for table in (tables.item, tables.message, tables.outbox, tables.shard)] == before
