"""The states of a run and the only ways between them.

1. A run begins `running`.
2. `running` → `stopped`: a limit, the error budget, a signal, an operator or a failing service; resumable.
3. `running` → `completed`: every conversation of the plan has an outcome.
4. `stopped` → `running`: resumed.
5. Any of these → `rolling_back`: its server history is being removed; it can't be resumed any more.
6. `rolling_back` → `rolled_back`: its server history is gone. A rollback that was killed goes on.
7. A run found `running`, `pausing` or `aborting` without a living lease holder was killed: it may be resumed like a
   stopped one.
8. `running` → `pausing` → `stopped`: told to pause, the workers are still leaving; resumable.
9. `running`, `pausing` or `stopped` → `aborting` → `stopped`: the same at once, and what is half done is removed; also
   resumable. There is no way from an abort back to a pause.
10. `pausing` or `aborting` → `completed`: nothing was left to be stopped.
"""

from enum import StrEnum
from typing import Final

from migrator.core.errors import GateError


class RunState(StrEnum):
    """State of a run."""

    RUNNING = "running"
    PAUSING = "pausing"
    ABORTING = "aborting"
    STOPPED = "stopped"
    COMPLETED = "completed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"


AT_WORK: Final = frozenset({RunState.RUNNING, RunState.PAUSING, RunState.ABORTING})
"""Somebody works on the run, or was killed at it."""
UNFINISHED: Final = AT_WORK | {RunState.STOPPED}
"""The run may still get on."""

_TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.RUNNING: frozenset({*UNFINISHED, RunState.COMPLETED, RunState.ROLLING_BACK}),
    RunState.PAUSING: frozenset({*UNFINISHED, RunState.COMPLETED, RunState.ROLLING_BACK}),
    RunState.ABORTING: frozenset({*UNFINISHED, RunState.COMPLETED, RunState.ROLLING_BACK} - {RunState.PAUSING}),
    RunState.STOPPED: frozenset({RunState.RUNNING, RunState.ABORTING, RunState.ROLLING_BACK}),
    RunState.COMPLETED: frozenset({RunState.ROLLING_BACK}),
    RunState.ROLLING_BACK: frozenset({RunState.ROLLING_BACK, RunState.ROLLED_BACK}),
    RunState.ROLLED_BACK: frozenset(),
}


class StopReason(StrEnum):
    """Why a run stopped before its end."""

    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    MAX_DURATION = "max_duration"
    ERROR_BUDGET = "error_budget"
    SERVICE_DOWN = "service_down"
    AUDIT_LOG = "audit_log"
    PAUSED = "paused"
    ABORTED = "aborted"
    CRITICAL_LOAD = "critical_load"


class StopRequest(StrEnum):
    """How an operator stops a run from another shell."""

    PAUSE = "pause"
    ABORT = "abort"

    @property
    def state(self) -> RunState:
        """What a run is that was told so, until it rests."""
        return RunState.PAUSING if self is StopRequest.PAUSE else RunState.ABORTING

    @property
    def reason(self) -> StopReason:
        """Why a run rests that was told so."""
        return StopReason.PAUSED if self is StopRequest.PAUSE else StopReason.ABORTED


class Answer(StrEnum):
    """What becomes of a request to stop."""

    ASKED = "asked"
    """Whoever works on the run will bring it to rest."""
    AT_REST = "at_rest"
    """Nobody works on the run: it is brought to rest by whoever asks."""
    ALREADY = "already"
    """It is as it was to be, or further."""


def require_transition(run_id: str, current: RunState, wanted: RunState) -> None:
    """Raise `GateError` unless a run may go from `current` to `wanted`."""
    if wanted not in _TRANSITIONS[current]:
        raise GateError(
            f"run {run_id} is {current.value} and can't become {wanted.value}",
            hint="`migrator status` shows what may be done with it",
        )


def answer_to(
    request: StopRequest, run_id: str, state: RunState, reason: StopReason | None, *, living: bool
) -> tuple[Answer, StopRequest]:
    """What a request does to a run, and as which request it counts: a pause of an aborting run is part of the abort.

    `reason`: why the run rests; `living`: whether somebody works on it at this moment. `GateError` for a run that has
    ended.
    """
    if state not in UNFINISHED:
        raise GateError(
            f"run {run_id} is {state.value}: there is nothing to {request.value}",
            hint="`migrator status` shows what may be done with it",
        )
    if state is RunState.STOPPED:
        goes_further = request is StopRequest.ABORT and reason is not StopReason.ABORTED
        return (Answer.AT_REST if goes_further else Answer.ALREADY), request
    effective = StopRequest.ABORT if state is RunState.ABORTING else request
    if not living:
        return Answer.AT_REST, effective
    return (Answer.ALREADY if state is effective.state else Answer.ASKED), effective


def stop_reason_of(state: RunState) -> StopReason | None:
    """Why a run that is on its way to rest will rest; None for one that nobody told to."""
    match state:
        case RunState.PAUSING:
            return StopReason.PAUSED
        case RunState.ABORTING:
            return StopReason.ABORTED
        case _:
            return None
