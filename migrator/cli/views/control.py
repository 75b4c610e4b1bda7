"""Views of what became of an operator's wish."""

from migrator.cli.output import View
from migrator.cli.views.text import table
from migrator.core.clock import format_time
from migrator.core.lifecycle import Answer, RunState, StopReason, StopRequest
from migrator.execution.control import Limiting, Stopping, Unlocking
from migrator.lease import LeaseHolder

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
            return f"{run} is {already}{how}{why}; `migrator resume` goes on"
        case RunState.PAUSING | RunState.ABORTING if result.answer is Answer.ALREADY:
            return f"{run} is already {result.state.value}; `migrator status` says when it rests"
        case RunState.PAUSING | RunState.ABORTING:
            end = "then what is half done is removed" if result.request is StopRequest.ABORT else "then the run rests"
            return f"{run} is {result.state.value}: its workers leave at their next commit, {end}"
        case _:
            return f"{run} is {result.state.value} by now"


def limiting(result: Limiting) -> View:
    """A run's limits, and which of them were changed."""
    lines = [f"{_flag(name)}: {old} → {new}" for name, (old, new) in result.changes.items()]
    if not result.changes:
        lines.append(f"run {result.run_id} is {'limited to' if result.limits else 'not limited'}")
    rows = [(_flag(name), text) for name, text in result.limits.items()]
    return View(
        document={
            "schema": "migrator.limits/1",
            "run_id": result.run_id,
            "limits": dict(result.limits),
            "changed": {name: {"old": old, "new": new} for name, (old, new) in result.changes.items()},
        },
        lines=[*lines, *(table(["", ""], rows) if not result.changes else [])],
    )


def held(holder: LeaseHolder | None) -> str:
    """Who holds the lease, before somebody takes it from them."""
    if holder is None:
        return "The lease is free"
    return (
        f"The lease is held by {holder.holder} ({holder.purpose}), last heard of at {format_time(holder.heartbeat_at)}"
    )


def unlocking(result: Unlocking) -> View:
    """What became of the lease."""
    heard = format_time(result.heartbeat_at) if result.heartbeat_at is not None else None
    how = "taken from" if result.forced else "given back for"
    free = "the lease is already free"
    return View(
        document={
            "schema": "migrator.unlock/1",
            "already": result.already,
            "forced": result.forced,
            "holder": result.holder,
            "purpose": result.purpose,
            "heartbeat_at": heard,
        },
        lines=[free if result.already else f"{how} {result.holder} ({result.purpose}), last heard of at {heard}"],
    )


def _flag(name: str) -> str:
    return name.replace("_", "-")
