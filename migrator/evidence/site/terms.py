"""What entries can be found by: lists for reading, and an index for searching.

Lists (type, run, actor, day) count entries by page of the site and fit in memory: they grow with the pages, not with
the entries. The index knows for each subject, run and event the numbers of its entries; it is gathered in a database
of its own beside the site and written as 256 scripts, of which a browser loads the one that it needs.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Final

SHARDS: Final = 256
MOST: Final = 500
"""Entries of one term that the index names; the lists have the rest."""
LISTS: Final = ("type", "run", "actor", "day")


class Terms:
    """Filled entry by entry, read when all are in."""

    def __init__(self, index: sqlite3.Connection) -> None:
        self._index = index
        self._index.execute("PRAGMA journal_mode = OFF")
        self._index.execute("PRAGMA synchronous = OFF")
        self._index.execute("CREATE TABLE term (shard INTEGER, term TEXT, seq INTEGER)")
        self.lists: dict[str, dict[str, Counter[int]]] = {name: {} for name in LISTS}

    def add(self, page_no: int, entries: list[Mapping[str, Any]]) -> None:
        """The entries of one page of the site."""
        rows = []
        for entry in entries:
            for name, value in zip(LISTS, _listed(entry), strict=True):
                if value:
                    self.lists[name].setdefault(value, Counter())[page_no] += 1
            terms = {_text(entry.get(member)) for member in ("subject", "runid", "id")} - {""}
            rows += [(shard(term), term, entry["seq"]) for term in sorted(terms)]
        self._index.executemany("INSERT INTO term VALUES (?, ?, ?)", rows)

    def scripts(self) -> Iterator[tuple[int, bytes]]:
        """(shard, script) in order; shards without terms are missing."""
        query = "SELECT shard, term, seq FROM term ORDER BY shard, term, seq"
        for number, rows in groupby(self._index.execute(query), key=lambda row: row[0]):
            found = {term: [row[2] for row in group][:MOST] for term, group in groupby(rows, key=lambda row: row[1])}
            yield number, f"found({json.dumps(found, separators=(',', ':'))});\n".encode()


def shard(term: str) -> int:
    """FNV-1a over UTF-8, 32 bits, folded to a byte: short enough to stand in the page's script as well."""
    value = 0x811C9DC5
    for byte in term.encode("utf-8", "surrogatepass"):
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value % SHARDS


def _listed(entry: Mapping[str, Any]) -> tuple[str, str, str, str]:
    kind, run, actor, time = (_text(entry.get(member)) for member in ("type", "runid", "actor", "time"))
    return kind, run, actor, time[:10]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
