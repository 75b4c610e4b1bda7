"""Views of proofs, exports, anchors and reconciliations of the audit log."""

from collections.abc import Sequence
from pathlib import Path

from migrator.audit.anchors.asking import Anchored, AnchorState
from migrator.audit.bundle.writing import Bundle
from migrator.audit.exporting import ExportFormat
from migrator.cli.output import View
from migrator.cli.views.text import counted, table
from migrator.erasure import Erasure
from migrator.evidence import Reconciliation

_SHOWN = 20


def proved(bundle: Bundle) -> View:
    """A bundle that was written."""
    entries = counted(len(bundle.entries), "entry", "entries")
    return View(
        document={
            "schema": "migrator.audit_proof/1",
            "path": str(bundle.folder),
            "size": bundle.size,
            "entries": list(bundle.entries),
        },
        lines=[
            f"{entries} of a log of {bundle.size:,}, in {bundle.folder}",
            f"check it with: python3 {bundle.folder / 'verify.py'}",
        ],
    )


def erased(done: Erasure) -> View:
    """A reference key that was erased."""
    said = (
        "erased: no entry can be linked to it any more" if done.erased else "already erased, or never named in the log"
    )
    return View(
        document={"schema": "migrator.audit_erasure/1", "erased": done.erased, "destroyed_keys_unlinked": done.keys},
        lines=[said],
    )


def exported(form: ExportFormat, path: Path, entries: int) -> View:
    """A file that was written."""
    return View(
        document={"schema": "migrator.audit_export/1", "format": form.value, "path": str(path), "entries": entries},
        lines=[f"{counted(entries, 'entry', 'entries')} as {form.value} in {path}"],
    )


def reconciled(result: Reconciliation) -> View:
    """What a reconciliation found."""
    lines = table(["checked", ""], [(what.replace("_", " "), count) for what, count in result.checked.items()])
    lines.append("")
    lines += [f"mismatch {found.kind.value} {found.about}: {found.detail}" for found in result.findings[:_SHOWN]]
    if result.finding_count > _SHOWN:
        lines.append(f"… {result.finding_count:,} in all; --output json lists up to {len(result.findings):,}")
    if result.ok:
        lines.append("ok the log and the database agree")
    else:
        lines.append(f"fail {counted(result.finding_count, 'mismatch', 'mismatches')}; nothing was changed")
    return View(
        document={
            "schema": "migrator.audit_reconciliation/1",
            "ok": result.ok,
            "checked": dict(result.checked),
            "finding_count": result.finding_count,
            "findings": [
                {"kind": found.kind.value, "about": found.about, "detail": found.detail} for found in result.findings
            ],
        },
        lines=lines,
    )


def anchored(results: Sequence[Anchored]) -> View:
    """What the anchors answered."""
    return View(
        document={
            "schema": "migrator.audit_anchors/1",
            "anchors": [{"name": r.name, "size": r.size, "state": r.state.value, "detail": r.detail} for r in results],
        },
        lines=[
            f"{'ok' if r.state is AnchorState.VOUCHES else 'warn'} {r.name}: {r.size:,} entries, {r.detail}"
            for r in results
        ],
    )
