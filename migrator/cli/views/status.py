"""Views of a run that somebody watches: `status`, and what `execute` and `resume` end with.

For people one line a thing, its name in front; what is too long for the terminal goes on below itself. Built to be
read on 60 columns and in a log file alike.
"""

import math
import re
import textwrap
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from migrator.cli.output import View
from migrator.cli.progress import duration
from migrator.cli.views.runs import counts_table
from migrator.cli.views.runs import run as run_view
from migrator.cli.views.text import counted
from migrator.core.clock import format_time
from migrator.core.estimate import EtaState
from migrator.core.lifecycle import RunState
from migrator.execution.hooks.calls import HookCall
from migrator.execution.hooks.process import Result
from migrator.execution.runs import RunSummary
from migrator.execution.watching.snapshot import Watched
from migrator.lease import LeaseHolder

WIDTH: Final = 100
"""Of lines that go to no terminal."""
_NAME: Final = 12
_GLUE: Final = "\N{NO-BREAK SPACE}"
_GLUED: Final = re.compile(r"`[^`]*`|[0-9]+ (?:s|min|h|d)\b(?: [0-9]+ (?:min|h))?(?: ago)?|[0-9:]+ UTC|\([0-9.]+ %\)")
_PHASES: Final = {"rolling_back": "being rolled back", "rolled_back": "rolled back"}


def watched(summary: RunSummary, found: Watched, *, why: str, width: int = WIDTH) -> View:
    """A run; `why` says what it waits for."""
    if summary.dry_run:
        base = run_view(summary, why=why)
        return View(document={**base.document, **_members(found)}, lines=base.lines)
    return View(
        document={**run_view(summary, why=why).document, **_members(found)},
        lines=[
            *_wrapped("run", summary.run_id, width),
            *_wrapped("plan", summary.plan_id, width),
            *_scope(summary, width),
            *_wrapped("state", _state(summary, found, why), width),
            *_told(summary, found, width),
            *_arrived(summary, width),
            *counts_table(summary, width),
        ],
    )


def _scope(summary: RunSummary, width: int) -> Iterator[str]:
    if summary.retry_of is not None:
        yield from _wrapped("retries", f"opens only what failed in run {summary.retry_of}", width)


def _arrived(summary: RunSummary, width: int) -> Iterator[str]:
    arrived = summary.arrivals
    if arrived is not None and arrived.conversations:
        what = f"{counted(arrived.messages, 'message')} of {counted(arrived.conversations, 'conversation')}"
        who = f"as plan {arrived.plan_id} counted; `migrator plan` counts again"
        yield from _wrapped("waiting", f"newer than their flip: {what}, {who}", width)


def not_begun(found: Watched, *, width: int = WIDTH) -> View:
    """A campaign without a run."""
    document = {
        "schema": "migrator.run/1", "run_id": None, "plan_id": None, "state": found.phase, "dry_run": False,
        "counts": {}, "messages_per_second": 0.0, "elapsed_seconds": 0.0, "max_rate": None,
        "why": "there is no run yet", **_members(found),
    }  # fmt: skip
    lines = [*_wrapped("run", "there is none yet", width), *_safety(found, width), *_next(found, width)]
    return View(document=document, lines=lines)


def _members(found: Watched) -> dict[str, Any]:
    """What JSON has beside the members that it always had."""
    advance, rate, eta, checkpoint, lease = found.advance, found.rate, found.eta, found.checkpoint, found.lease
    trouble = found.hook_trouble
    return {
        "phase": found.phase,
        "progress": {"done": advance.done, "total": advance.total, "fraction": _rounded(advance.fraction, 6)},
        "rate": None if rate is None else {
            "messages_per_second": round(rate.per_second, 1), "window_seconds": round(rate.window_seconds, 1),
            "held_seconds": round(rate.held_seconds, 1),
        },
        "eta": {"state": eta.state.value, "seconds": _rounded(eta.seconds, 0), "at": _time(eta.at)},
        "waiting": found.waiting,
        "lease": None if lease is None else {
            "holder": lease.holder, "purpose": lease.purpose, "alive": lease.alive,
            "heartbeat_at": format_time(lease.heartbeat_at), "age_seconds": _age(found, lease.heartbeat_at),
        },
        "checkpoint": {
            "committed_at": _time(checkpoint.committed_at), "age_seconds": _age(found, checkpoint.committed_at),
            "audit_log": {
                "size": checkpoint.log_size, "signed_size": checkpoint.signed_size,
                "signed_at": _time(checkpoint.signed_at), "age_seconds": _age(found, checkpoint.signed_at),
            },
        },
        "next": [{"kind": step.kind, "text": step.text, "at": _time(step.at)} for step in found.next],
        "limits": dict(found.limits),
        "hook_trouble": None if trouble is None else {
            "hook": trouble.hook, "result": trouble.result.value, "exit_status": trouble.exit_status,
            "called_at": format_time(trouble.called_at),
        },
    }  # fmt: skip


def _told(summary: RunSummary, found: Watched, width: int) -> Iterator[str]:
    yield from _wrapped("progress", _progress(summary, found), width)
    if found.rate is not None:
        over = f"over the last {duration(found.rate.window_seconds)}"
        held = f", of which {duration(found.rate.held_seconds)} held up" if found.rate.held_seconds >= 1 else ""
        yield from _wrapped("rate", f"{found.rate.per_second:,.0f} messages/s {over}{held}", width)
    worked = f"{duration(summary.elapsed_seconds)} of work"
    yield from _wrapped("worked", f"{worked}, {summary.messages_per_second:,.0f} messages/s on average", width)
    if found.eta.state is not EtaState.NONE:
        yield from _wrapped("time left", _eta(found), width)
    if found.lease is not None:
        yield from _wrapped("lease", _lease(found, found.lease), width)
    yield from _safety(found, width)
    if found.hook_trouble is not None:
        yield from _wrapped("hook", _hook(found, found.hook_trouble), width)
    yield from _next(found, width)


def _safety(found: Watched, width: int) -> Iterator[str]:
    checkpoint = found.checkpoint
    if checkpoint.committed_at is not None:
        yield from _wrapped("checkpoint", f"last commit {_ago(found, checkpoint.committed_at)}", width)
    signed = "all signed" if checkpoint.signed_size == checkpoint.log_size else f"{checkpoint.signed_size:,} signed"
    when = f", {_ago(found, checkpoint.signed_at)}" if checkpoint.signed_at is not None else ""
    yield from _wrapped("audit log", f"{counted(checkpoint.log_size, 'entry', 'entries')}, {signed}{when}", width)
    limits = ", ".join(f"{name} {text}" for name, text in found.limits.items())
    if limits:
        yield from _wrapped("limits", limits, width)


def _next(found: Watched, width: int) -> Iterator[str]:
    for number, step in enumerate(found.next):
        yield from _wrapped("next" if number == 0 else "", step.text, width)


def _state(summary: RunSummary, found: Watched, why: str) -> str:
    """The state, of a run that is at work what it is busy with, and why; of a complete one the next steps say that."""
    state, phase = summary.state, found.phase
    if phase == state.value:
        told = _PHASES.get(phase, phase)
    else:
        told = phase if phase == "killed" else f"{state.value}, {phase}"
    if not why or state is RunState.COMPLETED:
        return told
    if why.startswith(told):
        return why
    return f"{told}; {why if found.lease is None else why.replace(found.lease.holder, _process(found.lease.holder))}"


def _progress(summary: RunSummary, found: Watched) -> str:
    advance = found.advance
    conversations = f"{found.planned - summary.pending:,} of {counted(found.planned, 'conversation')}"
    if advance.total is None:
        return f"{conversations}; messages are not counted yet"
    if advance.exceeds:
        return f"{conversations}; expected {counted(advance.total, 'message')}, processed {advance.done:,}"
    if advance.complete and advance.done != advance.total:
        return f"{conversations}; {counted(advance.done, 'message')} processed, expected {advance.total:,}"
    share = f" ({math.floor(1000 * (advance.fraction or 0.0)) / 10:.1f} %)" if advance.total else ""
    return f"{conversations}; {advance.done:,} of {counted(advance.total, 'message')}{share}"


def _eta(found: Watched) -> str:
    eta = found.eta
    match eta.state:
        case EtaState.COUNTING:
            return "counting"
        case EtaState.NOT_AVAILABLE:
            return "n/a while it waits" if found.waiting else "n/a: too early to tell"
        case EtaState.DUE:
            return "due: by the estimate it is done"
        case EtaState.VALUE if eta.seconds is not None and eta.at is not None:
            at = format_time(eta.at)
            day = "" if eta.at.date() == found.now.date() else f"{at[:10]} "
            return f"about {duration(eta.seconds)}, until {day}{at[11:16]} UTC"
        case EtaState.VALUE | EtaState.NONE:
            return ""


def _lease(found: Watched, lease: LeaseHolder) -> str:
    dead = "" if lease.alive else ", which no longer lives"
    return f"{_process(lease.holder)} ({lease.purpose}){dead}; last heartbeat {_ago(found, lease.heartbeat_at)}"


def _process(holder: str) -> str:
    """Host and process of a holder, without what only tells boots apart."""
    parts = holder.split("/")
    return f"{parts[0]}, process {parts[2]}" if len(parts) == 4 else holder


def _hook(found: Watched, call: HookCall) -> str:
    came = {
        Result.OK: "ended well",
        Result.FAILED: f"ended with status {call.exit_status}",
        Result.TIMED_OUT: "took too long and was ended",
        Result.STOPPED: "was ended, as somebody wanted to stop",
        Result.NOT_STARTED: "could not be started",
    }
    return f"{call.hook} {came[call.result]}, {_ago(found, call.called_at)}"


def _wrapped(name: str, text: str, width: int) -> list[str]:
    """A name and what it is. Ids are never broken; times and, where there is room, commands neither."""
    room = max(width, 40) - _NAME
    text = _GLUED.sub(lambda found: found[0].replace(" ", _GLUE) if len(found[0]) <= room else found[0], text)
    lines = textwrap.wrap(
        text, _NAME + room, initial_indent=name.ljust(_NAME), subsequent_indent=" " * _NAME,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace(_GLUE, " ") for line in lines]


def _ago(found: Watched, moment: datetime) -> str:
    return f"{duration(_age(found, moment) or 0)} ago"


def _age(found: Watched, moment: datetime | None) -> int | None:
    """Whole seconds; never less than none, as machines' clocks differ."""
    return None if moment is None else max(0, round((found.now - moment).total_seconds()))


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


def _rounded(number: float | None, digits: int) -> float | None:
    if number is None:
        return None
    return round(number, digits) if digits else float(round(number))
