"""What comes next in a campaign: one pure function from what is known to short sentences, the first of them first.

1. Nothing is executed before the cutover; a plan has to be made, and in production to be approved by so many.
2. A run that stopped or was killed is resumed (or rolled back); one that is at work is waited for.
3. A completed run is verified, wholly, and with nothing found wrong.
4. Until the rollback window is over it may be undone; from then on it may be made final, if it was verified.
5. What stayed sealed may be shredded once its grace period is over.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from migrator.core.clock import format_time


class Stage(StrEnum):
    """How far a run is, as far as the next step depends on it (closed)."""

    AT_WORK = "at_work"
    KILLED = "killed"
    STOPPED = "stopped"
    COMPLETED = "completed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"


class Verified(StrEnum):
    """What the newest finished verification of a run said (closed)."""

    NO = "no"
    PARTLY = "partly"
    MISMATCH = "mismatch"
    WHOLLY = "wholly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The newest plan that nobody has executed, and how many operators still have to approve it."""

    plan_id: str
    approvals_missing: int = 0
    rehearsal_missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the next steps follow from. Periods are those of the settings; `run_id` None: there is no run yet.

    `latest`: whether the run is the newest one; of an older one only its own steps are told. `final`: the source of
    what was migrated is being retired, or is gone; `shredded`: so is what stayed sealed.
    """

    cutover_at: datetime
    rollback_window: timedelta
    sealed_grace: timedelta
    plan: Waiting | None = None
    run_id: str | None = None
    stage: Stage | None = None
    latest: bool = True
    finished_at: datetime | None = None
    verified: Verified = Verified.NO
    final: bool = False
    unfinished_finalization: bool = False
    shredded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. `kind` is for programs, `text` for people; `at`: when it becomes possible or ceases to be."""

    kind: str
    text: str
    at: datetime | None = None


def next_steps(situation: Situation, now: datetime) -> list[Step]:
    """What comes next, in order; never empty unless the campaign is at its very end."""
    steps = [*_of_run(situation, now)] if situation.run_id is not None else []
    if situation.latest and not situation.final:
        steps = [*steps, *_of_plan(situation, now)] if steps else [*_of_plan(situation, now)]
    if situation.latest and situation.final and not situation.shredded:
        steps += _of_sealed(situation, now)
    return steps


def _of_plan(situation: Situation, now: datetime) -> Iterator[Step]:
    plan = situation.plan
    at_work = situation.stage in (Stage.AT_WORK, Stage.KILLED, Stage.STOPPED)
    if now < situation.cutover_at:
        yield Step(
            kind="cutover",
            text=f"the cutover is at {_moment(situation.cutover_at)}: nothing is opened before",
            at=situation.cutover_at,
        )
    if plan is None:
        if situation.run_id is None or situation.stage is Stage.ROLLED_BACK:
            yield Step(kind="plan", text="`migrator plan` decides for every conversation")
        return
    if plan.approvals_missing or plan.rehearsal_missing:
        lacking = []
        if plan.approvals_missing:
            number = plan.approvals_missing
            lacking.append("another operator's approval" if number == 1 else f"the approvals of {number} operators")
        if plan.rehearsal_missing:
            lacking.append("a rehearsal, or that it is waived")
        yield Step(kind="approvals", text=f"{plan.plan_id} lacks {' and '.join(lacking)}: `migrator approve`")
    elif not at_work:
        yield Step(kind="execute", text=f"`migrator execute {plan.plan_id}`")


def _of_run(situation: Situation, now: datetime) -> Iterator[Step]:
    run_id = situation.run_id
    match situation.stage:
        case Stage.AT_WORK:
            yield Step(kind="wait", text=f"when it is complete: `migrator verify {run_id}`")
        case Stage.KILLED | Stage.STOPPED:
            yield Step(kind="resume", text=f"`migrator resume {run_id}` goes on; `migrator rollback` undoes it")
        case Stage.COMPLETED:
            yield from _of_completed(situation, now)
        case Stage.ROLLING_BACK:
            yield Step(kind="rollback", text=f"`migrator rollback {run_id}` goes on where it was left")
        case Stage.ROLLED_BACK | None:
            return


def _of_completed(situation: Situation, now: datetime) -> Iterator[Step]:
    if situation.final:
        if situation.unfinished_finalization:
            yield Step(kind="finalize", text="`migrator finalize` goes on where it was left")
        return
    yield from _verification(situation)
    if situation.finished_at is None:
        return
    end = situation.finished_at + situation.rollback_window
    if now < end:
        yield Step(kind="rollback_window", text=f"may be rolled back until {_moment(end)}", at=end)
        if situation.latest:
            yield Step(kind="finalize", text=f"may be made final from {_moment(end)}", at=end)
    elif situation.latest and situation.verified is Verified.WHOLLY:
        yield Step(kind="finalize", text="`migrator finalize` makes it final: nothing brings it back then")


def _verification(situation: Situation) -> Iterator[Step]:
    run_id = situation.run_id
    match situation.verified:
        case Verified.NO:
            yield Step(kind="verify", text=f"`migrator verify {run_id}` proves it")
        case Verified.PARTLY:
            yield Step(kind="verify", text=f"only a sample was verified: `migrator verify {run_id} --all`")
        case Verified.MISMATCH:
            yield Step(kind="verify", text=f"its verification found a mismatch: `migrator verify {run_id}` shows it")
        case Verified.WHOLLY:
            return


def _of_sealed(situation: Situation, now: datetime) -> Iterator[Step]:
    end = situation.cutover_at + situation.sealed_grace
    if now < end:
        yield Step(kind="sealed_grace", text=f"what stayed sealed is kept until {_moment(end)}", at=end)
    else:
        yield Step(kind="shred", text="`migrator finalize --sealed` shreds what stayed sealed")


def _moment(at: datetime) -> str:
    """To the minute, rounded up: what is promised for then holds then."""
    text = format_time(at)
    if text[17:] != "00.000000Z":
        text = format_time(at.replace(second=0, microsecond=0) + timedelta(minutes=1))
    return f"{text[:10]} {text[11:16]} UTC"
