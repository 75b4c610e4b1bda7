"""Pause and abort: a request in the run's row, or, where nobody works on the run, the rest itself.

1. The request changes the run's state in one transaction with its audit event. Each commit of a worker begins with a
   look at that state (`recorder`), so from then on nothing of the run commits any more but what had begun to.
2. Whoever works on the run sees the state within a second, waits until its workers have left, removes what is half done
   where the run is aborted, and says that it rests.
3. Where nobody lives who would, whoever asks does that: for a pause in the same transaction, for an abort under the
   lease. An abort that was killed on the way is finished by the next one.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from migrator import lease as leases
from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.errors import GateError, MigratorError, resumable
from migrator.core.lifecycle import Answer, RunState, StopReason, StopRequest, answer_to, require_transition
from migrator.database import locks, tables
from migrator.execution import half_done, runs
from migrator.execution.attendance import attendance
from migrator.execution.runs import Run
from migrator.lease import Lease

_GOES_ON = "`migrator abort` goes on where it was left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """What became of a request. `state`: the run's, from now on; `reason`: why it rests; `holder`: who works on it."""

    run_id: str
    request: StopRequest
    answer: Answer
    state: RunState
    reason: StopReason | None
    holder: str | None = None


def pause(campaign: Campaign, run_id: str | None) -> Stopping:
    """Bring a run, the latest unless one is named, to rest at its workers' next commits."""
    with campaign.database.write("pause") as connection:
        stopping = _request(campaign, connection, run_id, StopRequest.PAUSE)
        aborted = stopping.answer is Answer.AT_REST and stopping.state is RunState.ABORTING
        if stopping.answer is Answer.AT_REST and not aborted:
            _rest(campaign, connection, stopping.run_id, StopReason.PAUSED)
    if aborted:
        return _finish_abort(campaign, stopping)
    return _told(campaign, stopping)


def abort(campaign: Campaign, run_id: str | None, *, confirm: str | None) -> Stopping:
    """The same at once, and remove what is half done. `confirm`: the campaign's name, as somebody has typed it."""
    if confirm != campaign.name:
        with campaign.database.read() as connection:
            runs.find(connection, run_id)
        raise GateError(
            "aborting asks for the campaign's name" if confirm is None else f"{confirm!r} is not the campaign's name",
            hint=f"type it when asked, or give --confirm {campaign.name}",
        )
    with campaign.database.write("abort") as connection:
        stopping = _request(campaign, connection, run_id, StopRequest.ABORT)
    return _finish_abort(campaign, stopping) if stopping.answer is Answer.AT_REST else _told(campaign, stopping)


def aborting(campaign: Campaign, run: Run, *, by: str) -> None:
    """Whoever works on a run aborts it without anybody's request; `by`: what made them."""
    with campaign.database.write("abort") as connection:
        _request(campaign, connection, run.run_id, StopRequest.ABORT, by=by)


def _request(
    campaign: Campaign, connection: sa.Connection, run_id: str | None, request: StopRequest, *, by: str = "operator"
) -> Stopping:
    """Change the state, with its event; a request that comes twice changes nothing."""
    table = tables.run
    locks.ahead_of_sharers(connection, table)
    run = runs.find(connection, run_id)
    found = attendance(connection, run)
    answer, effective = answer_to(request, run.run_id, run.state, run.stop_reason, living=found.holder is not None)
    state = run.state if answer is Answer.ALREADY else effective.state
    if state is not run.state:
        require_transition(run.run_id, run.state, state)
        connection.execute(
            table.update()
            .where(table.c.run_id == run.run_id)
            .values(state=state.value, stop_reason=effective.reason.value, stop_detail=None)
        )
        data = {"request": effective.value, "state": run.state.value, "by": by}
        event = Event(type=EventType.RUN_STOP_REQUESTED, subject=run.run_id, run_id=run.run_id, data=data)
        outbox.record(connection, [event], actor=campaign.actor, now=campaign.clock.now())
    return Stopping(
        run_id=run.run_id,
        request=request,
        answer=answer,
        state=state,
        reason=run.stop_reason if state is RunState.STOPPED else None,
        holder=found.holder.holder if found.holder is not None else None,
    )


def _finish_abort(campaign: Campaign, stopping: Stopping) -> Stopping:
    """Do what the run's own process would have done: nobody can resume it meanwhile."""
    run_id = stopping.run_id
    with leases.hold(campaign, purpose="abort") as lease:

        def fence(connection: sa.Connection) -> None:
            _require(connection, campaign, run_id, lease)

        with campaign.database.write("abort-taken") as connection:
            locks.ahead_of_sharers(connection, tables.run)
            fence(connection)
            connection.execute(tables.run.update().where(tables.run.c.run_id == run_id).values(lease_token=lease.token))
        half_done.remove(campaign, run_id, fence)
        with campaign.database.write("abort-rests") as connection:
            locks.ahead_of_sharers(connection, tables.run)
            fence(connection)
            _rest(campaign, connection, run_id, StopReason.ABORTED)
    return _told(campaign, stopping)


def _require(connection: sa.Connection, campaign: Campaign, run_id: str, lease: Lease) -> None:
    """The fence of an abort: the lease is this process's, and nobody has resumed the run before it was."""
    leases.require(connection, campaign.name, lease, hint=_GOES_ON)
    run = runs.find(connection, run_id)
    if run.state is not RunState.ABORTING:
        raise GateError(
            f"run {run_id} is {run.state.value} by now", hint="`migrator status` shows what may be done with it"
        )


def _rest(campaign: Campaign, connection: sa.Connection, run_id: str, reason: StopReason) -> None:
    """The generation rises: one who was taken for dead and comes back finds that the run is not theirs any more."""
    table = tables.run
    connection.execute(
        table.update()
        .where(table.c.run_id == run_id)
        .values(
            state=RunState.STOPPED.value,
            stop_reason=reason.value,
            waiting=None,
            throttled=False,
            generation=table.c.generation + 1,
        )
    )
    runs.record_stop(connection, campaign, run_id, reason)


def _told(campaign: Campaign, stopping: Stopping) -> Stopping:
    """The run as it is by now; its events are in the log, unless somebody is at work who will put them there."""
    if stopping.answer is Answer.AT_REST:
        try:
            campaign.audit.flush()
        except MigratorError as error:
            raise resumable(error) from None
    with campaign.database.read() as connection:
        run = runs.find(connection, stopping.run_id)
    return Stopping(
        run_id=run.run_id,
        request=stopping.request,
        answer=stopping.answer,
        state=run.state,
        reason=run.stop_reason if run.state is RunState.STOPPED else None,
        holder=stopping.holder,
    )
