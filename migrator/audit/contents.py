"""The part of `audit verify` that is about entries: each against its leaf hash, its line, its event, the one before it.

Memory does not grow with the log: one bundle, one tile a level. An entry that is byte for byte what its row of the
database makes is not parsed, which is four times as fast.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from migrator.audit.entries import Continuity, entry_line, parse, same_event
from migrator.audit.findings import FindingKind, Verification
from migrator.audit.log import AuditLog
from migrator.core import tiles
from migrator.core.errors import AuditLogError
from migrator.core.progress import Progress
from migrator.core.tiles import HASH_BYTES, WIDTH, ReadTile
from migrator.database import tables


class Contents:
    """One pass over the entries of a log. `read`: gives a tile, whatever is in it."""

    def __init__(self, log: AuditLog, found: Verification, read: ReadTile) -> None:
        self._log = log
        self._found = found
        self._read = read
        self._continuity = Continuity()
        self._proven: dict[int, tuple[int, bytes]] = {}
        """The full tile of each level, from 1 up, that was last found to hang on the root, with its index."""

    def compare(self, progress: Progress, written_size: int, first: int, end: int) -> None:
        """Look at the entries `first` to `end`. `written_size`: acknowledged lines, of which the tail is not signed."""
        signed_size = self._found.size
        lines = islice(self._lines(), first, None)
        with self._log.events(first, end) as events:
            at = first
            while at < end:
                stop = min(end, (at // WIDTH + 1) * WIDTH)
                signed = self._bundle(at, min(stop, signed_size)) if at < signed_size else []
                written = list(islice(lines, min(stop, written_size) - at)) if at < written_size else []
                rows = list(islice(events, len(written)))
                self._compare_lines(at, signed, written)
                if at + len(written) < min(stop, written_size):
                    self._found.add(FindingKind.LINES, f"wal.jsonl ends before line {stop}", at + len(written))
                self._compare_events(at, written or signed, rows)
                self._found.checked["leaves"] += stop - at
                progress.advance(stop - at)
                at = stop

    def _lines(self) -> Iterator[bytes]:
        """The acknowledged lines; where the file is cut off, `AuditLog.check` has said so."""
        try:
            yield from self._log.lines()
        except AuditLogError as error:
            self._found.add(FindingKind.LINES, error.message)

    def _bundle(self, first: int, end: int) -> list[bytes]:
        """Entries of one bundle, once they and their tile were compared; none where there is nothing to read."""
        index = first // WIDTH
        width = min(WIDTH, self._found.size - index * WIDTH)
        try:
            hashes = self._proven_tile(0, index, width)
            self._found.checked["tiles"] += 1
            entries = self._log.directory.entries(index, width)
            self._found.checked["bundles"] += 1
        except AuditLogError as error:
            self._found.add(FindingKind.TILE, error.message, first)
            return []
        if tiles.leaf_hashes(entries) != hashes:
            for number, entry in enumerate(entries, start=index * WIDTH):
                place = (number % WIDTH) * HASH_BYTES
                if tiles.leaf_hashes([entry]) != hashes[place : place + HASH_BYTES]:
                    self._found.add(FindingKind.BUNDLE, f"entry {number} is not the one with that leaf hash", number)
        return entries[first % WIDTH : end - index * WIDTH]

    def _proven_tile(self, level: int, index: int, width: int) -> bytes:
        """A tile; if it is full, compared with the hash that the tile above has for it."""
        known = self._proven.get(level)
        if known is not None and known[0] == index and len(known[1]) == width * HASH_BYTES:
            return known[1]
        hashes = self._read(level, index, width)
        above = self._found.size >> tiles.LEVEL_BITS * (level + 1)
        if width == WIDTH:
            parent, place = divmod(index, WIDTH)
            expected = self._proven_tile(level + 1, parent, min(WIDTH, above - parent * WIDTH))
            if tiles.subtree_root(hashes) != expected[place * HASH_BYTES : (place + 1) * HASH_BYTES]:
                name = tiles.tile_path(level, index)
                self._found.add(FindingKind.TILE, f"{name} does not hash to what the tile above it says", index * WIDTH)
        if level:
            self._found.checked["tiles"] += 1
            self._proven[level] = (index, hashes)
        return hashes

    def _compare_lines(self, first: int, signed: list[bytes], written: list[bytes]) -> None:
        if signed == written[: len(signed)]:
            return
        for number, entry in enumerate(signed, start=first):
            if number - first >= len(written) or written[number - first] != entry:
                self._found.add(FindingKind.LINES, f"line {number + 1} of wal.jsonl is not entry {number}", number)

    def _compare_events(self, first: int, lines: Sequence[bytes], rows: Sequence[Mapping[Any, Any]]) -> None:
        silence = self._continuity.silence
        for number, line in enumerate(lines, start=first):
            row = rows[number - first] if number - first < len(rows) else None
            if row is not None and self._is_made_of(line, row, number):
                said = silence(row, row["run_id"])
            else:
                said = self._compare_event(number, line, row)
            if said is not None:
                self._found.add(FindingKind.SILENCE, said, number)

    def _is_made_of(self, line: bytes, row: Mapping[Any, Any], number: int) -> bool:
        """Whether an entry is, byte for byte, what the row with that number makes."""
        try:
            return number == row["seq"] and line == entry_line(self._log.source, row, number, row["data"])
        except (TypeError, ValueError):  # whatever somebody made of the row
            return False

    def _compare_event(self, number: int, line: bytes, row: Mapping[Any, Any] | None) -> str | None:
        """The same for one that differs: what is said may be the same. Returns what to say of the time before it."""
        entry = parse(line)
        if entry is None or entry.get("seq") != number:
            self._found.add(FindingKind.SEQUENCE, f"entry {number} is no event with that number", number)
            return None
        if row is None or not same_event(entry, row, number):
            message = f"entry {number} is not the event {number} of {tables.outbox.name}"
            self._found.add(FindingKind.DATABASE, message, number)
        return self._continuity.silence(entry, entry.get("runid"))
