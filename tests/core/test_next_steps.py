"""What comes next: by hand for each state of a campaign, and in order."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.next_steps import Situation, Stage, Verified, Waiting, next_steps

CUTOVER = datetime(2026, 5, 8, tzinfo=UTC)
DAY = timedelta(days=1)
NEW = Situation(cutover_at=CUTOVER, rollback_window=30 * DAY, sealed_grace=180 * DAY)
DONE = replace(NEW, run_id="run-1", stage=Stage.COMPLETED, finished_at=CUTOVER + DAY)
PLAN = Waiting(plan_id="plan-2")


def kinds(situation: Situation, now: datetime = CUTOVER + 2 * DAY) -> list[str]:
    """The kinds of the next steps."""
    return [step.kind for step in next_steps(situation, now)]


def texts(situation: Situation, now: datetime = CUTOVER + 2 * DAY) -> str:
    """Their texts."""
    return "\n".join(step.text for step in next_steps(situation, now))


def test_before_the_cutover() -> None:
    """The date stands first, then what can be done already."""
    early = CUTOVER - DAY
    assert kinds(NEW, early) == ["cutover", "plan"]
    assert kinds(replace(NEW, plan=PLAN), early) == ["cutover", "execute"]
    assert next_steps(NEW, early)[0].at == CUTOVER
    assert kinds(NEW, CUTOVER) == ["plan"]


def test_what_a_plan_lacks() -> None:
    """Approvals and the rehearsal, in words; only then it can be executed."""
    lacking = replace(NEW, plan=Waiting(plan_id="plan-2", approvals_missing=2, rehearsal_missing=True))
    assert kinds(lacking) == ["approvals"]
    assert "the approvals of 2 operators and a rehearsal" in texts(lacking)
    one = replace(NEW, plan=Waiting(plan_id="plan-2", approvals_missing=1))
    assert "lacks another operator's approval:" in texts(one)
    assert texts(replace(NEW, plan=PLAN)) == "`migrator execute plan-2`"


@pytest.mark.parametrize(
    ("stage", "expected"),
    [(Stage.AT_WORK, ["wait"]), (Stage.KILLED, ["resume"]), (Stage.STOPPED, ["resume"]),
     (Stage.ROLLING_BACK, ["rollback"]), (Stage.ROLLED_BACK, ["plan"])],
)  # fmt: skip
def test_each_state_of_a_run(stage: Stage, expected: list[str]) -> None:
    """A run that is not complete."""
    assert kinds(replace(DONE, stage=stage, finished_at=None)) == expected


def test_no_plan_is_executed_beside_an_unfinished_run() -> None:
    """It is resumed first."""
    assert kinds(replace(DONE, stage=Stage.STOPPED, plan=PLAN)) == ["resume"]
    assert kinds(replace(DONE, plan=PLAN, verified=Verified.WHOLLY))[-1] == "execute"


def test_from_completed_to_final() -> None:
    """Verify, wait for the end of the window, make final: never before it was verified wholly."""
    inside, after = CUTOVER + 2 * DAY, CUTOVER + 31 * DAY
    assert kinds(DONE, inside) == ["verify", "rollback_window", "finalize"]
    for verified, words in (
        (Verified.NO, "`migrator verify run-1` proves it"),
        (Verified.PARTLY, "--all"),
        (Verified.MISMATCH, "found a mismatch"),
    ):
        situation = replace(DONE, verified=verified)
        assert kinds(situation, after) == ["verify"]
        assert words in texts(situation, after)
    proven = replace(DONE, verified=Verified.WHOLLY)
    assert [step.at for step in next_steps(proven, inside)] == [CUTOVER + 31 * DAY] * 2
    assert kinds(proven, after) == ["finalize"]
    assert "until 2026-06-08 00:00 UTC" in texts(proven, inside)


def test_an_older_run_is_not_made_final_by_itself() -> None:
    """Only its own steps are told."""
    older = replace(DONE, latest=False, verified=Verified.WHOLLY, plan=PLAN)
    assert kinds(older) == ["rollback_window"]
    assert kinds(older, CUTOVER + 40 * DAY) == []


def test_after_the_end_the_sealed() -> None:
    """What stayed sealed has its own period; an unfinished finalisation goes on first."""
    final = replace(DONE, final=True)
    assert kinds(final) == ["sealed_grace"]
    assert kinds(replace(final, unfinished_finalization=True)) == ["finalize", "sealed_grace"]
    assert kinds(final, CUTOVER + 200 * DAY) == ["shred"]
    assert kinds(replace(final, shredded=True), CUTOVER + 200 * DAY) == []


def test_a_promised_minute_has_come() -> None:
    """Times are shown rounded up: whoever comes then is not too early."""
    odd = replace(DONE, finished_at=CUTOVER + DAY + timedelta(seconds=1))
    assert "until 2026-06-08 00:01 UTC" in texts(odd)


@given(
    st.builds(
        Situation,
        cutover_at=st.just(CUTOVER),
        rollback_window=st.timedeltas(timedelta(0), 3650 * DAY),
        sealed_grace=st.timedeltas(timedelta(0), 3650 * DAY),
        plan=st.none() | st.builds(Waiting, plan_id=st.just("plan-2"), approvals_missing=st.integers(0, 2)),
        run_id=st.just("run-1"),
        stage=st.sampled_from(Stage),
        finished_at=st.none() | st.just(CUTOVER + DAY),
        verified=st.sampled_from(Verified),
        final=st.booleans(),
    ),
    st.timedeltas(-200 * DAY, 5000 * DAY).map(lambda since: CUTOVER + since),
)
def test_nothing_final_is_offered_too_early(situation: Situation, now: datetime) -> None:
    """`finalize` without a date stands only after the window and a whole verification; every step is one line."""
    for step in next_steps(situation, now):
        assert step.text
        assert "\n" not in step.text
        assert step.at is None or step.at > now
        if step.kind == "finalize" and step.at is None and not situation.final:
            assert situation.finished_at is not None
            assert now >= situation.finished_at + situation.rollback_window
            assert situation.verified is Verified.WHOLLY
