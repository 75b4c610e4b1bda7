"""A run that is held back for hours: what its workers have in their hands meanwhile, and what they know afterwards."""

import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from migrator import patience
from migrator.campaign import Campaign
from migrator.core.clock import FixedClock
from migrator.core.errors import KeyDelay, KeyServiceUnavailableError
from migrator.core.lifecycle import RunState
from migrator.database import tables
from migrator.execution.pacing import BEGUN_SECONDS, HELD_SECONDS, Pace, PutOffError, through_delays
from migrator.exports.opening import ExportReader
from tests.execution.bench import NOW, Bench, content_of, entry, run_in
from tests.execution.inline import InlineEngine
from tests.execution.opened import history

LONG = 900.0
"""Stands for the hours of a day: longer than anything that is held through a wait."""


def functions() -> set[str]:
    """In the middle of which the caller is."""
    return {frame.f_code.co_name for frame, _ in traceback.walk_stack(None)}


class Night:
    """A worker's time. From a commit on the run is throttled; a long time later it goes on."""

    def __init__(self, bench: Bench, campaign: Campaign, label: str, *, woken: Callable[[], None]) -> None:
        self._bench = bench
        self._label = label
        self._woken = woken
        self.now = 1000.0
        self.pace = Pace(monotonic=lambda: self.now, sleep=self._sleep)
        self.longest: dict[str, float] = {}
        """For how long it had waited when it last did so in the middle of a function."""
        self._began: float | None = None
        campaign.database.boundary = self._listen

    def _listen(self, label: str, moment: str) -> None:
        if (label, moment) == (self._label, "after") and self._began is None:
            self._began = self.now
            self._throttle(throttled=True)

    def _throttle(self, *, throttled: bool) -> None:
        with self._bench.database() as connection:
            connection.execute(tables.run.update().values(throttled=throttled))

    def _sleep(self, seconds: float) -> None:
        assert self._began is not None
        self.longest |= dict.fromkeys(functions(), self.now - self._began)
        self.now += seconds
        if self.now - self._began >= LONG:
            self._throttle(throttled=False)
            self._woken()


def held_back(bench: Bench, label: str, plan: str, *, woken: Callable[[Campaign], None] = lambda _: None) -> Night:
    """A run that is throttled from the first commit of a kind on, and completes."""
    with bench.open() as campaign:
        night = Night(bench, campaign, label, woken=lambda: woken(campaign))
        summary = run_in(campaign, plan, engine=InlineEngine(campaign, night.pace))
    assert summary.state is RunState.COMPLETED
    assert night.longest["_await_turn"] == pytest.approx(LONG, abs=2)
    return night


def bench_of(folder: Path, messages: int, threads: int = 1) -> Bench:
    """Conversations of Alice's, each a unit; all open."""
    bench = Bench(folder / "campaign", execution={"page_size": 10})
    bench.account("alice")
    for number in range(threads):
        name = bench.thread("alice", f"x{number}")
        bench.messages(name, range(messages))
        bench.keys("alice", [name])
    return bench


def test_a_long_conversation_is_put_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G5: between two pages its keys are held for a minute, not all the time; then it goes on where it was."""
    let_go: list[ExportReader] = []
    monkeypatch.setattr(ExportReader, "let_go", lambda exports: let_go.append(exports))
    bench = bench_of(tmp_path, 2500)
    night = held_back(bench, "page", bench.plan().plan_id)
    assert night.longest["rewrap_long"] < HELD_SECONDS
    assert let_go
    assert history(bench, "in-alice/x0") == {(n, f"m{n:06}"): ("them", content_of(n)) for n in range(2500)}
    assert (len(bench.events("key.created")), bench.events("key.destroyed")) == (1, [])


def test_what_is_merged_is_put_down_too(tmp_path: Path) -> None:
    """It loses what was staged, so it is held for longer; begun anew it has the same end."""
    bench = bench_of(tmp_path, 25)
    bench.history("alice", [entry("in-alice/x0", 100)])
    night = held_back(bench, "stage", bench.plan().plan_id)
    assert night.longest["merge"] < BEGUN_SECONDS
    assert len(history(bench, "in-alice/x0")) == 26
    assert len(bench.events("key.created")) == 1


def test_a_slow_pace_does_not_hold_what_is_opened(tmp_path: Path) -> None:
    """A page that would have to wait for minutes is not opened before."""
    bench = bench_of(tmp_path, 2500)
    inside: set[str] = set()
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += max(seconds, 0.001)  # what is too little to move a float would never end
        inside.update(functions())

    with bench.open() as campaign:
        engine = InlineEngine(campaign, Pace(monotonic=lambda: now, sleep=sleep))
        assert run_in(campaign, bench.plan().plan_id, engine=engine, max_rate="10000/h").state is RunState.COMPLETED
    assert now == pytest.approx(720, abs=5)
    assert inside.isdisjoint({"rewrap_long", "rewrap_unit", "transaction"})
    assert len(bench.events("key.created")) == 1


def test_what_expires_meanwhile_is_not_opened(tmp_path: Path) -> None:
    """G1: a grant that ran out while the run was held back counts as of now, not as of when it was looked at."""
    bench = bench_of(tmp_path, 10, threads=3)
    bench.answer("alice", "grant", decided_at=NOW - timedelta(days=1), valid_until=NOW + timedelta(hours=1))

    def later(campaign: Campaign) -> None:
        campaign.clock = FixedClock(NOW + timedelta(hours=2))

    plan = bench.plan().plan_id
    held_back(bench, "unit", plan, woken=later)
    outcomes = sorted(outcome for outcome, *_ in bench.outcomes(bench.all(tables.run)[0]["run_id"]).values())
    assert outcomes == ["rewrapped", "skipped:authorization_expired", "skipped:authorization_expired"]


def test_who_has_patience_hears_at_once_that_it_is_not_enough() -> None:
    """Nothing is slept away for what can't be had in time anyway."""
    slept: list[float] = []
    pace = Pace(monotonic=lambda: sum(slept), sleep=slept.append)
    pace.rate = 1
    pace.spend(61)
    with pytest.raises(PutOffError):
        pace.wait(lambda: None, patience=60)
    assert slept == []
    pace.wait(lambda: None)
    assert sum(slept) == 61


def test_while_it_waits_no_error_keeps_what_was_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """G5: a traceback has frames, and frames have plaintext."""
    during: list[BaseException | None] = []
    errors: list[Exception] = [
        KeyServiceUnavailableError("busy", delay=KeyDelay.THROTTLED, retry_after=1.0),
        KeyServiceUnavailableError("busy", delay=KeyDelay.SLOW),
    ]

    def action() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    assert through_delays(action, lambda *_: during.append(sys.exception()), commits=lambda: 0) == "done"
    monkeypatch.setattr(time, "sleep", lambda _: during.append(sys.exception()))
    errors[:] = [OSError("away"), OSError("away")]
    assert patience.persist(action, OSError) == "done"
    errors[:] = [OSError("away")]
    assert patience.patiently(action, OSError) == "done"
    assert during == [None] * 5
