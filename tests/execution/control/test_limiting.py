"""Limits of a run that is at work or at rest: changed from another shell, kept, told, and what they hold back."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from migrator.campaign import Campaign
from migrator.core.errors import ExitStatus, GateError, UsageError
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.load import CRITICAL_LOOK_SECONDS, CRITICAL_LOOKS, Metered
from migrator.core.progress import NoProgress
from migrator.core.run_limits import UNLIMITED, RunLimits
from migrator.database import tables
from migrator.execution import control, coordinator, dispatch, outlook, status
from migrator.execution import throttle as throttling
from migrator.execution.coordinator import RunOptions
from migrator.execution.runs import RunSummary
from migrator.execution.throttle import Throttle, Verdict
from migrator.execution.watchdog import SILENCE_SECONDS, Watchdog
from tests.execution.bench import Bench
from tests.execution.inline import InlineEngine, NoStop

OWNERS = ("alice", "bob", "carol")
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def bench_in(folder: Path, **execution: Any) -> Bench:
    """Three conversations, each a unit and a shard of its own."""
    made = Bench(folder / "campaign", execution={"page_size": 10, "max_failures": "100%", **execution})
    for owner in OWNERS:
        made.account(owner)
        name = made.thread(owner, "x")
        made.messages(name, range(10))
        made.keys(owner, [name])
    return made


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """The same, with flag files."""
    return bench_in(tmp_path, throttle_flag_file="throttle", panic_flag_file="panic")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look is one, and nobody sleeps."""
    monkeypatch.setattr(throttling, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(dispatch, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(outlook, "_NOTE_SECONDS", 0.0)


class Looks(NoStop):
    """Does something at the n-th time the coordinator looks."""

    def __init__(self, **acts: Callable[[], object]) -> None:
        self._acts = {int(name.removeprefix("at")): act for name, act in acts.items()}
        self.looks = 0

    @property
    def requested(self) -> StopReason | None:  # type: ignore[override] # what a test does at a look, the signal does
        """Nobody wants it to stop."""
        self.looks += 1
        if self.looks in self._acts:
            self._acts[self.looks]()
        return None


class Notes(NoProgress):
    """Keeps what is said, and for how long nothing could be done."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.held = 0.0

    def note(self, text: str) -> None:
        """Kept."""
        self.said.append(text)

    def held_up(self, seconds: float) -> None:
        """Added up."""
        self.held += seconds


def watched(bench: Bench, stop: Looks, notes: Notes, **options: Any) -> RunSummary:
    """A run that is looked at."""
    plan = bench.plan().plan_id
    with bench.open() as campaign:
        given = RunOptions(engine=InlineEngine(campaign), **options)
        return coordinator.execute(campaign, plan, given, notes, stop)


def shown(bench: Bench) -> str:
    """What another shell says of the run."""
    with bench.open() as other:
        return status.why_it_waits(other, status.summary(other, None))


# --- the service ---


def test_limits_are_changed_shown_and_told(bench: Bench) -> None:
    """One event with old and new; what is as it was already is no change; without options nothing is written."""
    run_id = bench.run(max_duration="0.001s", max_rate="1000000/s").run_id
    with bench.open() as campaign:
        assert control.limits(campaign, None).limits == {
            "max_rate": "1000000/s", "max_failures": "100%", "max_duration": "0.001s",
        }  # fmt: skip
        found = control.throttle(campaign, run_id, {"max_rate": "5/s", "window": "22:00-06:00 Europe/Paris"})
        assert found.changes == {"max_rate": ("1000000/s", "5/s"), "window": ("off", "22:00-06:00 Europe/Paris")}
        assert status.summary(campaign, None).limits == found.limits
        assert control.throttle(campaign, None, {"max_rate": "5/s"}).changes == {}
        control.throttle(campaign, None, {"window": "off", "max_rate": "off"})
    assert bench.events("run.limits_changed") == [
        {
            "old": {"max_rate": "1000000/s", "window": "off"},
            "new": {"max_rate": "5/s", "window": "22:00-06:00 Europe/Paris"},
        },
        {"old": {"max_rate": "5/s", "window": "22:00-06:00 Europe/Paris"}, "new": {"max_rate": "off", "window": "off"}},
    ]
    assert bench.all(tables.run)[0]["max_rate"] is None


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"window": "always"}, UsageError), ({"max_load": "x=1s"}, UsageError), ({"max_failures": "off"}, UsageError)],
)
def test_what_says_nothing_changes_nothing(bench: Bench, changes: dict[str, str], error: type[Exception]) -> None:
    """Also where another change beside it would be good."""
    bench.run(max_duration="0.001s")
    before = bench.all(tables.run), len(bench.all(tables.outbox))
    with bench.open() as campaign, pytest.raises(error):
        control.throttle(campaign, None, {"max_rate": "5/s", **changes})
    assert (bench.all(tables.run), len(bench.all(tables.outbox))) == before


def test_a_run_that_has_ended_has_nothing_to_limit(bench: Bench) -> None:
    """Status 12."""
    bench.run()
    with bench.open() as campaign, pytest.raises(GateError, match="completed"):
        control.throttle(campaign, None, {"max_rate": "5/s"})


def test_limits_are_kept_over_resume_unless_given_anew(bench: Bench) -> None:
    """But for the time of a session, which begins anew; every change has its event."""
    bench.run(max_duration="0.001s", max_rate="1000000/s", window="00:00-23:59 UTC", workers=1)
    stopped = bench.resume(max_duration="0.001s", max_rate="2000000/s")
    assert (stopped.state, stopped.stop_reason) == (RunState.STOPPED, StopReason.MAX_DURATION)
    assert stopped.limits == {
        "max_rate": "2000000/s", "window": "00:00-23:59 UTC", "max_failures": "100%", "max_duration": "0.001s",
        "workers": "1",
    }  # fmt: skip
    done = bench.resume(workers=0, window="off")
    assert done.state is RunState.COMPLETED
    assert done.limits == {"max_rate": "2000000/s", "max_failures": "100%"}
    assert [event["new"] for event in bench.events("run.limits_changed")] == [
        {"max_rate": "2000000/s"}, {"max_duration": "off", "window": "off", "workers": "off"},
    ]  # fmt: skip


def test_the_pace_of_a_run_from_before_limits_were_kept(bench: Bench) -> None:
    """Shown, not lost when another limit changes, and taken away like any other."""
    bench.run(max_duration="0.001s")
    with bench.database() as connection:
        connection.execute(tables.run.update().values(limits=None, max_rate=0.25))
    with bench.open() as campaign:
        assert control.limits(campaign, None).limits == {"max_rate": "900.000/h"}
        control.throttle(campaign, None, {"workers": "1"})
        assert bench.all(tables.run)[0]["max_rate"] == 0.25
        assert control.throttle(campaign, None, {"max_rate": "off"}).changes == {"max_rate": ("900.000/h", "off")}
    assert bench.all(tables.run)[0]["max_rate"] is None


# --- a run at work ---


def test_a_flag_file_holds_a_run_back_in_sight(bench: Bench) -> None:
    """It says so here and in any shell, and the time counts as waited; removed, the run goes on to its end."""
    flag, notes, said = bench.folder / "throttle", Notes(), []
    flag.touch()
    stop = Looks(at3=lambda: said.append(shown(bench)), at4=flag.unlink)
    summary = watched(bench, stop, notes)
    assert summary.state is RunState.COMPLETED
    assert said == [f"waiting: throttle flag file: {flag}"]
    assert notes.said == [f"waiting: throttle flag file: {flag}", "at work again"]
    assert 0 < notes.held <= summary.elapsed_seconds
    assert bench.all(tables.run)[0]["throttled"] == 0


def test_nothing_is_opened_while_it_is_there(bench: Bench) -> None:
    """From the first look on: the run that is stopped in front of it has shown nothing."""
    (bench.folder / "throttle").touch()
    stopped = watched(bench, Looks(), Notes(), max_duration="0.001s")
    assert (stopped.state, stopped.stop_reason) == (RunState.STOPPED, StopReason.MAX_DURATION)
    assert bench.all(tables.message) == []


def test_a_flag_file_of_one_run(bench: Bench) -> None:
    """Its name has the run's id behind it; another run's does not count."""
    with bench.open() as campaign:
        limits = UNLIMITED
        (bench.folder / "throttle.run-1").touch()
        assert Throttle(campaign, "run-2").look(limits).waits == ()
        assert Throttle(campaign, "run-1").look(limits).waits == (
            f"throttle flag file: {bench.folder / 'throttle.run-1'}",
        )


def test_a_flag_file_that_can_not_be_looked_at_counts_as_there(tmp_path: Path) -> None:
    """For waiting; nothing is aborted on a guess."""
    name = "x" * 300
    bench = bench_in(tmp_path, throttle_flag_file=name, panic_flag_file=name)
    with bench.open() as campaign:
        found = Throttle(campaign, None).look(UNLIMITED)
    assert found.waits == (f"throttle flag file: {bench.folder / name} can't be looked at (File name too long)",)
    assert found.panic is None


def test_a_panic_file_aborts(bench: Bench) -> None:
    """Like an abort from another shell, and says by what; no run begins or goes on while it is there."""
    panic = bench.folder / "panic"
    summary = watched(bench, Looks(at1=panic.touch), Notes())
    assert (summary.state, summary.stop_reason) == (RunState.STOPPED, StopReason.ABORTED)
    assert summary.exit_status is ExitStatus.STOPPED_BY_OPERATOR
    assert summary.stop_detail == f"panic flag file: {panic}"
    assert [event["by"] for event in bench.events("run.stop_requested")] == ["panic_flag_file"]
    assert len(bench.events("run.aborted")) == 1
    for begin in (bench.run, bench.resume):
        with pytest.raises(GateError, match="panic flag file"):
            begin()
    panic.unlink()
    assert bench.resume().state is RunState.COMPLETED


def test_limits_count_at_the_next_look(bench: Bench) -> None:
    """Set by another shell: the run waits for its window, and goes on when it is taken away."""
    now = datetime.now(UTC)
    later = f"{now + timedelta(hours=2):%H:%M}-{now + timedelta(hours=3):%H:%M} UTC"
    said: list[str] = []

    def limit(text: str) -> Callable[[], object]:
        def change() -> None:
            with bench.open() as other:
                control.throttle(other, None, {"window": text})

        return change

    stop = Looks(at1=limit(later), at4=lambda: said.append(shown(bench)), at5=limit("off"))
    notes = Notes()
    summary = watched(bench, stop, notes)
    assert summary.state is RunState.COMPLETED
    assert said[0].startswith(f"waiting: window: {later} opens at ")
    assert f"limits: window {later}, max_failures 100%" in notes.said
    assert len(bench.events("run.limits_changed")) == 2


def test_a_duration_that_is_over_ends_the_session(bench: Bench) -> None:
    """Shortened from another shell: status 20."""

    def shorten() -> None:
        with bench.open() as other:
            control.throttle(other, None, {"max_duration": "0.001s"})

    stopped = watched(bench, Looks(at1=shorten), Notes(), max_duration="8h")
    assert (stopped.stop_reason, stopped.exit_status) == (StopReason.MAX_DURATION, ExitStatus.LIMIT_REACHED)


def test_a_dry_run_waits_too(bench: Bench) -> None:
    """It reads the source and asks the key service as a run does."""
    flag, notes = bench.folder / "throttle", Notes()
    flag.touch()
    summary = watched(bench, Looks(at2=flag.unlink), notes, dry_run=True)
    assert summary.state is RunState.COMPLETED
    assert notes.said == [f"waiting: throttle flag file: {flag}", "at work again"]


# --- load ---


def test_shards_carry_what_workers_see(bench: Bench) -> None:
    """Each commit and each call of a key service once, whoever counted it first: workers or coordinator."""
    seen: list[Metered] = []
    see = Throttle.see

    def noted(throttle: Throttle, database: Metered, keys: Metered) -> None:
        seen.extend((database, keys))
        see(throttle, database, keys)

    plan = bench.plan().plan_id
    with pytest.MonkeyPatch.context() as patch, bench.open() as campaign:
        patch.setattr(Throttle, "see", noted)
        commits = 0

        def boundary(label: str, moment: str) -> None:
            nonlocal commits
            commits += moment == "after" and label != "audit-wal-sync"  # that one is a file's

        campaign.database.boundary = boundary
        options = RunOptions(engine=InlineEngine(campaign))
        coordinator.execute(campaign, plan, options, NoProgress(), NoStop())
        left = campaign.database.meter.take(), campaign.key_services.meter.take()
        assert sum(found.calls for found in (*seen[::2], left[0])) == commits
        assert sum(found.calls for found in (*seen[1::2], left[1])) == sum(campaign.key_services.calls.values())
    assert any(row["commits"] and row["key_calls"] for row in bench.all(tables.shard))


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """The present."""
        return self.now


@pytest.fixture
def campaign(bench: Bench) -> Any:
    """The campaign, open."""
    with bench.open() as opened:
        yield opened


SLOW = Metered(20, 20 * 410_000)
FAST = Metered(200, 200 * 1000)


def test_over_its_load_a_run_waits_with_figures(campaign: Campaign) -> None:
    """And no longer once it is seen to be fast again, or nothing was seen for long."""
    clock, limits = Clock(), RunLimits(max_load="database.latency=250ms")
    throttle = Throttle(campaign, None, monotonic=clock.monotonic)
    assert throttle.look(limits) == Verdict()
    throttle.see(SLOW, Metered())
    assert throttle.look(limits).waits == ("max-load: database commit 0.41 s over 0.25 s",)
    clock.now += 1
    throttle.see(FAST, Metered())
    assert throttle.look(limits).waits == ()
    throttle.see(Metered(1000, 1000 * 410_000), Metered())
    assert throttle.look(limits).waits
    clock.now += 300
    assert throttle.look(limits).waits == ()


def test_only_a_critical_load_that_lasts_ends_a_run(campaign: Campaign) -> None:
    """Looks without anything new count for nothing; a spike does not either."""
    clock, limits = Clock(), RunLimits(critical_load="keys.latency=2s")
    throttle = Throttle(campaign, None, monotonic=clock.monotonic)
    for n in range(CRITICAL_LOOKS):
        throttle.see(Metered(), Metered(1, 3_000_000))
        for _ in range(20):
            clock.now += CRITICAL_LOOK_SECONDS / 20
            found = throttle.look(limits).critical
            if found is not None:
                break
        assert (found is not None) is (n == CRITICAL_LOOKS - 1)
    assert found == "critical-load: key service call 3 s over 2 s"


def test_a_critical_load_stops_the_run_resumable(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 24, the figures in `status`; what was shown stays, and the run goes on afterwards."""
    look = Throttle.look
    figures = "critical-load: database commit 6 s over 5 s"
    monkeypatch.setattr(Throttle, "look", lambda *given: replace(look(*given), critical=figures))
    stopped = bench.run(critical_load="database.latency=5s")
    assert (stopped.stop_reason, stopped.exit_status) == (StopReason.CRITICAL_LOAD, ExitStatus.SERVICE_DOWN)
    assert shown(bench).startswith(f"{figures}; ")
    monkeypatch.undo()
    assert bench.resume().state is RunState.COMPLETED


def test_every_factor_is_said_by_itself(bench: Bench, campaign: Campaign) -> None:
    """Any one is enough, and none hides another."""
    (bench.folder / "throttle").touch()
    limits = RunLimits(window="22:00-06:00 UTC", max_load="database.latency=250ms")
    throttle = Throttle(campaign, None, monotonic=Clock().monotonic, wall=lambda: NOON)
    throttle.see(SLOW, Metered())
    assert throttle.look(limits).waits == (
        "window: 22:00-06:00 UTC opens at 2026-07-01T22:00Z",
        f"throttle flag file: {bench.folder / 'throttle'}",
        "max-load: database commit 0.41 s over 0.25 s",
    )
    throttle = Throttle(campaign, None, wall=lambda: NOON - timedelta(hours=12))
    (bench.folder / "throttle").unlink()
    assert throttle.look(limits).waits == ()


def test_a_run_that_gets_nowhere_says_so() -> None:
    """Nothing committed for long; what is held back on purpose is not silent."""
    clock = Clock()
    watchdog = Watchdog(monotonic=clock.monotonic)
    assert watchdog.look(5, held=False) is None
    clock.now += SILENCE_SECONDS
    assert watchdog.look(5, held=False) == "nothing was committed for 10 min: look at the workers"
    assert watchdog.look(6, held=False) is None
    clock.now += SILENCE_SECONDS
    assert watchdog.look(6, held=True) is None
