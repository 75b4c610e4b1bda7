"""Whole runs over a mixed world: outcomes, dry runs, stops, withdrawals, late keys, new tails."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from fixtures.expected import expect
from migrator import lease
from migrator.campaign import open_campaign
from migrator.core.clock import FixedClock
from migrator.core.errors import ExitStatus, GateError, LeaseHeldError, PlanError
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.outcomes import OUTCOMES
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.planning.making import make_plan
from migrator.stores.labyrinth_tables import message, thread
from tests.execution.inline import StopAfter
from tests.execution.ready import Ready
from tests.execution.state import log_matches_outbox
from tests.support.campaigns import CUTOVER, LATE, at, import_exports


def outcomes(ready: Ready, run_id: str) -> dict[str, tuple[str, int, int]]:
    """Outcome, messages and gaps of each conversation in a run."""
    item, conversation = tables.item, tables.conversation
    query = (
        sa.select(conversation.c.conversation_id, item.c.outcome, item.c.messages, item.c.gaps)
        .join(conversation, conversation.c.conversation_no == item.c.conversation_no)
        .where(item.c.run_id == run_id)
    )
    with open_campaign(ready.spec) as campaign, campaign.database.read() as connection:
        return {name: (outcome, messages, gaps) for name, outcome, messages, gaps in connection.execute(query)}


def plan(ready: Ready) -> str:
    """A new plan at the campaign's present."""
    with open_campaign(ready.spec) as campaign:
        return make_plan(campaign, save=None, progress=NoProgress()).plan_id


def later(ready: Ready) -> Ready:
    """The same campaign two days after its run."""
    return replace(ready, spec=at(ready.spec, LATE))


def test_every_conversation_ends_as_its_world_expects(ready: Ready) -> None:
    """G6: outcomes and counts are those that follow from the shares, derived independently of the policy."""
    summary = ready.run()
    expected = {name: tuple(found) for name, found in expect(ready.world, "owner").items()}
    assert outcomes(ready, summary.run_id) == expected
    assert {outcome for outcome, _, _ in expected.values()} <= OUTCOMES
    assert sum(count.conversations for count in summary.counts.values()) == len(expected)
    assert summary.pending == 0
    assert summary.state is RunState.COMPLETED


def test_what_opened_is_what_the_clients_wrote_and_nothing_else(ready: Ready) -> None:
    """G1: every visible message is a content of its world, byte for byte, and only of conversations that may open."""
    ready.run()
    allowed = {name for name, found in expect(ready.world, "owner").items() if found.outcome.startswith("rewrapped")}
    messages = ready.state()["messages"]
    assert {name for name, *_ in messages} == allowed
    for name, _, message_id, _, _, content in messages:
        assert content == ready.world.content(name, ready.world.index_of(name, message_id))


def test_a_dry_run_counts_the_same_and_leaves_every_file_as_it_was(ready: Ready) -> None:
    """The rehearsal comes to the counts of the real run, and changes no byte of the database, log or source."""

    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(ready.spec.directory.rglob("*")) if path.is_file()}

    def rows() -> dict[str, list[Any]]:
        with open_campaign(ready.spec) as campaign, campaign.database.read() as connection:
            return {t.name: sorted(map(repr, connection.execute(sa.select(t)))) for t in tables.metadata.sorted_tables}

    before, stored = files(), rows()
    with open_campaign(ready.spec, read_only=True) as campaign:
        rehearsed = ready.run_in(campaign, dry_run=True)
    after = {name: data for name, data in files().items() if data or not name.endswith(("-wal", "-shm"))}
    assert {name: data for name, data in after.items() if not name.endswith("-shm")} == before
    assert rows() == stored
    assert rehearsed.dry_run
    real = ready.run()
    assert {o: c.to_json() for o, c in rehearsed.counts.items()} == {o: c.to_json() for o, c in real.counts.items()}


def test_an_interrupted_run_resumes_to_the_same_end(ready: Ready) -> None:
    """First Ctrl-C: the run stops at a checkpoint with status 130; resumed it ends as one that nobody stopped."""
    ready.run()
    undisturbed = ready.state()
    ready.restore()
    stopped = ready.run(stop=StopAfter(1))
    assert (stopped.state, stopped.stop_reason) == (RunState.STOPPED, StopReason.INTERRUPTED)
    assert stopped.exit_status is ExitStatus.INTERRUPTED
    assert stopped.pending > 0
    resumed = ready.resume()
    assert resumed.state is RunState.COMPLETED
    assert ready.state() == undisturbed
    assert ready.resume().state is RunState.COMPLETED, "resuming a complete run says so"


def test_a_plan_is_executed_once_and_only_the_newest(ready: Ready) -> None:
    """Consumed and superseded plans are refused with status 10, and nothing changes."""
    newer = plan(ready)
    with pytest.raises(PlanError, match="superseded"):
        ready.run()
    ready.run(newer)
    with pytest.raises(PlanError, match="executed by run"):
        ready.run(newer)
    assert PlanError.exit_status is ExitStatus.PLAN_STALE


def test_nothing_opens_before_the_cutover(ready: Ready) -> None:
    """G2: before the date the run is refused as a whole; there is no flag that says otherwise."""
    early = replace(ready, spec=at(ready.spec, CUTOVER - timedelta(seconds=1)))
    with pytest.raises(GateError, match="cutover"):
        early.run(confirm="test-campaign")
    assert ready.state()["messages"] == []
    assert ready.state()["items"] == []


def test_two_coordinators_do_not_work_at_once(ready: Ready) -> None:
    """The lease: the second is refused with status 11 and changes nothing."""
    with (
        open_campaign(ready.spec) as campaign,
        lease.hold(campaign, purpose="execute"),
        pytest.raises(LeaseHeldError),
    ):
        ready.run()
    assert ready.state()["items"] == []


def withdraw_everything(ready: Ready) -> None:
    """Every account withdraws, as far as the database is concerned."""
    table = tables.authorization
    with open_campaign(ready.spec) as campaign, campaign.database.write("test") as connection:
        connection.execute(table.update().values(answer="withdraw"))
        connection.execute(tables.campaign.update().values(authorization_version=1000))


def test_a_withdrawal_after_the_plan_counts_at_once(ready: Ready) -> None:
    """G1: what was withdrawn between plan and execution is `skipped:withdrawn`, and no message of it opens."""
    withdraw_everything(ready)
    summary = ready.run()
    assert ready.state()["messages"] == []
    assert not any(outcome.startswith("rewrapped") for outcome in summary.counts)
    assert summary.counts["skipped:withdrawn"].conversations > 10


def test_a_withdrawal_in_the_middle_of_a_run_counts_at_the_next_commit(ready: Ready) -> None:
    """G1: work that was decided before a withdrawal but not committed is decided again."""
    with open_campaign(ready.spec) as campaign:
        commits = 0

        def withdraw_at_third_unit(label: str, moment: str) -> None:
            nonlocal commits
            if (label, moment) == ("unit", "after"):
                commits += 1
                if commits == 2:
                    withdraw_everything(ready)

        campaign.database.boundary = withdraw_at_third_unit
        summary = ready.run_in(campaign)
    assert commits == 2
    assert summary.counts["skipped:withdrawn"].conversations > 0
    visible = {name for name, mode, *_ in ready.state()["conversations"] if mode == "server"}
    assert len(visible) == sum(c.conversations for o, c in summary.counts.items() if o.startswith("rewrapped"))


def test_late_keys_close_gaps_and_open_what_had_no_export(ready: Ready) -> None:
    """Exports that come after a run are for the next plan, which takes up just what they bring."""
    first = ready.run()
    import_exports(at(ready.spec, LATE), late=True)
    again = later(ready)
    second = again.run(plan(again))
    expected = expect(ready.world, "owner", late=True)
    found = outcomes(again, second.run_id)
    before = outcomes(again, first.run_id)
    for name, (outcome, messages, gaps) in found.items():
        assert (messages, gaps) == (expected[name].messages, expected[name].gaps), name
        if outcome == "already_server":
            assert before[name][1:] == (messages, gaps)
        else:
            assert outcome == expected[name].outcome, name
    assert any(outcome.startswith("rewrapped") for outcome, _, _ in found.values())
    third = again.run(plan(again))
    assert {o for o in third.counts if o.startswith("rewrapped")} == set(), "nothing new: already_server"


def test_a_new_tail_is_added_to_a_visible_conversation(ready: Ready) -> None:
    """Messages that arrive after the flip are found by the next plan and added under the same data key."""
    ready.run()
    name = max(
        (n for n, found in expect(ready.world, "owner").items() if found.outcome == "rewrapped"),
        key=lambda n: len(list(ready.world.messages(n))),
    )
    copy_tail(ready, name)
    again = later(ready)
    second = again.run(plan(again))
    assert outcomes(again, second.run_id)[name][0] == "rewrapped_with_gaps", (
        "a copied ciphertext opens; a cut one can't"
    )
    keys = again.state()["keys"]
    assert keys.count(name) == 1


def copy_tail(ready: Ready, conversation_id: str) -> None:
    """Two messages more, later than all: one that opens, one whose ciphertext is cut."""
    inbox, _, thread = conversation_id.partition("/")
    with ready.source() as connection:
        query = sa.select(message).where(message.c.inbox_id == inbox, message.c.thread_id == thread)
        last = connection.execute(query.order_by(message.c.sent_at.desc()).limit(1)).one()._asdict()
        data, sent_at = last["encrypted_message_data"], last["sent_at"]
        for n in (0, 1):
            tail = {"message_id": f"tail{n}", "sent_at": sent_at + 1000 + n}
            cut = {"encrypted_message_data": data[: len(data) - n]}
            connection.execute(message.insert(), last | tail | cut)


def test_the_log_holds_every_event_once(ready: Ready) -> None:
    """The sequencer moves each event of the run into the log, in order."""
    ready.run()
    with open_campaign(ready.spec) as campaign:
        assert log_matches_outbox(campaign, ready.spec.directory / "audit" / "wal.jsonl")


def test_an_error_budget_stops_the_run_resumable(ready: Ready) -> None:
    """More failed conversations than `--max-failures`: status 21, and the rest waits."""
    with ready.source() as connection:
        # The source changes underneath: threads have become something that nobody knows.
        connection.execute(thread.update().values(kind="broadcast"))
    stopped = ready.run(max_failures="3")
    assert stopped.exit_status is ExitStatus.ERROR_BUDGET
    assert stopped.counts["failed:source"].conversations > 3
    assert ready.state()["messages"] == []


def test_a_clock_that_goes_on_is_no_new_decision_for_what_is_done(ready: Ready) -> None:
    """A run resumed days later finishes what is pending and leaves what has its outcome."""
    ready.run(stop=StopAfter(1))
    done = ready.state()["items"]
    spec = replace(ready.spec, clock=FixedClock(LATE))
    replace(ready, spec=spec).resume()
    assert set(done) <= set(ready.state()["items"])


def test_a_planned_skip_has_the_reason_of_the_day(ready: Ready) -> None:
    """What the plan skips is not opened whatever changes, but is recorded with the reason as of the execution."""
    expected = {name for name, found in expect(ready.world, "owner").items() if found.outcome == "skipped:no_export"}
    withdraw_everything(ready)
    found = outcomes(ready, ready.run().run_id)
    assert expected
    assert {found[name][0] for name in expected} == {"skipped:withdrawn"}
