"""The pace of a run: a limit shared by its workers, and patience with a key service; time is passed in."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from migrator.campaign import Campaign
from migrator.core.errors import ExitStatus, KeyDelay, KeyServiceUnavailableError
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.execution import coordinator, session, status
from migrator.execution.coordinator import RunOptions
from migrator.execution.pacing import PATIENCE_SECONDS, Pace, through_delays
from migrator.keyservices.interface import KeyRefusal
from migrator.keyservices.local import LocalKeyService
from tests.execution.bench import Bench
from tests.execution.inline import InlineEngine, NoStop


class Clock:
    """Stands still unless somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Time goes by."""
        self.slept.append(seconds)
        self.now += seconds

    def pace(self, rate: float | None = None) -> Pace:
        """A pace on this clock."""
        made = Pace(monotonic=self.monotonic, sleep=self.sleep)
        made.rate = rate
        return made


def nothing() -> None:
    """Who looks sees nothing new."""


def test_without_a_limit_nobody_waits() -> None:
    """And what was done then is not to be paid for when a limit comes."""
    clock = Clock()
    pace = clock.pace()
    pace.spend(1_000_000)
    pace.wait(nothing)
    pace.rate = 10
    pace.wait(nothing)
    assert clock.slept == []


def test_messages_are_paid_for_before_the_next() -> None:
    """100 a second: 250 messages are 2.5 s, in which it looks about every second."""
    clock = Clock()
    pace = clock.pace(100)
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1

    for _ in range(4):
        pace.wait(look)
        pace.spend(250)
    assert clock.now == pytest.approx(1007.5)
    assert looks == 9


def test_unused_time_counts_for_a_second_only() -> None:
    """An hour of standing still is no leave for a burst."""
    clock = Clock()
    pace = clock.pace(100)
    clock.now += 3600
    pace.spend(300)
    pace.wait(nothing)
    assert sum(clock.slept) == pytest.approx(2.0)


def test_a_limit_that_changes_counts_at_once() -> None:
    """Somebody raises it while a worker waits for an hour; then takes it away."""
    clock = Clock()
    pace = clock.pace(1)
    pace.spend(3600)
    rates = itertools.chain([1.0], itertools.repeat(1799.0))

    def look() -> None:
        pace.rate = next(rates)

    pace.wait(look)
    assert clock.now == pytest.approx(1000 + 2 + 2, abs=0.01)
    pace.spend(10**9)

    def away() -> None:
        pace.rate = None

    pace.wait(away)
    assert clock.slept[-1] == 1.0


def test_who_looks_may_leave() -> None:
    """A stop is heard while waiting."""
    clock = Clock()
    pace = clock.pace(1)
    pace.spend(3600)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pace.wait(stop)
    assert sum(clock.slept) == 1.0


# --- a busy key service ---


def throttled(retry_after: float | None = None, delay: KeyDelay = KeyDelay.THROTTLED) -> KeyServiceUnavailableError:
    """What a service says."""
    return KeyServiceUnavailableError("key service throttled (429)", delay=delay, retry_after=retry_after)


def test_what_a_service_asks_for_is_waited() -> None:
    """`retry_after` where it said so, else longer from time to time."""
    answers: list[Exception | None] = [throttled(7.0), throttled(), throttled(), None]
    held: list[tuple[str, float]] = []

    def action() -> str:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return "done"

    assert through_delays(action, lambda why, seconds: held.append((why, seconds)), commits=lambda: 0) == "done"
    assert [why for why, _ in held] == ["key service throttled (429)"] * 3
    assert held[0][1] == 7.0
    assert 1.0 <= held[1][1] <= 2.0
    assert 2.0 <= held[2][1] <= 4.0


@pytest.mark.parametrize("gets_on", [False, True])
def test_patience_ends_where_nothing_gets_on(gets_on: bool) -> None:
    """Ten minutes without a commit; a service that lets something through is waited for as long as it takes."""
    waited = calls = 0.0

    def action() -> None:
        nonlocal calls
        calls += 1
        if calls < 100:
            raise throttled(50.0)

    def hold(_: str, seconds: float) -> None:
        nonlocal waited
        waited += seconds

    if gets_on:
        through_delays(action, hold, commits=lambda: int(calls))
        assert waited == 99 * 50
    else:
        with pytest.raises(KeyServiceUnavailableError):
            through_delays(action, hold, commits=lambda: 0)
        assert waited == PATIENCE_SECONDS


@pytest.mark.parametrize("delay", [KeyDelay.DOWN, KeyDelay.SEALED])
def test_a_service_that_is_down_is_not_waited_for(delay: KeyDelay) -> None:
    """The run stops, resumable: somebody has to mend it."""

    def action() -> None:
        raise throttled(delay=delay)

    with pytest.raises(KeyServiceUnavailableError):
        through_delays(action, lambda *_: pytest.fail("held"), commits=lambda: 0)


# --- in a run ---


class Watched(NoProgress):
    """Keeps what is said, and how long it was held up."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.held = 0.0

    def note(self, text: str) -> None:
        """Kept."""
        self.notes.append(text)

    def held_up(self, seconds: float) -> None:
        """Added up."""
        self.held += seconds


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Three conversations of ten messages, each a page and a shard."""
    made = Bench(tmp_path / "campaign", execution={"page_size": 10, "max_failures": "100%"})
    for owner in ("alice", "bob", "carol"):
        made.account(owner)
        name = made.thread(owner, "x")
        made.messages(name, range(10))
        made.keys(owner, [name])
    return made


class Clocked(InlineEngine):
    """This process as the worker, on a clock of the test's."""

    def __init__(self, campaign: Campaign, clock: Clock, workers: int = 1) -> None:
        super().__init__(campaign, clock.pace())
        self.workers = workers


def test_a_limit_holds_over_all_shards(bench: Bench) -> None:
    """10 messages a second: twenty of the thirty are paid for before the last are committed."""
    clock = Clock()
    with bench.open() as campaign:
        options = RunOptions(engine=Clocked(campaign, clock), max_rate="10/s")
        summary = coordinator.execute(campaign, bench.plan().plan_id, options, NoProgress(), NoStop())
    assert summary.state is RunState.COMPLETED
    assert sum(clock.slept) == pytest.approx(2.0, abs=0.01)


def test_workers_share_the_limit(bench: Bench) -> None:
    """As many as are at work: of two, each has half."""
    plan_id, clock, shares = bench.plan().plan_id, Clock(), []
    with bench.open() as campaign:
        engine = Clocked(campaign, clock, workers=2)
        campaign.database.boundary = lambda label, moment: (
            shares.append(engine.pace.rate) if (label, moment) == ("unit", "after") else None
        )
        options = RunOptions(engine=engine, max_rate="600/min")
        coordinator.execute(campaign, plan_id, options, NoProgress(), NoStop())
    assert shares[0] == 5.0


def test_a_limit_in_the_configuration_and_in_status(tmp_path: Path) -> None:
    """Seen from any shell while the run is at work; gone when it is not."""
    seen: list[str] = []
    made = Bench(tmp_path / "other", execution={"max_rate": "5000/s"})
    made.account("alice")
    made.messages(made.thread("alice", "x"), range(3))
    made.keys("alice", ["in-alice/x"])

    def listen(label: str, _: str) -> None:
        if label == "unit":
            with made.open() as other:
                seen.append(status.why_it_waits(other, status.summary(other, None)))

    plan_id = made.plan().plan_id
    with made.open() as campaign:
        campaign.database.boundary = listen
        options = RunOptions(engine=Clocked(campaign, Clock()))
        summary = coordinator.execute(campaign, plan_id, options, NoProgress(), NoStop())
    assert seen[0].endswith("; paced to 5,000 messages/s")
    assert summary.max_rate is None


def test_a_changed_row_changes_the_pace(bench: Bench) -> None:
    """What another shell will do: the limit is the row's, read with each fence and each look."""
    clock = Clock()

    def lift(seconds: float) -> None:
        clock.now += seconds
        clock.slept.append(seconds)
        with bench.database() as connection:
            connection.execute(tables.run.update().values(max_rate=None))

    with bench.open() as campaign:
        engine = InlineEngine(campaign, Pace(monotonic=clock.monotonic, sleep=lift))
        options = RunOptions(engine=engine, max_rate="1/h")
        summary = coordinator.execute(campaign, bench.plan().plan_id, options, NoProgress(), NoStop())
    assert summary.state is RunState.COMPLETED
    assert clock.slept == [1.0]


class ThenStop:
    """Somebody stops the run while its worker waits."""

    def __init__(self) -> None:
        self.requested: StopReason | None = None


def test_a_worker_that_waits_hears_of_a_stop(bench: Bench) -> None:
    """A limit of a message an hour does not keep an operator waiting."""
    clock = Clock()
    plan_id = bench.plan().plan_id

    def stop(_: float) -> None:
        with bench.database() as connection:
            connection.execute(tables.run.update().values(stop_reason=StopReason.INTERRUPTED.value))
        signal.requested = StopReason.INTERRUPTED

    signal = ThenStop()
    with bench.open() as campaign:
        engine = InlineEngine(campaign, Pace(monotonic=clock.monotonic, sleep=stop))
        options = RunOptions(engine=engine, max_rate="1/h")
        summary = coordinator.execute(campaign, plan_id, options, NoProgress(), signal)
    assert (summary.state, summary.stop_reason, summary.pending) == (RunState.STOPPED, StopReason.INTERRUPTED, 2)


def test_a_dry_run_keeps_the_pace_too(bench: Bench) -> None:
    """It reads the source as fast as the run would."""
    clock = Clock()
    with bench.open(read_only=True) as campaign:
        options = RunOptions(engine=Clocked(campaign, clock), max_rate="10/s", dry_run=True)
        coordinator.execute(campaign, bench.plan().plan_id, options, NoProgress(), NoStop())
    assert sum(clock.slept) == pytest.approx(3.0, abs=0.01)


def throttling(times: int, monkeypatch: pytest.MonkeyPatch, delay: KeyDelay = KeyDelay.THROTTLED) -> None:
    """A key service that refuses so many times."""
    wrap: Callable[[LocalKeyService, Sequence[tuple[bytes, bytes]]], list[bytes | KeyRefusal]] = LocalKeyService.wrap
    left = times

    def busy(service: LocalKeyService, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        nonlocal left
        left -= 1
        if left >= 0:
            raise throttled(30.0, delay)
        return wrap(service, items)

    monkeypatch.setattr(LocalKeyService, "wrap", busy)


def test_a_throttling_key_service_is_waited_for_in_sight(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """`status` has the reason, the rate does not have the time, and nothing is lost or twice."""
    throttling(2, monkeypatch)
    clock, progress = Clock(), Watched()
    seen: set[str | None] = set()
    plan_id = bench.plan().plan_id

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        seen.update(row["waiting"] for row in bench.all(tables.shard))

    with bench.open() as campaign:
        options = RunOptions(engine=InlineEngine(campaign, Pace(monotonic=clock.monotonic, sleep=sleep)))
        summary = coordinator.execute(campaign, plan_id, options, progress, NoStop())
    assert summary.state is RunState.COMPLETED
    assert len(bench.all(tables.message)) == 30
    assert "key service throttled (429)" in seen
    assert progress.held == pytest.approx(60.0)
    assert [row["held_ms"] for row in bench.all(tables.run)] == [60_000]
    assert all(row["waiting"] is None for row in bench.all(tables.shard))


def test_what_a_worker_waits_for_is_the_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's row says it, the coordinator repeats it in the run's, and any shell shows it; then it is over."""
    plan_id, progress = bench.plan().plan_id, Watched()
    with bench.open() as campaign:
        options = RunOptions(engine=InlineEngine(campaign, Clock().pace()))
        committed = status.committed
        reasons: list[str | None] = ["key service throttled (429)", None, None, None, None]

        def told(*arguments: object) -> status.Committed:
            real = committed(*arguments)  # type: ignore[arg-type]
            waiting = reasons.pop(0) if reasons else None
            return status.Committed(
                messages=real.messages, failures=real.failures, held_seconds=real.held_seconds, waiting=waiting
            )

        shown: list[str] = []

        def listen(label: str, moment: str) -> None:
            if (label, moment) == ("run-note", "after"):
                with bench.open() as other:
                    shown.append(status.why_it_waits(other, status.summary(other, None)))

        monkeypatch.setattr(session, "committed", told)
        campaign.database.boundary = listen
        coordinator.execute(campaign, plan_id, options, progress, NoStop())
    assert shown[0] == "waiting: key service throttled (429)"
    assert shown[-1].startswith("at work: ")
    assert progress.notes == ["waiting: key service throttled (429)", "at work again"]


def test_a_key_service_that_is_down_stops_the_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 24 and its reason; resumed when it is back, the end is the same."""
    throttling(1, monkeypatch, KeyDelay.DOWN)
    plan_id = bench.plan().plan_id
    with bench.open() as campaign, pytest.raises(KeyServiceUnavailableError) as caught:
        coordinator.execute(campaign, plan_id, RunOptions(engine=InlineEngine(campaign)), NoProgress(), NoStop())
    assert caught.value.exit_status is ExitStatus.SERVICE_DOWN
    with bench.open() as campaign:
        assert "key service throttled (429)" in status.why_it_waits(campaign, status.summary(campaign, None))
    assert bench.resume().state is RunState.COMPLETED
    assert len(bench.all(tables.message)) == 30
