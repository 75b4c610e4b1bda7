"""Finds archives in files and folders.

1. A path that an operator gives is an archive by its name (`*.export.tar`) or a folder; anything else is a `UsageError`
   before the first archive is taken.
2. Folders are walked in bytewise order of names, with what lies below them, however deep. Other files are ignored, and
   so are symbolic links: a link in a folder that clients write to may point anywhere.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from migrator.core.errors import UsageError

SUFFIX: Final = ".export.tar"


def archives(paths: Sequence[Path]) -> Iterator[Path]:
    """Every archive under the paths given, in order."""
    for path in paths:
        _check_given(path)
    return (archive for path in paths for archive in _archives(path))


def unreadable(path: Path, error: OSError | ValueError) -> UsageError:
    """What to say about a path that the operating system does not give us."""
    reason = error.strerror if isinstance(error, OSError) else "not a path"
    return UsageError(f"{path} can't be read: {reason}", hint="check the path and its permissions")


def _check_given(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if not stat.S_ISDIR(mode) and not (stat.S_ISREG(mode) and path.name.endswith(SUFFIX)):
        raise UsageError(f"{path} is no export", hint=f"give *{SUFFIX} files or folders of these")


def _archives(path: Path) -> Iterator[Path]:
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
    """What in a folder is worth looking at: folders, and regular files of the right name."""
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False)
                or (entry.is_file(follow_symlinks=False) and entry.name.endswith(SUFFIX))
            ]
    except OSError as error:
        raise unreadable(folder, error) from None
    return [folder / name for name in sorted(names, key=os.fsencode)]
