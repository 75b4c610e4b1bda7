"""Writes the site, in one walk over the log after the one that settles what is proven.

    index.html                  what the log is, what was found, lists, pages
    entries/000000.html …       250 entries each, with the checkpoint that proves them
    lists/type-0.html …         on which pages entries of one type, run, actor or day are
    checkpoints/000000.html …   every checkpoint that was kept, its note beside it as `<size>.txt`
    search.js, search/00.js …   finds entries by subject, run or event id; everything else works without scripts

Memory is bounded by a page and by what the lists hold: one number for each page and term. Measured: 100,000 entries in
10 s of processor time, 60 MB, 792 files, and no growth of the process; the index page has 22 KB.
"""

import json
import os
import sqlite3
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from migrator import audit_review
from migrator.audit.entries import TYPE_PREFIX
from migrator.audit.log import AuditLog
from migrator.audit.published import PublishedLog
from migrator.audit.query import Filters
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.errors import AuditLogError, UsageError
from migrator.evidence.site.inclusion import Inclusion, KeptCheckpoint
from migrator.evidence.site.terms import Terms

PAGE: Final = 250
"""Entries, or checkpoints, on one page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A site that was written: entries shown, how many of them no checkpoint proves, checkpoints that are not right."""

    folder: Path
    size: int
    entries: int
    unproven: int
    faulty_checkpoints: int

    @property
    def ok(self) -> bool:
        """Whether the signed log is what its checkpoints say; entries that still wait for one are not."""
        return self.faulty_checkpoints == 0


def write_site(
    campaign: Campaign, folder: Path, filters: Filters, *, account: str | None = None, conversation: str | None = None
) -> Site:
    """Write the site of a campaign's log: the entries that pass the filters, those about somebody where one is named.

    `UsageError` where it can't be written, or no entry can be linked to whom it is about; `AuditLogError` where the log
    can't be read.
    """
    reference = audit_review.look_up(campaign, account=account, conversation=conversation)
    if reference is not None:
        filters = replace(filters, subjects={reference})
    return write_log(campaign.audit, folder, filters, made_at=format_time(campaign.clock.now()))


def write_log(log: AuditLog, folder: Path, filters: Filters, *, made_at: str) -> Site:
    """Write the site of a log into a new folder; raises as `write_site`."""
    published = PublishedLog(log.path.parent, origin=log.origin)
    with _explained(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty", hint="name a new folder: --html DIR")
        path = _private(folder / ".terms.sqlite")
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as index:
                return _Writer(log, published, folder, Terms(index)).write(filters, made_at)
        finally:
            path.unlink(missing_ok=True)


class _Writer:
    def __init__(self, log: AuditLog, published: PublishedLog, folder: Path, terms: Terms) -> None:
        self._log = log
        self._published = published
        self._folder = folder
        self._terms = terms
        self._inclusion = Inclusion(published)
        self._templates = Environment(
            loader=PackageLoader("migrator.evidence.site", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["number"] = lambda number: f"{number:,}"
        self._templates.globals["origin"] = published.checkpoint.origin

    def write(self, filters: Filters, made_at: str) -> Site:
        """Everything; the index page last, so that a site without one is not whole."""
        for name in ("entries", "lists", "checkpoints", "search"):
            (self._folder / name).mkdir(mode=0o700)
        shown = unproven = 0
        firsts: list[int] = []
        for page_no, (entries, last) in enumerate(_paged(self._entries(filters), PAGE)):
            rows = [self._row(entry) for entry in entries]
            unproven += sum(row["proven_by"] is None for row in rows)
            shown += len(rows)
            firsts.append(entries[0]["seq"])
            self._terms.add(page_no, entries)
            name = f"entries/{page_no:06}.html"
            self._render("entries.html.j2", name, up="../", page_no=page_no, last=last, rows=rows)
        faulty = sum(bool(checkpoint.fault) for checkpoint in self._inclusion.checkpoints)
        self._write_checkpoints(self._inclusion.checkpoints)
        lists = self._write_lists()
        for number, script in self._terms.scripts():
            self._put(f"search/{number:02x}.js", script)
        self._put("search.js", resources.files("migrator.evidence.site").joinpath("search.js").read_bytes())
        site = Site(
            folder=self._folder, size=self._published.size, entries=shown, unproven=unproven, faulty_checkpoints=faulty
        )
        self._render(
            "index.html.j2", "index.html", up="", site=site, made_at=made_at, lists=lists, firsts=firsts,
            vkey=self._published.vkey_text.decode().strip(), note=self._published.note.decode(),
            checkpoints=len(self._inclusion.checkpoints), per_page=PAGE,
        )  # fmt: skip
        return site

    def _entries(self, filters: Filters) -> Iterator[Mapping[str, Any]]:
        """The signed entries from their bundles, then what waits for a checkpoint from the write-ahead log."""
        waiting = islice(self._log.lines(), self._published.size, None)
        passing: Iterator[Mapping[str, Any]] = (
            entry
            for seq, line in enumerate(chain(self._published.entries(), waiting))
            if filters.accept(entry := _entry(line, seq))
        )
        return passing if filters.limit is None else iter(deque(passing, maxlen=filters.limit))

    def _row(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **{name: entry.get(name) or "" for name in ("time", "id", "subject", "runid", "actor")},
            "seq": entry["seq"],
            "kind": str(entry["type"]).removeprefix(TYPE_PREFIX),
            "data": json.dumps(entry.get("data", {}), indent=1, sort_keys=True, ensure_ascii=False),
            "proven_by": self._inclusion.proven_by(entry["seq"]),
            "signed": entry["seq"] < self._published.size,
        }

    def _write_checkpoints(self, checkpoints: Sequence[KeptCheckpoint]) -> None:
        for checkpoint in checkpoints:
            self._put(f"checkpoints/{checkpoint.size}.txt", checkpoint.note)
        count = max(1, -(-len(checkpoints) // PAGE))
        for page_no in range(count):
            page = checkpoints[page_no * PAGE : (page_no + 1) * PAGE]
            name = f"checkpoints/{page_no:06}.html"
            self._render("checkpoints.html.j2", name, up="../", page_no=page_no, count=count, checkpoints=page)

    def _write_lists(self) -> dict[str, list[tuple[str, int, str]]]:
        """One page a term; by list the terms with their number of entries and the name of their page."""
        lists: dict[str, list[tuple[str, int, str]]] = {}
        for name, terms in self._terms.lists.items():
            lists[name] = []
            for number, (term, pages) in enumerate(sorted(terms.items())):
                path = f"lists/{name}-{number}.html"
                self._render("list.html.j2", path, up="../", list=name, term=term, pages=pages)
                lists[name].append((term.removeprefix(TYPE_PREFIX), pages.total(), path))
        return lists

    def _render(self, template: str, name: str, **values: Any) -> None:
        self._put(name, self._templates.get_template(template).render(**values).encode("utf-8", "backslashreplace"))

    def _put(self, name: str, data: bytes) -> None:
        with _private(self._folder / name).open("wb") as file:
            file.write(data)


def _entry(line: bytes, seq: int) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        if entry["seq"] != seq or not isinstance(entry["type"], str) or not isinstance(entry["time"], str):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise AuditLogError(
            f"entry {seq} of the audit log is none", hint="`migrator audit verify` says more; keep the log as it is"
        ) from None
    found: dict[str, Any] = entry
    return found


def _paged(entries: Iterator[Mapping[str, Any]], size: int) -> Iterator[tuple[list[Mapping[str, Any]], bool]]:
    """Pages, and whether each is the last one."""
    page = list(islice(entries, size))
    while page:
        following = list(islice(entries, size))
        yield page, not following
        page = following


def _private(path: Path) -> Path:
    """A new, empty file for its owner only."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    return path


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.DatabaseError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the disk is full or was taken away"
        raise UsageError(
            f"the site can't be written to {folder}: {reason}",
            hint="check free space and permissions, or name another folder",
            changed=f"{folder} is not whole: remove it",
        ) from None
