"""Campaigns on a real Dask cluster: killed, cut off, ill-equipped; a run goes on or stops resumable, nothing twice."""

import base64
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from migrator.campaign import open_campaign
from migrator.core.errors import RESUMABLE, ConfigError, ExitStatus, MigratorError
from migrator.core.lifecycle import RunState, StopReason
from migrator.database import tables
from migrator.engines.dask import DaskEngine
from migrator.execution import status
from migrator.execution.assignment import Assignment, ShardResult
from migrator.execution.coordinator import RunOptions
from migrator.execution.dispatch import WorkersLostError
from migrator.execution.options import engine_of
from migrator.execution.process import run_shard
from migrator.execution.worker import work_through
from migrator.exports.opening import ExportReader
from tests.execution.bench import KEY, Bench, run_in
from tests.execution.inline import StopAfter
from tests.support.cluster import Cluster, cluster, sweep

T = TypeVar("T")


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """One cluster for all tests here."""
    with cluster(0) as made:
        yield made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is gone is looked for often; nothing is left to later tests."""
    monkeypatch.setattr("migrator.engines.dask._COUNT_EVERY_SECONDS", 0.05)
    monkeypatch.setattr("migrator.engines.dask._CONNECT_SECONDS", 1.0)
    yield
    sweep()


def make_bench(folder: Path, **sections: Any) -> Bench:
    """Four conversations, each a shard of its own."""
    made = Bench(folder, **{"execution": {"page_size": 5, "max_failures": "100%"}} | sections)
    for owner in ("alice", "bob", "carol", "dave"):
        made.account(owner)
        name = made.thread(owner, "x")
        made.messages(name, range(5))
        made.keys(owner, [name])
    return made


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """On the embedded defaults."""
    return make_bench(tmp_path / "campaign")


def by_reference(bench: Bench) -> Bench:
    """The same with its database's URL in the environment."""
    settings = bench.spec.settings
    database = settings.database.model_copy(update={"url": "env:TEST_DATABASE_URL"})
    bench.spec = replace(bench.spec, settings=settings.model_copy(update={"database": database}))
    return bench


def require_whole(bench: Bench, run_id: str) -> None:
    """Every conversation ended, nothing lost and nothing twice."""
    expected = {f"in-{owner}/x": ("rewrapped", 5, 0) for owner in ("alice", "bob", "carol", "dave")}
    assert bench.outcomes(run_id) == expected
    assert len(bench.all(tables.message)) == 20
    assert len(bench.events("conversation.rewrapped")) == len(bench.events("key.created")) == 4


# --- work that something happens to ---


class Replacing(Executor):
    """The engine's executor, given other work than what the coordinator hands it."""

    def __init__(self, inner: Executor, work: Callable[[Assignment], ShardResult]) -> None:
        self._inner, self._work = inner, work

    def submit(self, _function: Callable[..., T], /, *args: Any, **_: Any) -> Future[T]:
        """As told."""
        future: Future[Any] = self._inner.submit(self._work, *args)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As the engine's."""
        self._inner.shutdown(wait, cancel_futures=cancel_futures)


class Replaced(DaskEngine):
    """The Dask engine, whose workers do something else with each assignment."""

    def __init__(self, address: str, work: Callable[[Assignment], ShardResult]) -> None:
        super().__init__(address)
        self._work = work

    def executor(self) -> Executor:
        """Around the engine's own."""
        return Replacing(super().executor(), self._work)


def at_boundary(assignment: Assignment, act: Callable[[], None], label: str) -> ShardResult:
    """A worker of the first shard to whom something happens right after a commit, once."""
    if assignment.token > 1 or assignment.shard_no > 1:
        return run_shard(assignment)

    def listen(found: str, moment: str) -> None:
        if (found, moment) == (label, "after"):
            act()

    with open_campaign(assignment.spec) as campaign:
        campaign.database.boundary = listen
        return work_through(
            campaign, assignment, ExportReader(campaign, last_export_no=assignment.watermarks.export_no)
        )


def kill(pid: int | None) -> None:
    """SIGKILL to a process, or to this one."""
    os.kill(pid or os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("label", ["unit", "shard-finished"])
def test_a_worker_is_killed(shared: Cluster, bench: Bench, label: str) -> None:
    """G3: its shard goes to another under a higher token, also where it had just finished it."""
    plan = bench.plan().plan_id
    if shared.scheduler is None:
        shared.start()
    shared.top_up(2)
    engine = Replaced(shared.address, partial(at_boundary, act=partial(kill, None), label=label))
    with bench.open() as campaign:
        summary = run_in(campaign, plan, engine=engine)
    assert summary.state is RunState.COMPLETED
    require_whole(bench, summary.run_id)
    assert {row["shard_no"]: row["token"] for row in bench.all(tables.shard)}[1] == 2


class Revived:
    """Waits for the scheduler's death and starts it again, with a worker, at the same address."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._thread = threading.Thread(target=self._revive)
        self._thread.start()

    def _revive(self) -> None:
        assert self._cluster.scheduler is not None
        self._cluster.scheduler.wait()
        self._cluster.close()
        self._cluster.start(1)

    def join(self) -> None:
        """Return when all is up again."""
        self._thread.join()


def test_the_scheduler_is_killed_and_started_again(shared: Cluster, bench: Bench) -> None:
    """The coordinator finds it again and hands everything that was out to the workers that are there now."""
    plan = bench.plan().plan_id
    shared.close()
    shared.start(2)
    assert shared.scheduler is not None
    engine = Replaced(shared.address, partial(at_boundary, act=partial(kill, shared.scheduler.pid), label="unit"))
    revived = Revived(shared)
    with bench.open() as campaign:
        summary = run_in(campaign, plan, engine=engine)
    revived.join()
    assert summary.state is RunState.COMPLETED
    require_whole(bench, summary.run_id)


def test_a_scheduler_that_stays_away_stops_the_run(
    shared: Cluster, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumable, with status 24 and the reason in `status`; with a cluster it goes on."""
    monkeypatch.setattr("migrator.execution.dispatch._DESERTED_SECONDS", 0.5)
    plan = bench.plan().plan_id
    shared.close()
    shared.start(1)
    assert shared.scheduler is not None
    engine = Replaced(shared.address, partial(at_boundary, act=partial(kill, shared.scheduler.pid), label="unit"))
    with bench.open() as campaign:
        with pytest.raises(WorkersLostError, match="has had no worker") as caught:
            run_in(campaign, plan, engine=engine)
        assert (caught.value.exit_status, caught.value.changed) == (ExitStatus.SERVICE_DOWN, RESUMABLE)
        found = status.summary(campaign, None)
        assert (found.state, found.stop_reason) == (RunState.STOPPED, StopReason.SERVICE_DOWN)
        assert "has had no worker" in status.why_it_waits(campaign, found)
    shared.close()
    shared.start(1)
    require_whole(bench, bench.resume(engine=DaskEngine(shared.address)).run_id)


class Wire:
    """Stands between coordinator and scheduler: keeps what goes through, and can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.seen = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """Where the coordinator connects to."""
        return f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Every connection breaks; new ones work."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """For good."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for end in self._ends:
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                self.seen += data
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def wait_for_cut(folder: Path) -> None:
    """In a worker: have the wire cut, and go on when that is done."""
    with (folder / "cut").open("wb"), (folder / "done").open("rb"):
        pass


def test_the_network_is_cut(shared: Cluster, bench: Bench, tmp_path: Path) -> None:
    """The coordinator connects again; what a worker goes on with meanwhile is fenced off or done, never twice."""
    plan = bench.plan().plan_id
    shared.close()
    shared.start(2)
    wire = Wire(shared.port)
    for name in ("cut", "done"):
        os.mkfifo(tmp_path / name)

    def cut() -> None:
        with (tmp_path / "cut").open("rb"):
            wire.cut()
        with (tmp_path / "done").open("wb"):
            pass

    cutting = threading.Thread(target=cut)
    cutting.start()
    engine = Replaced(wire.address, partial(at_boundary, act=partial(wait_for_cut, tmp_path), label="unit"))
    with bench.open() as campaign:
        summary = run_in(campaign, plan, engine=engine)
    cutting.join()
    wire.close()
    assert summary.state is RunState.COMPLETED
    require_whole(bench, summary.run_id)


def test_no_secret_goes_through_the_scheduler(shared: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and references do. All that went over the wire holds no password, no key and no message."""
    bench = by_reference(make_bench(tmp_path / "campaign"))
    url = f"sqlite:///{bench.folder / 'migrator.db'}"
    monkeypatch.setenv("TEST_DATABASE_URL", url)
    plan = bench.plan().plan_id
    shared.close()
    shared.start(2)
    wire = Wire(shared.port)
    with bench.open() as campaign:
        summary = run_in(campaign, plan, engine=DaskEngine(wire.address))
    wire.close()
    require_whole(bench, summary.run_id)
    seen = bytes(wire.seen)
    assert b"env:TEST_DATABASE_URL" in seen
    key = json.loads((bench.folder / "keys" / "migrator.json").read_text())["key"][0]["keyData"]["value"]
    for secret in (url.encode(), key.encode(), base64.b64decode(key), KEY, b"what was said"):
        assert secret not in seen


def test_a_worker_without_what_it_needs_stops_the_run(
    shared: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which worker, and what it lacks, in the error and in `status`; with another worker the run goes on."""
    bench = by_reference(make_bench(tmp_path / "campaign"))
    monkeypatch.setenv("TEST_DATABASE_URL", f"sqlite:///{bench.folder / 'migrator.db'}")
    plan = bench.plan().plan_id
    shared.close()
    with monkeypatch.context() as elsewhere:
        elsewhere.delenv("TEST_DATABASE_URL")
        shared.start(1)
    with bench.open() as campaign:
        with pytest.raises(MigratorError, match="TEST_DATABASE_URL is not set") as caught:
            run_in(campaign, plan, engine=DaskEngine(shared.address))
        assert (caught.value.exit_status, caught.value.changed) == (ExitStatus.SERVICE_DOWN, RESUMABLE)
        assert f"(worker {socket.gethostname()}/{shared.workers[0].pid})" in caught.value.message
        found = status.summary(campaign, None)
        assert found.pending == 4
        assert caught.value.message in status.why_it_waits(campaign, found)
    shared.replace_workers(1)
    require_whole(bench, bench.resume(engine=DaskEngine(shared.address)).run_id)


def test_a_stop_reaches_the_workers(shared: Cluster, bench: Bench) -> None:
    """An operator's Ctrl-C: they leave at their next commit, and the run rests."""
    plan = bench.plan().plan_id
    shared.top_up(1)
    with bench.open() as campaign:
        stopped = run_in(campaign, plan, StopAfter(2), engine=DaskEngine(shared.address))
    assert (stopped.state, stopped.stop_reason) == (RunState.STOPPED, StopReason.INTERRUPTED)
    assert stopped.pending
    require_whole(bench, bench.resume(engine=DaskEngine(shared.address)).run_id)


def test_passwords_are_not_sent(bench: Bench) -> None:
    """A URL with one is refused before anything begins; the same on this machine alone is nobody's business."""
    settings = bench.spec.settings
    source = settings.source.model_copy(update={"url": "postgresql+psycopg://reader:hunter2@db/store"})
    bench.spec = replace(bench.spec, settings=settings.model_copy(update={"source": source}))
    with bench.open() as campaign:
        with pytest.raises(ConfigError, match=r"source\.url has a password") as caught:
            engine_of(campaign, RunOptions(engine="dask:tcp://127.0.0.1:1"))
        assert "hunter2" not in caught.value.message + caught.value.hint
        assert engine_of(campaign, RunOptions(engine="local", workers=3)).workers == 3
