"""Views of runs."""

from migrator.cli.output import View
from migrator.cli.progress import duration
from migrator.cli.views.text import counted, table
from migrator.core.clock import format_time
from migrator.execution.runs import RunSummary


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
        },
        lines=_lines(summary, why),
    )


def _lines(summary: RunSummary, why: str) -> list[str]:
    name = "dry run" if summary.dry_run else f"run {summary.run_id}"
    rows = [(outcome, c.conversations, c.messages, c.gaps) for outcome, c in sorted(summary.counts.items())]
    lines = [f"{name} of plan {summary.plan_id}: {summary.state.value}"]
    if why:
        lines.append(why)
    lines.append("")
    if rows:
        everything = summary.counts.values()
        total = tuple(sum(getattr(c, name) for c in everything) for name in ("conversations", "messages", "gaps"))
        lines += [*table(["outcome", "conversations", "messages", "gaps"], [*rows, ("all", *total)]), ""]
    if summary.pending:
        lines.append(f"{counted(summary.pending, 'conversation')} still to do")
    lines.append(f"{summary.messages_per_second:,.0f} messages/s, {duration(summary.elapsed_seconds)} of work")
    if summary.limits:
        limits = (f"{name.replace('_', '-')} {text}" for name, text in summary.limits.items())
        lines.append(f"limits: {', '.join(limits)}")
    if summary.dry_run:
        lines.append("this was a dry run: nothing was written")
    return lines
