"""Views of plans."""

from pathlib import Path
from typing import Any

from migrator.approvals.recording import Approved
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
            **{name: document[name] for name in ("cohort", "limit", "extend", "arrivals") if name in document},
        },
        lines=[*_lines(document), "", f"the plan is in {path}", f"next: `migrator execute {path} --dry-run`"],
    )


def plan(document: dict[str, Any], overview: Approved) -> View:
    """A saved plan: the document is the plan file as it is; people also see who approved it."""
    return View(document=document, lines=[*_lines(document), *_approvals(overview)])


def approved(result: Approved, *, revoked: bool = False) -> View:
    """The approvals of a plan after one came or went."""
    done = "revoked" if revoked else "approved"
    first = f"{'already ' if result.already else ''}{done}: {result.plan_id}, {result.signer}"
    rehearsal = result.rehearsal
    return View(
        document={
            "schema": "migrator.approvals/1",
            "plan_id": result.plan_id,
            "digest": result.digest,
            "already": result.already,
            "approvals": [
                {"signer": a.name, "key": a.fingerprint, "approved_at": a.approved_at, "objection": a.objection}
                for a in result.approvals
            ],
            "rehearsal": None if rehearsal is None else {"run_id": rehearsal.run_id, "waiver": rehearsal.waiver},
        },
        lines=[first, *_approvals(result)],
    )


def _approvals(result: Approved) -> list[str]:
    lines = [
        f"approved by {a.name} ({a.fingerprint}) at {a.approved_at}"
        + (f", which does not count: {a.objection}" if a.objection else "")
        for a in result.approvals
    ]
    rehearsal = result.rehearsal
    if rehearsal is not None:
        said = f"waived by {rehearsal.recorded_by}: {rehearsal.waiver}" if rehearsal.waiver else rehearsal.run_id
        lines.insert(0, f"rehearsal: {said}")
    return lines


def _lines(document: dict[str, Any]) -> list[str]:
    counts, source, policy, estimate = (document[name] for name in ("counts", "source", "policy", "estimate"))
    rows = [("rewrap", counts["rewrap"]["conversations"], counts["rewrap"]["messages"])]
    part = _part(document)
    rows += [(f"leave: {r}", c["conversations"], c["messages"]) for r, c in counts["skip"].items()]
    coverage = document["coverage"]
    by_device, by_issuer = coverage["authorizations_by_device"], coverage["authorizations_by_issuer"]
    key_calls, size = counted(estimate["kms_calls"], "call"), counted(estimate["bytes"], "byte")
    total = (sum(row[1] for row in rows), sum(row[2] for row in rows))
    return [
        f"plan {document['plan_id']} of campaign {document['campaign']}, made {document['created_at']}",
        *part,
        f"source:   {source['kind']}, {_of(source)}",
        f"policy:   {policy['quorum']}, {policy['notice_period_days']} days of notice",
        f"gaps:     at most {policy['max_gap_fraction']} of a conversation",
        f"exports:  cover {_of(coverage)}",
        f"answers:  {by_device:,} signed by devices, {by_issuer:,} by issuers",
        "",
        *table(["decision", "conversations", "messages"], [*rows, ("all", *total)]),
        *_news(document),
        "",
        f"estimate: {key_calls} to the key service, {size}, {duration(estimate['seconds'])} for one worker",
        f"items_root {document['items_root']}",
        f"digest     {document['digest']}",
    ]


def _part(document: dict[str, Any]) -> list[str]:
    """What part of the population the plan is for, where it is not for all of it."""
    lines = []
    if "cohort" in document:
        cohort = document["cohort"]
        accounts = f", {counted(cohort['accounts'], 'account')}" if "accounts" in cohort else ""
        lines.append(f"cohort:   {cohort['name']} ({cohort['rule']}{accounts}); what is outside waits for another plan")
    if "limit" in document:
        lines.append(f"limit:    {document['limit']} of the work; what is beyond waits for another plan")
    return lines


def _news(document: dict[str, Any]) -> list[str]:
    """How much of the work is of conversations that were migrated before, and what came after their flip."""
    lines = []
    extend = document.get("extend", {"conversations": 0})
    if extend["conversations"]:
        tails, late = extend["tails"], extend["late_keys"]
        lines.append(
            f"of rewrap, {counted(extend['conversations'], 'conversation')} migrated before: "
            f"{tails['conversations']:,} with {counted(tails['messages'], 'new message')}, "
            f"{late['conversations']:,} with newer exports for {counted(late['gaps'], 'gap')}"
        )
    arrived = document.get("arrivals", {"conversations": 0})
    if arrived["conversations"]:
        lines.append(f"newer than their flip: {_of(arrived)}, whatever is decided about them")
    return lines


def _of(count: dict[str, int]) -> str:
    return f"{counted(count['conversations'], 'conversation')}, {counted(count['messages'], 'message')}"
