"""The part of `audit verify` that is about the folder: every file in it is one that this very tree has.

Whoever reads an older checkpoint may be given a partial tile of its size: it must be a part of the tile of now. A link
leads out of the folder. What has no name of the log's is noted. Names that begin with a dot are what a killed writer
left, and nobody's to read.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from migrator.audit.directory import BUNDLE_BYTES, LogDirectory
from migrator.audit.findings import FindingKind, Verification
from migrator.core import tiles
from migrator.core.errors import AuditLogError
from migrator.core.tiles import HASH_BYTES, LEVEL_BITS, WIDTH

_TILE: Final = re.compile(
    r"tile/(?P<level>entries|[0-9]|[1-5][0-9]|6[0-3])(?P<index>(/x[0-9]{3}){0,6}/[0-9]{3})(\.p/(?P<width>[1-9][0-9]{0,2}))?\Z",
    re.ASCII,
)
_CHECKPOINT: Final = re.compile(r"checkpoints/[1-9][0-9]{0,18}(\.witness|\.tsr)?\Z", re.ASCII)
_FOLDERS: Final = ("checkpoints", "tile")


def find_strays(directory: LogDirectory, found: Verification, written_size: int) -> None:
    """Look at every name below the log's two folders. `written_size`: acknowledged lines, which may be in tiles."""
    for name, is_regular in _names(directory.path):
        match = _TILE.match(name)
        if not is_regular:
            found.add(FindingKind.FILE, f"{name} is no regular file, or a link")
        elif match is None and not _CHECKPOINT.match(name):
            found.add(FindingKind.STRAY, f"{name} is no file of the log")
        elif match is not None:
            found.checked["files"] += 1
            _compare_tile(directory, found, written_size, name, match)


def _compare_tile(
    directory: LogDirectory, found: Verification, written_size: int, name: str, match: re.Match[str]
) -> None:
    level = match["level"] if match["level"] == tiles.ENTRIES else int(match["level"])
    index = int(re.sub(r"[/x]", "", match["index"]))
    width = WIDTH if match["width"] is None else int(match["width"])
    if tiles.tile_path(level, index, width) != name:
        found.add(FindingKind.STRAY, f"{name} is no file of the log")
        return
    height = 0 if isinstance(level, str) else LEVEL_BITS * level
    begin = index * WIDTH
    if begin + width > written_size >> height:
        found.add(FindingKind.FILE, f"{name} has more than the log", begin << height)
        return
    there = min(WIDTH, (found.size >> height) - begin)
    if width >= min(there, WIDTH):
        return  # the tile of now, which was compared, or what a crash left of the next one
    try:
        same = _part(directory, level, index, width, width) == _part(directory, level, index, there, width)
    except AuditLogError as error:
        found.add(FindingKind.FILE, error.message, begin << height)
        return
    if not same:
        found.add(FindingKind.FILE, f"{name} is no part of the tile that came after it", begin << height)


def _part(directory: LogDirectory, level: int | str, index: int, width: int, wanted: int) -> list[bytes]:
    """The first hashes or entries of a tile or bundle of exactly that width."""
    name = tiles.tile_path(level, index, width)
    data = directory.read(name, limit=BUNDLE_BYTES) or b""
    try:
        parts = (
            tiles.decode_entries(data)
            if isinstance(level, str)
            else [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
        )
    except ValueError:
        parts = []
    if len(parts) != width:
        raise AuditLogError(f"{name} does not have {width} of what it should have")
    return parts[:wanted]


def _names(path: Path) -> Iterator[tuple[str, bool]]:
    """Every name below the two folders, and whether it is a regular file; of folders those that are links."""
    waiting = list(_FOLDERS)
    while waiting:
        folder = waiting.pop()
        if (path / folder).is_symlink():
            yield folder, False
            continue
        try:
            entries = sorted(os.scandir(path / folder), key=lambda entry: entry.name)
        except OSError:  # what is read from it is missing, and found to be
            continue
        for entry in entries:
            name = f"{folder}/{entry.name}"
            if entry.is_dir(follow_symlinks=False) and folder != "checkpoints":
                waiting.append(name)
            elif not entry.name.startswith("."):
                yield name, entry.is_file(follow_symlinks=False)
