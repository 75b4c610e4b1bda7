"""G3 over everything that may happen between two runs: whatever the order, whatever was killed, nothing is half done.

Rules, each of which may be killed at one of its commits: plan, execute, resume, rollback. Others: a withdrawal, keys
that come late, a new tail in the source, a day that passes. After each of them:

1. A reader sees whole conversations only, and their contents are what the clients wrote.
2. Nothing shows that was not granted: whoever withdrew sees nothing appear any more, and nothing grow.
3. Nothing disappears but by a rollback.
4. Every complete run has an outcome for each conversation of its plan; every visible conversation has one living key.
5. The audit log holds the outbox's events in order, once each.

At the end the campaign is brought to rest: what is visible is what the world has coming, and verification agrees.
"""

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fixtures.expected import expect
from fixtures.people import Exporting
from fixtures.world import FaultShares, Shape, UserShares, World
from migrator.campaign import Campaign, CampaignSpec, open_campaign
from migrator.core.progress import NoProgress
from migrator.execution.coordinator import RunOptions, execute, resume
from migrator.planning.making import make_plan
from migrator.rollback import rollback
from migrator.verification import verify
from tests.execution.inline import InlineEngine, NoStop
from tests.execution.state import log_matches_outbox
from tests.guarantees import reader
from tests.guarantees.reader import Shown
from tests.guarantees.support import DAY
from tests.guarantees.test_g01_authorised_only import withdraw
from tests.support.campaigns import RUN, at, import_exports, small_campaign
from tests.verification.support import rows

_SHAPE = Shape(
    accounts=10,
    conversations=14,
    messages=160,
    huge=2300,
    seed=13,
    users=UserShares.none(refuse=0.1, partial_export=0.2, history_export=0.2, late_export=0.2),
    faults=FaultShares.none(orphan=0.07, empty=0.07),
)
_MOMENTS = st.one_of(st.none(), st.integers(0, 40))
"""At which boundary of a commit the process is killed, if at all."""


class Campaigns(RuleBasedStateMachine):
    """One campaign, and what a careful person would write down about it."""

    temporary: TemporaryDirectory[str] | None = None
    prepared: CampaignSpec | None = None

    def __init__(self) -> None:
        super().__init__()
        self.world = World(_SHAPE)
        self.now: datetime = RUN
        self.planned: str | None = None
        self.late = False
        self.tails = 0
        self.frozen: dict[str, int] = {}
        """Conversations of which no more may show than these many messages."""
        self.before: dict[str, Shown] = {}
        self.taken_back = False

    @initialize()
    def begin(self) -> None:
        """A campaign that is ready to be planned, made once and copied."""
        cls = type(self)
        if cls.temporary is None:
            cls.temporary = TemporaryDirectory(prefix="migrator-test-")
        kept, live = (Path(cls.temporary.name) / name for name in ("kept", "live"))
        if cls.prepared is None:
            cls.prepared = small_campaign(
                kept, _SHAPE, authorization={"quorum": "owner"}, execution={"page_size": 100, "max_failures": "100%"}
            )
        shutil.rmtree(live, ignore_errors=True)
        shutil.copytree(kept, live)
        self.at_rest = replace(cls.prepared, directory=live)

    @property
    def spec(self) -> CampaignSpec:
        """The campaign at the present."""
        return at(self.at_rest, self.now)

    # --- what operators do ---

    @rule(moment=_MOMENTS)
    def plan(self, moment: int | None) -> None:
        """Decide for everything; what an interrupted plan left is not a plan."""
        self.in_child(moment, lambda campaign: make_plan(campaign, save=None, progress=NoProgress()))
        self.planned = self.executable()

    @precondition(lambda self: self.planned is not None)
    @rule(moment=_MOMENTS)
    def execute(self, moment: int | None) -> None:
        """Run the plan that waits."""
        plan_id = self.planned or ""

        def run(campaign: Campaign) -> None:
            execute(campaign, plan_id, RunOptions(engine=InlineEngine(campaign)), NoProgress(), NoStop())

        self.in_child(moment, run)
        self.planned = self.executable()

    @precondition(lambda self: self.latest()[1] == "running")
    @rule(moment=_MOMENTS)
    def resume(self, moment: int | None) -> None:
        """Go on with a run that was killed."""

        def go_on(campaign: Campaign) -> None:
            resume(campaign, None, RunOptions(engine=InlineEngine(campaign)), NoProgress(), NoStop())

        self.in_child(moment, go_on)

    @precondition(lambda self: self.latest()[1] in ("running", "completed", "rolling_back"))
    @rule(moment=_MOMENTS)
    def rollback(self, moment: int | None) -> None:
        """Take the latest run back."""
        self.taken_back = True
        self.in_child(moment, lambda campaign: rollback(campaign, None, NoProgress()))
        self.planned = self.executable()

    # --- what users and time do ---

    @rule(number=st.integers(0, _SHAPE.accounts - 1))
    def withdraw(self, number: int) -> None:
        """A user takes everything back; of that thread the other's copies may still be opened under this quorum."""
        person = self.world.people[number]
        self.now += DAY / 24
        withdraw(self.spec, self.world, person, self.now)
        shown = reader.read(self.spec.directory)
        for place in self.world.copies_of[number]:
            name = self.world.copies[place].conversation_id
            if name not in self.frozen:
                self.frozen[name] = len(shown[name].messages) if name in shown else 0

    @precondition(lambda self: not self.late)
    @rule()
    def keys_come_late(self) -> None:
        """The exports that were not there in time."""
        import_exports(self.spec, late=True)
        self.late = True

    @rule(number=st.integers(0, 30))
    def new_tail(self, number: int) -> None:
        """The last message of a conversation is written once more, later."""
        fit = [c for c in self.world.copies if c.messages and self.world.people[c.owner].exporting is Exporting.FULL]
        copy = fit[number % len(fit)]
        self.tails += 1
        store = sqlite3.connect(self.spec.directory / "store.db", isolation_level=None)
        rest = "sender_id, epoch_id, version, encrypted_message_data"
        store.execute(
            f"INSERT INTO message (inbox_id, thread_id, message_id, sent_at, {rest}) "
            f"SELECT inbox_id, thread_id, message_id || ?, sent_at + ?, {rest} FROM message "
            "WHERE inbox_id || '/' || thread_id = ? AND message_id NOT LIKE '%.%' ORDER BY sent_at DESC LIMIT 1",
            (f".{self.tails}", 1000 + self.tails, copy.conversation_id),
        )
        store.close()

    @rule()
    def a_day_passes(self) -> None:
        """Nothing happens."""
        self.now += DAY

    # --- what must hold after each of them ---

    @invariant()
    def holds(self) -> None:
        """The rules of the module's docstring."""
        shown = reader.read(self.spec.directory)
        for name, conversation in shown.items():
            assert conversation.whole, name
            for (_, message_id, _, _), content in conversation.messages.items():
                written = message_id.partition(".")[0]
                assert content == self.world.content(name, self.world.index_of(name, written))
            assert len(conversation.messages) <= self.frozen.get(name, len(conversation.messages)), name
        if not self.taken_back:
            assert set(self.before) <= set(shown)
            assert all(set(before.messages) <= set(shown[name].messages) for name, before in self.before.items())
        self.before, self.taken_back = shown, False
        self.counts_hold(set(shown))

    def counts_hold(self, shown: set[str]) -> None:
        """Outcomes, keys and log."""
        incomplete = rows(
            self.spec,
            "SELECT run_id FROM migrator_run r JOIN migrator_plan p USING (plan_id) WHERE r.state = 'completed' "
            "AND p.conversations <> (SELECT COUNT(*) FROM migrator_item i WHERE i.run_id = r.run_id)",
        )
        assert incomplete == []
        keys = rows(
            self.spec,
            "SELECT conversation_id, COUNT(*) FROM migrator_data_key "
            "JOIN migrator_conversation USING (conversation_no) "
            "WHERE wrapped_keyset IS NOT NULL AND mode = 'server' GROUP BY 1",
        )
        assert dict(keys) == dict.fromkeys(shown, 1)
        with open_campaign(self.spec) as campaign:
            campaign.audit.flush()
            assert log_matches_outbox(campaign, self.spec.directory / "audit" / "wal.jsonl")

    def teardown(self) -> None:
        """Bring the campaign to rest, and compare it with what the world has coming."""
        self.now += DAY
        if self.latest()[1] == "running":
            self.resume(None)
        if self.latest()[1] == "rolling_back":
            self.rollback(None)
        self.holds()
        self.plan(None)
        self.execute(None)
        self.holds()
        coming = {
            name
            for name, found in expect(self.world, "owner", late=self.late).items()
            if found.outcome.startswith("rewrapped")
        }
        open_ones = coming - {name for name, messages in self.frozen.items() if not messages}
        shown = set(self.before)
        assert shown <= coming
        assert {name for name in open_ones if name not in self.frozen} <= shown
        with open_campaign(self.spec) as campaign:
            result = verify(campaign, None, sample=None, progress=NoProgress())
        assert result.ok, result.mismatches

    # --- how ---

    def latest(self) -> tuple[str | None, str | None]:
        """Id and state of the latest run."""
        found = rows(self.spec, "SELECT run_id, state FROM migrator_run ORDER BY run_no DESC LIMIT 1")
        return found[0] if found else (None, None)

    def executable(self) -> str | None:
        """The newest plan, if it is whole and was not consumed."""
        found = rows(
            self.spec,
            "SELECT plan_id, consumed_by FROM migrator_plan WHERE state = 'ready' ORDER BY plan_no DESC LIMIT 1",
        )
        return found[0][0] if found and found[0][1] is None else None

    def in_child(self, moment: int | None, work: Callable[[Campaign], object]) -> None:
        """Do it in a process that is killed at its n-th boundary, if it has as many."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with open_campaign(self.spec) as campaign:
                    campaign.database.boundary = killer(moment)
                    work(campaign)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
        else:
            assert os.WEXITSTATUS(status) == 0, "the child failed by itself"


def killer(moment: int | None) -> Callable[[str, str], None]:
    """Kills this process at the n-th boundary, counted from 0."""
    left = -1 if moment is None else moment

    def boundary(_label: str, _moment: str) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    return boundary


TestCampaigns = Campaigns.TestCase
TestCampaigns.settings = settings(
    max_examples=5,
    stateful_step_count=12,
    phases=(Phase.generate,),  # to shrink a failure would take minutes; its steps are short enough to be read
)
