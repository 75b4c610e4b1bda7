"""Views of runs."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from migrator.cli.output import View
from migrator.cli.progress import duration
from migrator.cli.views.text import counted, table
from migrator.core.clock import format_time
from migrator.execution.runs import RunSummary

_COLUMNS: Final = ("outcome", "conversations", "messages", "gaps")
_WIDTH: Final = 100


def run(summary: RunSummary, *, why: str) -> View:
    """Where a run stands; `why` says what it waits for."""
    counts = {
        outcome: {"conversations": c.conversations, "messages": c.messages, "gaps": c.gaps}
        for outcome, c in sorted(summary.counts.items())
    }
    return View(
        document={
            "schema": "migrator.run/1",
            "run_id": summary.run_id,
            "plan_id": summary.plan_id,
            "state": summary.state.value,
            "dry_run": summary.dry_run,
            "counts": counts,
            "messages_per_second": summary.messages_per_second,
            "elapsed_seconds": summary.elapsed_seconds,
            "max_rate": summary.max_rate,
            "limits": dict(summary.limits),
            "stuck_since": format_time(summary.stuck_since) if summary.stuck_since is not None else None,
            "why": why,
            **_optional(summary),
        },
        lines=_lines(summary, why),
    )


def counts_table(summary: RunSummary, width: int) -> list[str]:
    """Counts by outcome, after an empty line. Where outcomes are too long for the width, their reasons stand below."""
    everything = summary.counts.values()
    rows = [(outcome, c.conversations, c.messages, c.gaps) for outcome, c in sorted(summary.counts.items())]
    if not rows:
        return []
    total = tuple(sum(getattr(c, name) for c in everything) for name in _COLUMNS[1:])
    lines = table(_COLUMNS, [*rows, ("all", *total)])
    if max(map(len, lines)) > width:
        lines = table(_COLUMNS, [*_stepped(rows), ("all", *total)])
    return ["", *lines]


def _stepped(rows: Sequence[tuple[str, int, int, int]]) -> Iterator[Sequence[str | int | None]]:
    """Reasons indented below what they are reasons of."""
    last = ""
    for outcome, *numbers in rows:
        kind, colon, reason = outcome.partition(":")
        if colon and kind != last:
            yield (kind, None, None, None)
        last = kind
        yield (f"  {reason}" if colon else outcome, *numbers)


def _optional(summary: RunSummary) -> dict[str, Any]:
    """Members that are there only where they say something."""
    found: dict[str, Any] = {}
    if summary.retry_of is not None:
        found["retry_of"] = summary.retry_of
    if summary.arrivals is not None:
        found["arrivals"] = asdict(summary.arrivals)
    return found


def _lines(summary: RunSummary, why: str) -> list[str]:
    name = "dry run" if summary.dry_run else f"run {summary.run_id}"
    lines = [f"{name} of plan {summary.plan_id}: {summary.state.value}"]
    if summary.retry_of is not None:
        lines.append(f"opens only what failed in run {summary.retry_of}")
    if why:
        lines.append(why)
    lines += [*counts_table(summary, _WIDTH), ""]
    if summary.pending:
        lines.append(f"{counted(summary.pending, 'conversation')} still to do")
    lines.append(f"{summary.messages_per_second:,.0f} messages/s, {duration(summary.elapsed_seconds)} of work")
    if summary.limits:
        limits = (f"{name.replace('_', '-')} {text}" for name, text in summary.limits.items())
        lines.append(f"limits: {', '.join(limits)}")
    if summary.dry_run:
        lines.append("this was a dry run: nothing was written")
    return lines
