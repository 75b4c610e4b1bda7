"""Imports authorisation records: read, verify, then write a batch in one short transaction.

1. A record is looked at in the order of `migrator.core.authorization`. One that was imported before, byte for byte, is
   `already` whatever has become of its device since; another text under its id is refused, at the latest as
   `duplicate_record`.
2. Verification happens outside the write transaction, on what the source said at that time. Which records are there is
   looked up again inside it, where no other import can come between.
3. A batch is bounded by records and by characters, so that memory does not grow with the file (G11).
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from migrator.authorizations.known import Known, look_up
from migrator.authorizations.reading import Candidate, candidates
from migrator.authorizations.recording import Refusal, Repeat, Verdict, Verified, record_batch
from migrator.campaign import Campaign
from migrator.core.authorization import AuthorizationRecord, check_record, claimed_record_id, read_record
from migrator.core.errors import MigratorError, UsageError
from migrator.core.imports import ImportResult, RefusedFile
from migrator.core.limits import MIB
from migrator.core.outcomes import RefusalReason, Refused
from migrator.core.progress import NoProgress, Progress

BATCH_RECORDS: Final = 1000
BATCH_CHARS: Final = 4 * MIB
_KEPT: Final = "records before it are imported; importing the same files again goes on from there"
_NOBODY: Final = NoProgress()


@dataclass(slots=True)
class _Tally:
    """What came of an import so far."""

    recorded: int = 0
    already: int = 0
    refused: list[RefusedFile] = field(default_factory=list)

    def add(self, candidate: Candidate, verdict: Verdict) -> None:
        """Count one candidate."""
        if isinstance(verdict, Verified):
            self.recorded += 1
        elif isinstance(verdict, Refusal):
            self.refused.append(
                RefusedFile(
                    file=candidate.file, line=candidate.line, record_id=verdict.record_id, reason=verdict.reason
                )
            )
        else:
            self.already += 1


def import_paths(campaign: Campaign, paths: Sequence[Path], *, progress: Progress = _NOBODY) -> ImportResult:
    """Import `.jws` and `.jsonl` files and folders of these; a repeat finds everything `already` there.

    Raises `UsageError` for paths that make no sense, and what store and database raise; batches before that are kept.
    """
    found = candidates(paths)
    tally = _Tally()
    progress.phase("authorizations", total=None, unit="records")
    try:
        for batch in _batches(found):
            for candidate, verdict in zip(batch, _import_batch(campaign, batch), strict=True):
                tally.add(candidate, verdict)
            progress.advance(len(batch))
    except MigratorError as error:
        if tally.recorded:
            error.changed = _KEPT
        raise
    finally:
        campaign.audit.flush()
    return ImportResult(recorded=tally.recorded, already=tally.already, refused=tuple(tally.refused))


def _batches(found: Iterable[Candidate]) -> Iterator[list[Candidate]]:
    """Batches within both bounds; where reading fails, what was read before comes first."""
    batch: list[Candidate] = []
    chars = 0
    try:
        for candidate in found:
            batch.append(candidate)
            chars += len(candidate.text or "")
            if len(batch) >= BATCH_RECORDS or chars >= BATCH_CHARS:
                yield batch
                batch, chars = [], 0
    except UsageError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _import_batch(campaign: Campaign, batch: Sequence[Candidate]) -> list[Verdict]:
    now = campaign.clock.now()
    read = [_read(candidate) for candidate in batch]
    known = look_up(campaign, [r for r in read if isinstance(r, AuthorizationRecord)])
    verdicts = [
        _verdict(r, known, now) if isinstance(r, AuthorizationRecord) else _unread(candidate, r)
        for candidate, r in zip(batch, read, strict=True)
    ]
    return record_batch(campaign, verdicts, now)


def _read(candidate: Candidate) -> AuthorizationRecord | RefusalReason:
    if candidate.text is None:
        return RefusalReason.TOO_LARGE
    try:
        return read_record(candidate.text)
    except Refused as refused:
        return refused.reason


def _verdict(record: AuthorizationRecord, known: Known, now: datetime) -> Verdict:
    candidate = Verified(record=record, sha256=_sha256(record.token.text))
    if known.recorded.get(record.record_id) == candidate.sha256:
        return Repeat.ALREADY
    try:
        check_record(record, known.around(record, now))
    except Refused as refused:
        return candidate.refused(refused.reason)
    return candidate


def _unread(candidate: Candidate, reason: RefusalReason) -> Refusal:
    if candidate.text is None or not candidate.text.isascii():
        return Refusal(reason=reason)
    return Refusal(reason=reason, record_id=claimed_record_id(candidate.text), sha256=_sha256(candidate.text))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
