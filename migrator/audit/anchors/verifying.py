"""The part of `audit verify` that is about anchors: every answer that is kept, and how far somebody vouches."""

from migrator.audit.anchors import kept
from migrator.audit.anchors.asking import Anchors, AnchorState
from migrator.audit.directory import LogDirectory
from migrator.audit.findings import FindingKind, Verification
from migrator.core.errors import AuditLogError
from migrator.core.notes import NoteError


def verify_anchors(anchors: Anchors, directory: LogDirectory, found: Verification) -> None:
    """Check what is kept against the log's own checkpoints; note the entries that nobody else vouches for."""
    vouched = 0
    found.checked["anchors"] = 0
    for size in sorted({*kept.sizes(directory.path, kept.WITNESS), *kept.sizes(directory.path, kept.TIMESTAMP)}):
        try:
            note = directory.read(f"checkpoints/{size}")
            if note is None:
                found.add(FindingKind.ANCHOR, "somebody vouches for a checkpoint that is not there", size)
                continue
            results = list(anchors.check(note))
        except (AuditLogError, NoteError) as error:
            found.add(FindingKind.ANCHOR, str(error), size)
            continue
        for result in results:
            found.checked["anchors"] += 1
            if result.state is AnchorState.VOUCHES:
                vouched = max(vouched, result.size)
            else:
                found.add(FindingKind.ANCHOR, f"{result.name}: {result.detail}", size)
    if vouched < found.size:
        message = f"nobody else vouches for the last {found.size - vouched} of {found.size} entries"
        found.add(FindingKind.UNANCHORED_TAIL, message, vouched)
    if not vouched and found.size:
        found.not_checked.append("that whoever has the log's key did not write it anew: nobody else vouches for it")
