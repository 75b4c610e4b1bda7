"""A report as files: summary, outcome of each conversation, whom it concerns, page for people, manifest with digests.

All files are written whole under temporary names, then take their names, the manifest last: a manifest never vouches
for files that are not there. They are readable by their owner only, as they name conversations and accounts.

`summary.json`, `conversations.jsonl` and `report.html` are always there. The outcomes also come as spreadsheets,
`conversations-0001.csv` and so on; `told.csv` lists everybody who must be told what became of their history,
`devices.csv` the devices that still hold E2EE state, and `coverage.json` counts by region and locale. These three ask
the source: where it is gone, the page says that they are missing.
"""

import hashlib
import json
import os
import re
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.errors import SourceError, UsageError
from migrator.core.outcomes import OUTCOMES
from migrator.database import tables
from migrator.execution import runs
from migrator.private_files import sync_folder
from migrator.reporting import page, spreadsheets
from migrator.reporting.numbers import summary_of
from migrator.reporting.people import people_of
from migrator.reporting.timeline import timeline

MANIFEST_SCHEMA: Final = "migrator.report_manifest/1"
COVERAGE_SCHEMA: Final = "migrator.report_coverage/1"
PART_ROWS: Final = 100_000
"""Most conversations in one spreadsheet: programs for people open no more than a million rows."""
_MANIFEST: Final = "manifest.json"
_OURS: Final = re.compile(
    r"(summary\.json|conversations\.jsonl|conversations-[0-9]{4,}\.csv|told\.csv|devices\.csv|coverage\.json|"
    r"report\.html|manifest\.json)\Z"
)
_FETCH: Final = 5000
_Item = tuple[str, str, int, int]
"""Conversation, outcome, messages, gaps."""
_MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024


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
        before = _require_ours(directory)
        with ExitStack() as temporary:
            stage = _Stage(directory, temporary)
            report = _write(campaign, run_id, only, stage)
            stage.put_in_place(before)
            return report
    except (OSError, sqlite3.DatabaseError) as error:  # SQLite's, of what is counted beside the report
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"the report can't be written to {directory}: {reason}", hint="choose another folder with --save"
        ) from None


def _require_ours(directory: Path) -> set[str]:
    """The files of an earlier report, which may be replaced; `UsageError` where one of its names is somebody else's."""
    present = {entry.name for entry in os.scandir(directory) if _OURS.match(entry.name)}
    listed = _listed(directory / _MANIFEST)
    if foreign := present - listed:
        raise UsageError(
            f"{directory} holds {', '.join(sorted(foreign)[:10])}, which no report of migrator's wrote",
            hint="choose an empty folder with --save",
        )
    return present


def _listed(manifest: Path) -> set[str]:
    """The manifest of an earlier report and the files that it vouches for; none where it is no such manifest."""
    try:
        with manifest.open("rb") as file:
            value = json.loads(file.read(_MAX_MANIFEST_BYTES))
        if value["schema"] != MANIFEST_SCHEMA:
            return set()
        return {_MANIFEST, *(entry["name"] for entry in value["files"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


def _write(campaign: Campaign, run_id: str | None, only: str | None, stage: "_Stage") -> SavedReport:
    with campaign.database.read() as connection:
        run = runs.find(connection, run_id)
        numbers = summary_of(campaign, connection, run)
        stage.write("summary.json", [_pretty(numbers)])
        count = _conversations(connection, run.run_id, only, stage)
        coverage = _people(campaign, connection, run.run_id, stage)
        points = timeline(connection, run.run_id)
    stage.write("report.html", [page.render(numbers, points, coverage, stage.files)])
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "campaign": campaign.name,
        "run_id": run.run_id,
        "created_at": numbers["created_at"],
        "only": only,
        "files": [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in stage.files],
    }
    stage.write(_MANIFEST, [_pretty(manifest)])
    return SavedReport(run_id=run.run_id, directory=stage.directory, files=tuple(stage.files), conversations=count)


def _conversations(connection: sa.Connection, run_id: str, only: str | None, stage: "_Stage") -> int:
    """Outcomes line by line for programs, then in parts for spreadsheets; how many."""
    counter = _Counter()
    stage.write("conversations.jsonl", counter.of(_lines(connection, run_id, only)))
    rows = _outcomes(connection, run_id, only)
    for number in range(1, 1 + max(1, -(-counter.count // PART_ROWS))):
        part = spreadsheets.lines(_part(rows))
        stage.write(f"conversations-{number:04d}.csv", part)
    return counter.count


def _part(rows: Iterator[_Item]) -> Iterator[Sequence[object]]:
    yield ("conversation_id", "outcome", "messages", "gaps")
    yield from islice(rows, PART_ROWS)


def _people(campaign: Campaign, connection: sa.Connection, run_id: str, stage: "_Stage") -> dict[str, Any] | None:
    """Whom it concerns; None, and no files, where the source can't be asked."""
    try:
        with people_of(campaign, connection, run_id, stage.directory) as people:
            stage.write("told.csv", spreadsheets.lines(people.told()))
            stage.write("devices.csv", spreadsheets.lines(people.devices()))
    except SourceError:
        stage.drop("told.csv", "devices.csv")
        return None
    coverage = {"schema": COVERAGE_SCHEMA, "by_region": people.by_region, "by_locale": people.by_locale}
    stage.write("coverage.json", [_pretty(coverage)])
    return coverage


class _Stage:
    """Files under temporary names, which go away unless they are put in place."""

    def __init__(self, directory: Path, temporary: ExitStack) -> None:
        self.directory = directory
        self.files: list[SavedFile] = []
        self._temporary = temporary
        self._paths: dict[str, Path] = {}

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write a file, whole and durable."""
        path = self.directory / f".{name}.{secrets.token_hex(4)}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._temporary.callback(path.unlink, missing_ok=True)
        digest, size = hashlib.sha256(), 0
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
            file.flush()
            os.fsync(file.fileno())
        self.files.append(SavedFile(name=name, size=size, sha256=digest.hexdigest()))
        self._paths[name] = path

    def drop(self, *names: str) -> None:
        """Forget files that could not be made whole."""
        self.files = [file for file in self.files if file.name not in names]
        for name in names:
            self._paths.pop(name, None)

    def put_in_place(self, before: set[str]) -> None:
        """Give the files their names, in the order in which they were written; an earlier report's others go."""
        for name, path in self._paths.items():
            path.replace(self.directory / name)
        for name in before - self._paths.keys():
            (self.directory / name).unlink(missing_ok=True)
        sync_folder(self.directory)


class _Counter:
    """Counts what passes."""

    def __init__(self) -> None:
        self.count = 0

    def of(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for line in lines:
            self.count += 1
            yield line


def _pretty(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _outcomes(connection: sa.Connection, run_id: str, only: str | None) -> Iterator[_Item]:
    """(conversation, outcome, messages, gaps) in the order of conversation numbers."""
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
    yield from map(tuple, connection.execute(query))


def _lines(connection: sa.Connection, run_id: str, only: str | None) -> Iterator[bytes]:
    """One JSON line a conversation; everything that is not ASCII is escaped, so an id can't break a line."""
    for identifier, outcome, messages, gaps in _outcomes(connection, run_id, only):
        line = {"conversation_id": identifier, "outcome": outcome, "messages": messages, "gaps": gaps}
        yield (json.dumps(line, separators=(",", ":")) + "\n").encode()
