"""The queue of shards: handed out, lost, handed out again, with an executor whose every answer the test decides."""

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from migrator.core.errors import ExitStatus, SourceError
from migrator.execution.assignment import Assignment, ShardResult
from migrator.execution.dispatch import Queue, WorkersLostError
from migrator.facts import Watermarks
from tests.campaign_spec import campaign_spec


class Scripted(Executor):
    """Takes work and does nothing until the test says how it ended."""

    def __init__(self) -> None:
        self.given: list[tuple[Assignment, Future[Any]]] = []
        self.broken = False
        self.shut = False

    def submit(self, _function: Any, /, *args: Any, **_: Any) -> Future[Any]:
        """Noted, or refused once the pool is broken."""
        if self.broken:
            raise BrokenProcessPool("a worker died")
        future: Future[Any] = Future()
        self.given.append((args[0], future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Noted."""
        self.shut = True

    def end(self, place: int, *, finished: bool = True, error: Exception | None = None) -> None:
        """How the n-th work ended."""
        assignment, future = self.given[place]
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(ShardResult(shard_no=assignment.shard_no, finished=finished))


class Pools:
    """An engine of scripted executors."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.made: list[Scripted] = []

    def executor(self) -> Scripted:
        """Another one."""
        self.made.append(Scripted())
        return self.made[-1]


def queue_of(folder: Path, shards: int, engine: Pools, clock: Callable[[], float] = time.monotonic) -> Queue:
    """So many shards that wait."""
    spec = campaign_spec(folder)
    return Queue(
        [
            Assignment(
                spec=spec, run_id="r", plan_id="p", generation=1, shard_no=number, token=1, first_no=1, last_no=1,
                watermarks=Watermarks(0, 0),
            )
            for number in range(1, shards + 1)
        ],
        engine,
        monotonic=clock,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has ended is there at once."""
    monkeypatch.setattr("migrator.execution.dispatch._POLL_SECONDS", 0)


def test_one_more_than_workers_is_handed_out(tmp_path: Path) -> None:
    """So that nobody waits for the coordinator; the rest waits for its turn, each once."""
    engine = Pools(2)
    queue = queue_of(tmp_path, 5, engine)
    assert queue.step(paused=False) == []
    (pool,) = engine.made
    assert [assignment.shard_no for assignment, _ in pool.given] == [1, 2, 3]
    for place in range(5):
        pool.end(place)
        queue.step(paused=False)
    queue.step(paused=False)
    assert [assignment.shard_no for assignment, _ in pool.given] == [1, 2, 3, 4, 5]
    assert not queue.busy
    queue.close()
    assert pool.shut


def test_fewer_workers_share_when_the_others_are_done(tmp_path: Path) -> None:
    """Told to keep to one worker while three are at work: all three go on sharing the limit until they have ended."""
    engine = Pools(4)
    queue = queue_of(tmp_path, 5, engine)
    queue.most = 3
    queue.step(paused=False)
    (pool,) = engine.made
    queue.most = 1
    assert queue.at_work == 3
    for place, left in ((0, 2), (1, 1), (2, 1)):
        pool.end(place)
        queue.step(paused=False)
        assert queue.at_work == left
    queue.close()


def test_what_comes_back_unfinished_goes_out_under_a_higher_token(tmp_path: Path) -> None:
    """Whoever held it before is fenced off."""
    engine = Pools(1)
    queue = queue_of(tmp_path, 1, engine)
    queue.step(paused=False)
    engine.made[0].end(0, finished=False)
    queue.step(paused=False)
    queue.step(paused=False)
    assert [assignment.token for assignment, _ in engine.made[0].given] == [1, 2]


def test_paused_nothing_goes_out_any_more(tmp_path: Path) -> None:
    """What waits is dropped for this session, what comes back unfinished too."""
    engine = Pools(1)
    queue = queue_of(tmp_path, 5, engine)
    queue.step(paused=False)
    engine.made[0].end(0, finished=False)
    engine.made[0].end(1)
    while queue.busy:
        queue.step(paused=True)
    assert len(engine.made[0].given) == 2


def test_an_error_of_the_run_is_given_back(tmp_path: Path) -> None:
    """It is no reason to try the shard again."""
    engine = Pools(1)
    queue = queue_of(tmp_path, 1, engine)
    queue.step(paused=False)
    error = SourceError("the source is gone")
    engine.made[0].end(0, error=error)
    assert queue.step(paused=False) == [error]
    assert not queue.busy


def test_a_bug_in_a_worker_is_not_hidden(tmp_path: Path) -> None:
    """What is none of our errors ends the session as what it is."""
    engine = Pools(1)
    queue = queue_of(tmp_path, 1, engine)
    queue.step(paused=False)
    engine.made[0].end(0, error=KeyError("bug"))
    with pytest.raises(KeyError):
        queue.step(paused=False)


def test_late_news_of_a_broken_pool_leave_the_new_one_alone(tmp_path: Path) -> None:
    """A future of the old pool fails after the new one was made: nobody is left behind at work."""
    engine = Pools(2)
    queue = queue_of(tmp_path, 2, engine)
    queue.step(paused=False)
    old = engine.made[0]
    old.broken = True
    old.end(0, error=BrokenProcessPool())
    queue.step(paused=False)
    queue.step(paused=False)
    old.end(1, error=BrokenProcessPool())
    queue.step(paused=False)
    queue.step(paused=False)
    assert len(engine.made) == 2
    assert [(a.shard_no, a.token) for a, _ in engine.made[1].given] == [(1, 2), (2, 2)]


@pytest.mark.parametrize("workers", [1, 3])
def test_the_fourth_death_in_a_row_is_a_reason(tmp_path: Path, workers: int) -> None:
    """A pool takes all that it was given with it: that is one death. A shard that ends in between starts anew."""
    engine = Pools(workers)
    queue = queue_of(tmp_path, workers + 1, engine)
    for death in range(1, 5):
        queue.step(paused=False)
        pool = engine.made[-1]
        pool.broken = True
        for place in range(len(pool.given)):
            pool.end(place, error=BrokenProcessPool())
        lost = [found for found in queue.step(paused=False) if isinstance(found, WorkersLostError)]
        assert bool(lost) == (death == 4), death
    assert lost[0].exit_status is ExitStatus.SERVICE_DOWN


# --- an engine whose workers come and go ---


class Hours:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def test_an_engine_without_workers_is_waited_for(tmp_path: Path) -> None:
    """Nothing is handed out to nobody; when somebody comes it goes on, and the waiting begins anew."""
    engine, clock = Pools(2), Hours()
    queue = queue_of(tmp_path, 3, engine, clock)
    engine.workers = 0
    assert queue.step(paused=False) == []
    assert (queue.deserted, queue.at_work, engine.made) == (True, 0, [])
    clock.now = 119
    assert queue.step(paused=False) == []
    engine.workers = 1
    queue.step(paused=False)
    assert (queue.deserted, queue.at_work) == (False, 1)
    assert len(engine.made[0].given) == 2
    engine.workers = 0
    clock.now = 230
    assert queue.step(paused=False) == []


def test_an_engine_that_stays_without_workers_stops_the_run(tmp_path: Path) -> None:
    """Two minutes; what somebody may still hold is the fence's business."""
    engine, clock = Pools(1), Hours()
    queue = queue_of(tmp_path, 2, engine, clock)
    queue.step(paused=False)
    engine.workers = 0
    assert queue.step(paused=False) == []
    clock.now = 121
    (error,) = queue.step(paused=False)
    assert isinstance(error, WorkersLostError)
    assert error.exit_status is ExitStatus.SERVICE_DOWN
    assert not queue.busy


def test_an_engine_that_takes_nothing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its scheduler went away right after it was asked for its workers: no shard is lost, however often it is tried."""
    engine, clock = Pools(2), Hours()
    queue = queue_of(tmp_path, 3, engine, clock)
    with monkeypatch.context() as away:
        away.setattr(Scripted, "submit", refuse)
        for second in range(1, 101):
            clock.now = second
            assert queue.step(paused=False) == []
        assert (queue.deserted, queue.at_work) == (True, 2)
    queue.step(paused=False)
    assert [(a.shard_no, a.token) for a, _ in engine.made[-1].given] == [(1, 1), (2, 1), (3, 1)]
    queue.step(paused=False)
    assert not queue.deserted


def test_an_engine_that_goes_on_taking_nothing_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two minutes as well."""
    engine, clock = Pools(2), Hours()
    queue = queue_of(tmp_path, 3, engine, clock)
    monkeypatch.setattr(Scripted, "submit", refuse)
    assert queue.step(paused=False) == []
    clock.now = 121
    (error,) = queue.step(paused=False)
    assert isinstance(error, WorkersLostError)
    assert not queue.busy


def test_who_is_held_back_hears_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused once, then throttled for longer than an engine is waited for: the work goes on where it was."""
    engine, clock = Pools(2), Hours()
    queue = queue_of(tmp_path, 3, engine, clock)
    with monkeypatch.context() as away:
        away.setattr(Scripted, "submit", refuse)
        queue.step(paused=False)
    for second in range(1, 300, 50):
        clock.now = second
        assert queue.step(paused=False, held=True) == []
    assert not queue.deserted
    queue.step(paused=False)
    assert len(engine.made[-1].given) == 3


def test_who_pauses_waits_for_those_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the engine took the next shard from nobody."""
    engine = Pools(1)
    queue = queue_of(tmp_path, 3, engine, Hours())
    queue.step(paused=False)
    engine.made[0].end(0)
    with monkeypatch.context() as away:
        away.setattr(Scripted, "submit", refuse)
        assert len(queue.step(paused=False)) == 1
        queue.step(paused=False)
    assert queue.step(paused=True) == []
    assert queue.busy
    engine.made[0].end(1)
    assert len(queue.step(paused=True)) == 1
    assert not queue.busy


def refuse(*_: Any, **__: Any) -> Future[Any]:
    """Nobody is there."""
    raise BrokenProcessPool("no scheduler answers")


def test_who_wants_to_stop_does_not_wait_for_nobody(tmp_path: Path) -> None:
    """Ctrl-C while the cluster is away ends the session at once."""
    engine = Pools(1)
    queue = queue_of(tmp_path, 2, engine, Hours())
    queue.step(paused=False)
    engine.workers = 0
    assert queue.step(paused=True) == []
    assert not queue.busy
