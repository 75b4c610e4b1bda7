"""Finds what clients handed in, in files and folders that an operator names.

1. A path that is given is a file of a known suffix or a folder; anything else is a `UsageError` before the first file
   is taken.
2. Folders are walked in bytewise order of names, with what lies below them, however deep, so that every import goes
   alike. Other files are ignored, and so are symbolic links: a link in a folder that clients write to may point
   anywhere.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from migrator.core.errors import UsageError


def files(paths: Sequence[Path], suffixes: tuple[str, ...], *, what: str, hint: str) -> Iterator[Path]:
    """Every file with one of the suffixes under the paths given; `what` names the files in an error."""
    for path in paths:
        _check_given(path, suffixes, what, hint)
    return (file for path in paths for file in _below(path, suffixes))


def unreadable(path: Path, error: OSError | ValueError) -> UsageError:
    """What to say about a path that the operating system does not give us."""
    reason = error.strerror if isinstance(error, OSError) else "not a path"
    return UsageError(f"{path} can't be read: {reason}", hint="check the path and its permissions")


def _check_given(path: Path, suffixes: tuple[str, ...], what: str, hint: str) -> None:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if not stat.S_ISDIR(mode) and not (stat.S_ISREG(mode) and path.name.endswith(suffixes)):
        raise UsageError(f"{path} holds no {what}", hint=hint)


def _below(path: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    waiting = [path]
    while waiting:
        found = waiting.pop()
        if found is path or found.is_dir():
            waiting += reversed(_entries(found, suffixes))
        else:
            yield found


def _entries(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """What in a folder is worth looking at: folders, and regular files of the right names."""
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False)
                or (entry.is_file(follow_symlinks=False) and entry.name.endswith(suffixes))
            ]
    except OSError as error:
        raise unreadable(folder, error) from None
    return [folder / name for name in sorted(names, key=os.fsencode)]
