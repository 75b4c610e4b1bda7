"""A report as files: summary, outcome of each conversation, page for people, manifest with digests.

All files are written whole under temporary names, then take their names, the manifest last: a manifest never vouches
for files that are not there. They are readable by their owner only, as they name conversations.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.errors import UsageError
from migrator.core.outcomes import OUTCOMES
from migrator.database import tables
from migrator.execution import runs
from migrator.private_files import sync_folder
from migrator.reporting import page
from migrator.reporting.numbers import summary_of

MANIFEST_SCHEMA: Final = "migrator.report_manifest/1"
_MANIFEST: Final = "manifest.json"
_NAMES: Final = ("summary.json", "conversations.jsonl", "report.html", _MANIFEST)
_FETCH: Final = 5000
_MAX_MANIFEST_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedFile:
    """A file of a report: bytes, and SHA-256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedReport:
    """A report that was written; `conversations`: lines in `conversations.jsonl`."""

    run_id: str
    directory: Path
    files: tuple[SavedFile, ...]
    conversations: int


def save(campaign: Campaign, run_id: str | None, directory: Path, only: str | None = None) -> SavedReport:
    """Write the report of a run into a folder; `only`: list just the conversations of one outcome.

    A report that is there is replaced; `UsageError` where the folder holds other files of these names.
    """
    if only is not None and only not in OUTCOMES:
        raise UsageError(f"there is no outcome {only!r}", hint=f"it is one of {', '.join(sorted(OUTCOMES))}")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_ours(directory)
        with ExitStack() as temporary:
            return _write(campaign, run_id, directory, only, temporary)
    except OSError as error:
        raise UsageError(
            f"the report can't be written to {directory}: {error.strerror}", hint="choose another folder with --save"
        ) from None


def _require_ours(directory: Path) -> None:
    """Refuse to replace what a report did not write."""
    present = [name for name in _NAMES if os.path.lexists(directory / name)]
    ours = _listed(directory / _MANIFEST) | {_MANIFEST}
    foreign = [name for name in present if name not in ours or _MANIFEST not in present]
    if _MANIFEST in present and len(ours) == 1:
        foreign = present
    if foreign:
        raise UsageError(
            f"{directory} holds {', '.join(foreign)}, which no report of migrator's wrote",
            hint="choose an empty folder with --save",
        )


def _listed(manifest: Path) -> set[str]:
    """The files that an earlier report's manifest vouches for; none where it is no such manifest."""
    try:
        with manifest.open("rb") as file:
            value = json.loads(file.read(_MAX_MANIFEST_BYTES))
        if value["schema"] != MANIFEST_SCHEMA:
            return set()
        return {entry["name"] for entry in value["files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


def _write(
    campaign: Campaign, run_id: str | None, directory: Path, only: str | None, temporary: ExitStack
) -> SavedReport:
    with campaign.database.read() as connection:
        run = runs.find(connection, run_id)
        numbers = summary_of(campaign, connection, run)
        counter = _Counter()
        written = [
            _stage(directory, "summary.json", [_pretty(numbers)], temporary),
            _stage(directory, "conversations.jsonl", counter.of(_lines(connection, run.run_id, only)), temporary),
            _stage(directory, "report.html", [page.render(numbers)], temporary),
        ]
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "campaign": campaign.name,
        "run_id": run.run_id,
        "created_at": numbers["created_at"],
        "only": only,
        "files": [{"name": f.name, "size": f.size, "sha256": f.sha256} for f, _ in written],
    }
    written.append(_stage(directory, _MANIFEST, [_pretty(manifest)], temporary))
    for file, path in written:
        path.replace(directory / file.name)
    sync_folder(directory)
    return SavedReport(
        run_id=run.run_id,
        directory=directory,
        files=tuple(file for file, _ in written),
        conversations=counter.count,
    )


class _Counter:
    """Counts what passes."""

    def __init__(self) -> None:
        self.count = 0

    def of(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for line in lines:
            self.count += 1
            yield line


def _stage(directory: Path, name: str, pieces: Iterable[bytes], temporary: ExitStack) -> tuple[SavedFile, Path]:
    """Write a file under a temporary name that goes away unless it is renamed."""
    path = directory / f".{name}.{secrets.token_hex(4)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    temporary.callback(path.unlink, missing_ok=True)
    digest, size = hashlib.sha256(), 0
    with os.fdopen(descriptor, "wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return SavedFile(name=name, size=size, sha256=digest.hexdigest()), path


def _pretty(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _lines(connection: sa.Connection, run_id: str, only: str | None) -> Iterator[bytes]:
    """One JSON line a conversation; everything that is not ASCII is escaped, so an id can't break a line."""
    item, conversation = tables.item, tables.conversation
    query = (
        sa.select(conversation.c.conversation_id, item.c.outcome, item.c.messages, item.c.gaps)
        .join(conversation, conversation.c.conversation_no == item.c.conversation_no)
        .where(item.c.run_id == run_id)
        .order_by(item.c.conversation_no)
        .execution_options(yield_per=_FETCH)
    )
    if only is not None:
        query = query.where(item.c.outcome == only)
    for identifier, outcome, messages, gaps in connection.execute(query):
        line = {"conversation_id": identifier, "outcome": outcome, "messages": messages, "gaps": gaps}
        yield (json.dumps(line, separators=(",", ":")) + "\n").encode()
