"""Views of plans."""

from pathlib import Path
from typing import Any

from migrator.cli.output import View
from migrator.cli.progress import duration
from migrator.cli.views.text import counted, table


def summary(plan_id: str, path: Path, document: dict[str, Any]) -> View:
    """A plan that was just made."""
    return View(
        document={
            "schema": "migrator.plan_summary/1",
            "plan_id": plan_id,
            "path": str(path),
            "counts": document["counts"],
        },
        lines=[*_lines(document), "", f"the plan is in {path}", f"next: `migrator execute {path} --dry-run`"],
    )


def plan(document: dict[str, Any]) -> View:
    """A saved plan."""
    return View(document=document, lines=_lines(document))


def _lines(document: dict[str, Any]) -> list[str]:
    counts, source, policy, estimate = (document[name] for name in ("counts", "source", "policy", "estimate"))
    rows = [("rewrap", counts["rewrap"]["conversations"], counts["rewrap"]["messages"])]
    rows += [(f"leave: {r}", c["conversations"], c["messages"]) for r, c in counts["skip"].items()]
    coverage = document["coverage"]
    by_device, by_issuer = coverage["authorizations_by_device"], coverage["authorizations_by_issuer"]
    key_calls, size = counted(estimate["kms_calls"], "call"), counted(estimate["bytes"], "byte")
    total = (sum(row[1] for row in rows), sum(row[2] for row in rows))
    return [
        f"plan {document['plan_id']} of campaign {document['campaign']}, made {document['created_at']}",
        f"source:   {source['kind']}, {_of(source)}",
        f"policy:   {policy['quorum']}, {policy['notice_period_days']} days of notice",
        f"gaps:     at most {policy['max_gap_fraction']} of a conversation",
        f"exports:  cover {_of(coverage)}",
        f"answers:  {by_device:,} signed by devices, {by_issuer:,} by issuers",
        "",
        *table(["decision", "conversations", "messages"], [*rows, ("all", *total)]),
        "",
        f"estimate: {key_calls} to the key service, {size}, {duration(estimate['seconds'])} for one worker",
        f"items_root {document['items_root']}",
        f"digest     {document['digest']}",
    ]


def _of(count: dict[str, int]) -> str:
    return f"{counted(count['conversations'], 'conversation')}, {counted(count['messages'], 'message')}"
