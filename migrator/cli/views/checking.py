"""Views of verification, reports and migrated history."""

from datetime import UTC, datetime, timedelta
from typing import Any

from migrator.archiving import Archive
from migrator.cli.output import View
from migrator.cli.views.text import Row, counted, table
from migrator.core.clock import format_time
from migrator.core.encoding import b64url_encode
from migrator.reading import ReadMessage
from migrator.reporting import SavedReport
from migrator.verification import Verification

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = 20


def verified(found: Verification) -> View:
    """What a verification found."""
    lines = [f"run {found.run_id}", ""]
    lines += table(["checked", ""], [(what.replace("_", " "), count) for what, count in found.checked.items()])
    lines.append("")
    for mismatch in found.mismatches[:_SHOWN]:
        place = "" if mismatch.conversation_no is None else f" conversation {mismatch.conversation_no}:"
        lines.append(f"mismatch {mismatch.kind.value}:{place} {mismatch.detail}")
    if found.mismatch_count > _SHOWN:
        lines.append(f"… {found.mismatch_count:,} in all; --output json lists up to {len(found.mismatches):,}")
    if found.checked.get("without_source"):
        lines.append("the source is gone: nothing was compared with it, and no Merkle root could be worked out again")
    if found.ok:
        lines.append("ok everything agrees")
    else:
        lines.append(f"fail {counted(found.mismatch_count, 'mismatch', 'mismatches')}; nothing was changed")
    return View(
        document={
            "schema": "migrator.verification/1",
            "run_id": found.run_id,
            "ok": found.ok,
            "checked": dict(found.checked),
            "mismatches": [
                {"conversation_no": m.conversation_no, "kind": m.kind.value, "detail": m.detail}
                for m in found.mismatches
            ],
        },
        lines=lines,
    )


def reported(summary: dict[str, Any], saved: SavedReport | None) -> View:
    """What a run came to; `saved`: the files that say so."""
    run, plan, history = summary["run"], summary["plan"], summary["server_history"]
    rows: list[Row] = [
        (outcome, c["conversations"], c["messages"], c["gaps"]) for outcome, c in summary["outcomes"].items()
    ]
    total = summary["totals"]
    rows.append(("all", total["conversations"], total["messages"], total["gaps"]))
    lines = [
        f"campaign {summary['campaign']} ({summary['environment']}), run {run['run_id']}: {run['state']}",
        f"plan {plan['plan_id']}: {_of(plan)}",
        "",
        *table(["outcome", "conversations", "messages", "gaps"], rows),
        "",
        f"visible server history: {_of(history)}, {counted(history['gaps'], 'gap')}",
    ]
    lines += [f"gaps: {count:,} {reason}" for reason, count in summary["gaps"].items()]
    attached = summary["attachments"]
    if attached["sealed"] or attached["gaps"]:
        lines.append(f"attachments: {attached['sealed']:,} sealed, {attached['bytes']:,} bytes of content")
        lines += [f"attachments: {count:,} {reason}" for reason, count in attached["gaps"].items()]
    lines.append(_verification(summary["verification"]))
    lines.append("ok the numbers agree" if summary["reconciles"] else "fail the numbers don't agree: `migrator verify`")
    document = dict(summary)
    if saved is not None:
        document["saved"] = {
            "directory": str(saved.directory),
            "files": [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in saved.files],
            "conversations": saved.conversations,
        }
        lines += ["", f"saved in {saved.directory}:", *(f"  {f.sha256}  {f.name}" for f in saved.files)]
    return View(document=document, lines=lines)


def _of(count: dict[str, Any]) -> str:
    return f"{counted(count['conversations'], 'conversation')}, {counted(count['messages'], 'message')}"


def _verification(found: dict[str, Any] | None) -> str:
    if found is None or found["ok"] is None:
        return "not verified yet: `migrator verify`"
    verdict = "verified" if found["ok"] else "FAILED verification"
    return f"{verdict} on {found['finished_at']} (sample: {found['sample']})"


def archived(archive: Archive) -> View:
    """An archive that was saved."""
    what = f"{counted(archive.messages, 'message')}, {counted(archive.gaps, 'gap')}"
    lines = [f"{archive.form.value} archive in {archive.path}: {what}, {counted(archive.files, 'file')}"]
    return View(
        document={
            "schema": "migrator.archive/1",
            "conversation_id": archive.conversation_id,
            "format": archive.form.value,
            "path": str(archive.path),
            "messages": archive.messages,
            "gaps": archive.gaps,
            "clear_text": archive.clear_text,
            "files": archive.files,
        },
        lines=lines + left_in_clear(archive.clear_text),
    )


def left_in_clear(count: int | None) -> list[str]:
    """What a room has beside its history; nothing where there is none, or the source can't be asked."""
    return [f"({counted(count, 'clear-text event')} of the room were left where they are)"] if count else []


def message(read: ReadMessage) -> dict[str, str | int]:
    """One message for programs; `content` is base64url, as it may be anything."""
    return {
        "sent_at": read.sent_at,
        "message_id": read.message_id,
        "sender_id": read.sender_id,
        "content_type": read.content_type,
        "content": b64url_encode(read.content),
    }


def message_line(read: ReadMessage) -> str:
    """One message for people; what is no text shows as escapes."""
    moment = format_time(_EPOCH + timedelta(milliseconds=read.sent_at))
    return f"{moment} {read.sender_id}: {read.content.decode('utf-8', 'backslashreplace')}"
