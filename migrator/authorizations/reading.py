"""Finds the texts of records in files and folders, without ever holding more than one record of a file.

1. A path that an operator gives is a `.jws` file (one record), a `.jsonl` file (one a line) or a folder.
2. Folders are walked in order of names, with what lies below them. Other files in a folder are ignored, so are symbolic
   links: a link in a folder that clients write to may point anywhere.
3. A text over the limit is told as such and skipped unread, however long it is.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from migrator.core.errors import UsageError
from migrator.core.limits import KIB, LIMITS

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
    for path in paths:
        _check_given(path)
    return (found for path in paths for file in _files(path) for found in _read(file))


def _check_given(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if stat.S_ISDIR(mode):
        return
    if not stat.S_ISREG(mode) or path.suffix not in (ONE_RECORD, ONE_A_LINE):
        raise UsageError(
            f"{path} holds no authorisations",
            hint=f"give {ONE_RECORD} files (one record), {ONE_A_LINE} files (one a line) or folders of these",
        )


def _files(path: Path) -> Iterator[Path]:
    """The path itself, or the files below a folder; names in bytewise order, so that every import goes alike."""
    if not path.is_dir():
        yield path
        return
    waiting = [path]
    while waiting:
        found = waiting.pop()
        if found is path or found.is_dir():
            waiting += reversed(_entries(found))
        else:
            yield found


def _entries(folder: Path) -> list[Path]:
    """What in a folder is worth looking at: folders, and regular files of the right names."""
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False)
                or (entry.is_file(follow_symlinks=False) and entry.name.endswith((ONE_RECORD, ONE_A_LINE)))
            ]
    except OSError as error:
        raise _unreadable(folder, error) from None
    return [folder / name for name in sorted(names, key=os.fsencode)]


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
        raise _unreadable(path, error) from None


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


def _unreadable(path: Path, error: OSError | ValueError) -> UsageError:
    reason = error.strerror if isinstance(error, OSError) else "not a path"
    return UsageError(f"{path} can't be read: {reason}", hint="check the path and its permissions")
