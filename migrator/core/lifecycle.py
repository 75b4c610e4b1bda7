"""The states of a run and the only ways between them.

1. A run begins `running`.
2. `running` → `stopped`: a limit, the error budget, a signal, an operator or a failing service; resumable.
3. `running` → `completed`: every conversation of the plan has an outcome.
4. `stopped` → `running`: resumed.
5. Any of these → `rolling_back`: its server history is being removed; it can't be resumed any more.
6. `rolling_back` → `rolled_back`: its server history is gone. A rollback that was killed goes on.
7. A run found `running` without a living lease holder was killed: it may be resumed like a stopped one.
"""

from enum import StrEnum

from migrator.core.errors import GateError


class RunState(StrEnum):
    """State of a run."""

    RUNNING = "running"
    STOPPED = "stopped"
    COMPLETED = "completed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"


_TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.RUNNING: frozenset({RunState.STOPPED, RunState.COMPLETED, RunState.RUNNING, RunState.ROLLING_BACK}),
    RunState.STOPPED: frozenset({RunState.RUNNING, RunState.ROLLING_BACK}),
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


def require_transition(run_id: str, current: RunState, wanted: RunState) -> None:
    """Raise `GateError` unless a run may go from `current` to `wanted`."""
    if wanted not in _TRANSITIONS[current]:
        raise GateError(
            f"run {run_id} is {current.value} and can't become {wanted.value}",
            hint="`migrator status` shows what may be done with it",
        )
