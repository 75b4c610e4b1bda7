"""Views of the audit log."""

import base64
import json
from typing import Any

from migrator.audit.consistency import Consistency
from migrator.audit.entries import TYPE_PREFIX
from migrator.audit.findings import Verification
from migrator.cli.output import View
from migrator.cli.views.text import counted, table
from migrator.core.notes import Checkpoint
from migrator.evidence.site import Site

_SHOWN = 20


def line(entry: dict[str, Any]) -> str:
    """One entry on one line."""
    about = entry.get("subject") or ""
    data = json.dumps(entry.get("data", {}), separators=(",", ":"), sort_keys=True)
    kind = str(entry.get("type", "")).removeprefix(TYPE_PREFIX)
    return f"{entry.get('seq', ''):>6} {entry.get('time', '')} {kind:<24} {entry.get('actor', '')} {about} {data}"


def verified(found: Verification) -> View:
    """What a verification of the log found."""
    lines = [f"{found.size:,} entries are signed, root {_base64(found.root)}", ""]
    rows = [*found.checked.items(), ("checkpoints", found.checkpoints)]
    lines += table(["checked", ""], rows)
    lines.append("")
    for finding in found.findings[:_SHOWN]:
        word = "note" if finding.kind.is_note else "fail"
        lines.append(f"{word} {finding.kind.value}: {finding.message}")
    hidden = len(found.findings) - _SHOWN + found.more_findings
    if hidden > 0:
        lines.append(f"… {hidden:,} more; --output json lists the first {len(found.findings):,}")
    lines += [f"not checked: {text}" for text in found.not_checked]
    lines.append("ok everything agrees" if found.ok else f"fail {counted(found.faults, 'fault')}; nothing was changed")
    return View(
        document={
            "schema": "migrator.audit_verification/1",
            "ok": found.ok,
            "size": found.size,
            "root": _base64(found.root),
            "checkpoints": found.checkpoints,
            "checked": dict(found.checked),
            "findings": [
                {"kind": f.kind.value, "note": f.kind.is_note, "message": f.message, "at": f.at} for f in found.findings
            ],
            "more_findings": found.more_findings,
            "not_checked": found.not_checked,
        },
        lines=lines,
    )


def consistent(found: Consistency) -> View:
    """A proof of consistency, hash by hash."""
    proof = [_base64(node) for node in found.proof]
    return View(
        document={
            "schema": "migrator.audit_consistency/1",
            "old": _state(found.old),
            "new": _state(found.new),
            "proof": proof,
        },
        lines=[
            f"old {found.old.size} {_base64(found.old.root)}",
            f"new {found.new.size} {_base64(found.new.root)}",
            *proof,
            "ok the new state begins with all of the old one",
        ],
    )


def site(found: Site) -> View:
    """A site that was written."""
    return View(
        document={
            "schema": "migrator.audit_site/1",
            "ok": found.ok,
            "index": str(found.folder / "index.html"),
            "size": found.size,
            "entries": found.entries,
            "unproven": found.unproven,
            "faulty_checkpoints": found.faulty_checkpoints,
        },
        lines=[
            f"{counted(found.entries, 'entry', 'entries')} in {found.folder / 'index.html'}",
            f"{found.unproven:,} of them are proven by no checkpoint",
            "ok every checkpoint is that of its entries"
            if found.ok
            else f"fail {counted(found.faulty_checkpoints, 'checkpoint')} not right: `migrator audit verify` says more",
        ],
    )


def _state(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"size": checkpoint.size, "root": _base64(checkpoint.root)}


def _base64(data: bytes) -> str:
    """As checkpoints write it."""
    return base64.b64encode(data).decode()
