"""A run under any order of control: requests from other shells at any commit, kills, resumes, force, rollback.

Sessions run in this process. One is killed by letting none of its commits through any more and naming a dead process in
the lease. After each rule:

1. What readers see is whole, and has its outcome, its key and its event once.
2. A run that rests aborted has nothing half done; one that rests has nobody who holds its lease.
3. A run that is at work by its state is stuck, as nobody works on it between two rules.
4. There is a start, a resume for each generation that began, and at most one completion; an abort is never taken back
   by a pause before the run is resumed.

At the end it is resumed to its completion and verified.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from migrator import lease
from migrator.campaign import Campaign
from migrator.core.errors import ExitStatus, GateError, LeaseHeldError, UsageError
from migrator.core.lifecycle import AT_WORK, RunState, StopReason
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.execution import control, status
from migrator.execution.coordinator import RunOptions, resume
from migrator.rollback import rollback
from migrator.verification import verify
from tests.execution.bench import Bench, run_in
from tests.execution.inline import InlineEngine, NoStop

LONG = "in-alice/long"
REQUESTS: dict[str, Callable[[Campaign], object]] = {
    "pause": lambda shell: control.pause(shell, None),
    "abort": lambda shell: control.abort(shell, None, confirm="bench"),
    "limit": lambda shell: control.throttle(shell, None, {"max_rate": "1000000/s", "window": "off"}),
    "force": lambda shell: control.unlock(shell, None, force=True, confirm="bench"),
}
_DURING = st.dictionaries(st.integers(1, 25), st.sampled_from(sorted(REQUESTS)), max_size=3)
"""After which commit of a session another shell asks for what."""
_KILLED = st.one_of(st.none(), st.integers(1, 50))
"""At which boundary of a commit a session is killed, if at all."""


class KilledError(BaseException):
    """The session's process is no more."""


class Boundary:
    """What happens around the commits of one session."""

    def __init__(self, shell: Campaign, during: dict[int, str], killed: int | None) -> None:
        self._shell = shell
        self._during = during
        self._left = killed
        self._commits = 0
        self.dead = False

    def __call__(self, label: str, moment: str) -> None:
        """Before and after each commit; nobody asks while this process has the log's file locked."""
        if self._left is not None:
            self._left -= 1
            self.dead = self.dead or self._left == 0
        if self.dead:
            raise KilledError
        if moment == "after" and not label.startswith("audit-"):
            self._commits += 1
            if self._commits in self._during:
                ask(self._shell, self._during[self._commits])


def ask(shell: Campaign, request: str) -> None:
    """Another shell asks for something; it may be told that the run has ended, is somebody's, or has not begun."""
    with suppress(GateError, LeaseHeldError, UsageError):
        REQUESTS[request](shell)


class Controlled(RuleBasedStateMachine):
    """One run from its beginning to its end."""

    temporary: TemporaryDirectory[str] | None = None
    prepared: tuple[Bench, str] | None = None

    @initialize()
    def begin(self) -> None:
        """A campaign with a plan, made once and put back: a plan belongs to its place."""
        cls = type(self)
        if cls.temporary is None or cls.prepared is None:
            cls.temporary = TemporaryDirectory(prefix="migrator-test-")
            bench = Bench(Path(cls.temporary.name) / "live", execution={"page_size": 1000, "max_failures": "100%"})
            for owner in ("alice", "bob"):
                bench.account(owner)
                bench.messages(bench.thread(owner, "x"), range(3))
                bench.keys(owner, [f"in-{owner}/x"])
            bench.messages(bench.thread("alice", "long"), range(2001))
            bench.keys("alice", [LONG])
            cls.prepared = bench, bench.plan().plan_id
            shutil.copytree(bench.folder, bench.folder.with_name("kept"))
        self.bench, self.plan = cls.prepared
        shutil.rmtree(self.bench.folder)
        shutil.copytree(self.bench.folder.with_name("kept"), self.bench.folder)
        self.rolled_back = False

    def row(self) -> dict[str, Any] | None:
        """The run, if it has begun."""
        found = self.bench.all(tables.run)
        return found[0] if found else None

    def state(self) -> RunState | None:
        """Its state."""
        row = self.row()
        return RunState(row["state"]) if row else None

    def session(self, work: Callable[[Campaign], object], during: dict[int, str], killed: int | None) -> None:
        """Something that takes the lease, among other shells; killed or not."""
        with self.bench.open() as shell, self.bench.open() as campaign:
            boundary = Boundary(shell, during, killed)
            campaign.database.boundary = boundary
            try:
                work(campaign)
            except KilledError:
                assert boundary.dead
                self.die()
            except (GateError, LeaseHeldError):
                pass  # it was overtaken, or there is nothing to do any more

    def die(self) -> None:
        """Nobody lives who holds the lease."""
        table, dead = tables.lease, lease._this_process().rpartition("/")[0] + "/1"
        with self.bench.database() as connection:
            connection.execute(sa.update(table).where(table.c.holder.is_not(None)).values(holder=dead))

    # --- what may happen ---

    @precondition(lambda self: self.state() is None)
    @rule(during=_DURING, killed=_KILLED)
    def execute(self, during: dict[int, str], killed: int | None) -> None:
        """The run begins."""
        self.session(lambda campaign: run_in(campaign, self.plan), during, killed)

    @precondition(lambda self: self.state() in (*AT_WORK, RunState.STOPPED))
    @rule(during=_DURING, killed=_KILLED)
    def resume(self, during: dict[int, str], killed: int | None) -> None:
        """It goes on."""
        self.session(self.go_on, during, killed)

    def go_on(self, campaign: Campaign) -> None:
        """Resume on an open campaign."""
        summary = resume(campaign, None, RunOptions(engine=InlineEngine(campaign)), NoProgress(), NoStop())
        if summary.state is RunState.STOPPED:
            assert summary.stop_reason in (StopReason.PAUSED, StopReason.ABORTED)
            assert summary.exit_status is ExitStatus.STOPPED_BY_OPERATOR

    @precondition(lambda self: self.state() is not None)
    @rule(request=st.sampled_from(sorted(REQUESTS)), killed=_KILLED)
    def control(self, request: str, killed: int | None) -> None:
        """Somebody asks while nobody is at work; they may be killed at it."""
        self.session(REQUESTS[request], {}, killed)

    @precondition(lambda self: self.state() in (RunState.STOPPED, RunState.PAUSING, RunState.ABORTING))
    @rule()
    def take_back(self) -> None:
        """The run is rolled back: nothing of it is left, and nothing may be asked of it any more."""
        with self.bench.open() as campaign:
            rollback(campaign, None, NoProgress())
        self.rolled_back = True

    # --- what must hold ---

    @invariant()
    def holds(self) -> None:
        """The rules of the module's docstring."""
        row = self.row()
        if row is None:
            return
        self.what_is_shown_is_whole()
        self.rests_as_it_says(row)
        self.events_tell_of_it(row)

    def what_is_shown_is_whole(self) -> None:
        """Rows, outcomes, keys and events."""
        bench = self.bench
        shown = {
            row["conversation_no"]: row["message_count"]
            for row in bench.all(tables.conversation)
            if row["mode"] == "server"
        }
        rows = [row["conversation_no"] for row in bench.all(tables.message)]
        assert {number: rows.count(number) for number in shown} == shown
        keys = [row["conversation_no"] for row in bench.all(tables.data_key) if row["wrapped_keyset"] is not None]
        assert sorted(set(keys)) == sorted(keys)
        if not self.rolled_back:
            assert sorted(row["conversation_no"] for row in bench.all(tables.item)) == sorted(shown)
            assert len(bench.events("conversation.rewrapped")) == len(shown)
            assert set(shown) <= set(keys)
            return
        assert shown == {}
        assert rows == keys == []

    def rests_as_it_says(self, row: dict[str, Any]) -> None:
        """An aborted run has nothing half done; a run at work that nobody works on is stuck."""
        with self.bench.open() as campaign:
            found = status.summary(campaign, None)
            assert status.why_it_waits(campaign, found)
        assert (found.stuck_since is not None) is (found.state in AT_WORK)
        if row["state"] == "stopped" and row["stop_reason"] == "aborted":
            assert self.bench.all(tables.progress) == self.bench.all(tables.addition) == []
            shown = {c["conversation_no"] for c in self.bench.all(tables.conversation) if c["mode"] == "server"}
            assert {message["conversation_no"] for message in self.bench.all(tables.message)} <= shown
        if row["state"] == "stopped":
            assert row["stop_reason"] in ("paused", "aborted")
            assert (row["throttled"], row["waiting"]) == (False, None)

    def events_tell_of_it(self, row: dict[str, Any]) -> None:
        """Each step once, in an order that leads from one to the next."""
        kinds = [
            (event["type"], event["data"])
            for event in sorted(self.bench.all(tables.outbox), key=lambda event: event["outbox_no"])
            if event["run_id"] == row["run_id"] and event["type"].startswith("run.")
        ]
        names = [kind for kind, _ in kinds]
        assert names[0] == "run.started"
        assert names.count("run.started") == 1
        assert names.count("run.completed") == int(row["state"] == "completed") or self.rolled_back
        aborting = False
        for kind, data in kinds:
            if kind in ("run.started", "run.resumed"):
                aborting = False
            if kind == "run.stop_requested":
                assert not (aborting and '"request":"pause"' in data)
                aborting = aborting or '"request":"abort"' in data
        if row["state"] == "stopped":
            last = [kind for kind in names if kind not in ("run.limits_changed", "run.stop_requested")][-1]
            assert last == ("run.aborted" if row["stop_reason"] == "aborted" else "run.paused")

    def teardown(self) -> None:
        """Nobody disturbs it any more: the run comes to its end, and everything agrees."""
        if not hasattr(self, "bench") or self.rolled_back:
            return
        if self.state() is None:
            self.execute({}, None)
        if self.state() is not RunState.COMPLETED:
            self.resume({}, None)
        assert self.state() is RunState.COMPLETED
        self.holds()
        assert len(self.bench.all(tables.message)) == 3 + 3 + 2001
        with self.bench.open() as campaign:
            result = verify(campaign, None, sample=None, progress=NoProgress())
        assert result.ok, result.mismatches


TestControlled = Controlled.TestCase
TestControlled.settings = settings(
    max_examples=4,
    stateful_step_count=8,
    phases=(Phase.generate,),  # to shrink a failure would take minutes; its steps are short enough to be read
    suppress_health_check=[HealthCheck.too_slow],
)
