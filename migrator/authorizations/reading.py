"""Finds the texts of records in `.jws` files (one record), `.jsonl` files (one a line) and folders of these.

Never holds more than one record of a file. A text over the limit is told as such and skipped unread, however long.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from migrator.core.limits import KIB, LIMITS
from migrator.handed_in import files, unreadable

ONE_RECORD: Final = ".jws"
ONE_A_LINE: Final = ".jsonl"
_BLANK: Final = b" \t\r\n"
_SKIP_BYTES: Final = 64 * KIB


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may be a record. `text` None: over the limit, not read. Bytes that are no ASCII make text that is none."""

    file: str
    line: int | None
    text: str | None


def candidates(paths: Sequence[Path]) -> Iterator[Candidate]:
    """Every candidate under the paths given, in order; `UsageError` before the first if a path makes no sense."""
    hint = f"give {ONE_RECORD} files (one record), {ONE_A_LINE} files (one a line) or folders of these"
    found = files(paths, (ONE_RECORD, ONE_A_LINE), what="authorisations", hint=hint)
    return (candidate for file in found for candidate in _read(file))


def _read(path: Path) -> Iterator[Candidate]:
    name = os.fsencode(path).decode("utf-8", "backslashreplace")
    try:
        with path.open("rb") as file:
            if path.suffix == ONE_A_LINE:
                yield from _lines(file, name)
            else:
                data = file.read(LIMITS.authorization_chars + len(b"\r\n") + 1)
                yield Candidate(name, None, _text(data))
    except OSError as error:
        raise unreadable(path, error) from None


def _lines(file: BinaryIO, name: str) -> Iterator[Candidate]:
    longest = LIMITS.authorization_chars + len(b"\r\n")
    number = 0
    while line := file.readline(longest + 1):
        number += 1
        whole = line.endswith(b"\n") or len(line) <= longest
        if not whole:
            _skip_line(file)
            yield Candidate(name, number, None)
        elif line.strip(_BLANK):
            yield Candidate(name, number, _text(line))


def _skip_line(file: BinaryIO) -> None:
    """Read on to the end of a line of any length."""
    while piece := file.readline(_SKIP_BYTES):
        if piece.endswith(b"\n"):
            return


def _text(data: bytes) -> str | None:
    text = data.removesuffix(b"\n").removesuffix(b"\r")
    return None if len(text) > LIMITS.authorization_chars else text.decode("ascii", "replace")
