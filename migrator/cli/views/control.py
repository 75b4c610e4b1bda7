"""Views of what became of an operator's wish."""

from migrator.cli.output import View
from migrator.core.lifecycle import Answer, RunState, StopReason, StopRequest
from migrator.execution.control import Stopping

_DONE = {StopReason.PAUSED: "paused", StopReason.ABORTED: "aborted"}


def stopping(result: Stopping) -> View:
    """A run that was told to stop."""
    return View(
        document={
            "schema": "migrator.stop_request/1",
            "run_id": result.run_id,
            "request": result.request.value,
            "already": result.answer is Answer.ALREADY,
            "state": result.state.value,
            "stop_reason": result.reason.value if result.reason is not None else None,
            "holder": result.holder,
        },
        lines=[_line(result)],
    )


def _line(result: Stopping) -> str:
    run = f"run {result.run_id}"
    match result.state:
        case RunState.STOPPED:
            already = "already " if result.answer is Answer.ALREADY else ""
            how = _DONE.get(result.reason, "at rest") if result.reason is not None else "at rest"
            why = f" ({result.reason.value})" if result.reason is not None and result.reason not in _DONE else ""
            return f"{run}: {already}{how}{why}; `migrator resume` goes on"
        case RunState.PAUSING | RunState.ABORTING if result.answer is Answer.ALREADY:
            return f"{run}: already {result.state.value}; `migrator status` says when it rests"
        case RunState.PAUSING | RunState.ABORTING:
            end = "then what is half done is removed" if result.request is StopRequest.ABORT else "then the run rests"
            return f"{run}: {result.state.value}; its workers leave at their next commit, {end}"
        case _:
            return f"{run}: {result.state.value} by now"
