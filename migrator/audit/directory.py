"""The published files of the audit log: tiles, entry bundles, checkpoints, `log.vkey` (c2sp.org/tlog-tiles).

1. A file is whole or not there: temporary name, fsync, rename, fsync of the folder.
2. What is written once is never written otherwise: a file that is there must have the very bytes.
   Only `checkpoint` is replaced.
3. Many files are made durable at once, by threads: each waits for the disk, not for the processor.
"""

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from migrator.audit import wal
from migrator.core import notes, tiles
from migrator.core.errors import AuditLogError
from migrator.core.notes import NOTE_BYTES, Checkpoint, NoteError
from migrator.private_files import sync_folder

T = TypeVar("T")

CHECKPOINT: Final = "checkpoint"
VKEY: Final = "log.vkey"
BUNDLE_BYTES: Final = tiles.WIDTH * (tiles.ENTRY_BYTES + 2)
_THREADS: Final = 16
_FEW: Final = 1
"""So few files are not worth a pool."""
_SIZE: Final = re.compile(r"[1-9][0-9]{0,18}\Z", re.ASCII)


class LogDirectory:
    """One log's folder. Errors of the system and files that are not as they must be are `AuditLogError`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # --- reading ---

    def read(self, name: str, *, limit: int = NOTE_BYTES) -> bytes | None:
        """A whole file; None if there is none."""
        path = self.path / name
        with wal.explained(path):
            try:
                descriptor = wal.open_regular(path, os.O_RDONLY)
            except (FileNotFoundError, NotADirectoryError):
                return None
            with os.fdopen(descriptor, "rb") as file:
                data = file.read(limit + 1)
        if len(data) > limit:
            raise AuditLogError(f"{path} is larger than such a file ever is", hint=wal.RESTORE, changed=wal.KEPT)
        return data

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first hashes of a tile: of the partial one of that width, or of the full one that came after it."""
        data = self._partial_or_full(level, index, width, limit=tiles.WIDTH * tiles.HASH_BYTES)
        if len(data) not in (width * tiles.HASH_BYTES, tiles.WIDTH * tiles.HASH_BYTES):
            raise self._damaged(tiles.tile_path(level, index, width), "does not have the length of a tile")
        return data[: width * tiles.HASH_BYTES]

    def entries(self, index: int, width: int) -> list[bytes]:
        """The first entries of a bundle, found as `tile` finds a tile."""
        name = tiles.tile_path(tiles.ENTRIES, index, width)
        try:
            entries = tiles.decode_entries(self._partial_or_full(tiles.ENTRIES, index, width, limit=BUNDLE_BYTES))
        except ValueError:
            raise self._damaged(name, "is not an entry bundle") from None
        if len(entries) not in (width, tiles.WIDTH):
            raise self._damaged(name, f"has {len(entries)} entries")
        return entries[:width]

    def checkpoint_sizes(self) -> list[int]:
        """The sizes of all checkpoints that were kept, ascending."""
        folder = self.path / "checkpoints"
        with wal.explained(folder):
            try:
                names = [path.name for path in folder.iterdir()]
            except FileNotFoundError:
                return []
        return sorted(int(name) for name in names if _SIZE.match(name))

    def _partial_or_full(self, level: int | str, index: int, width: int, *, limit: int) -> bytes:
        name = tiles.tile_path(level, index, width)
        data = self.read(name, limit=limit)
        if data is None and width < tiles.WIDTH:
            data = self.read(tiles.tile_path(level, index), limit=limit)
        if data is None:
            raise self._damaged(name, "is missing")
        return data

    def _damaged(self, name: str, finding: str) -> AuditLogError:
        return AuditLogError(f"{self.path / name} {finding}", hint=wal.RESTORE, changed=wal.KEPT)

    # --- writing ---

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write files that never change; returns when they are durable. One that is there already must be the same."""
        new = {name: data for name, data in files.items() if not self._is_there(name, data)}
        with wal.explained(self.path):
            folders = {(self.path / name).parent for name in new}
            for folder in list(folders):
                folders |= _make(folder)
            self._write_all(new)
            _each(sync_folder, sorted(folders, reverse=True))  # a folder before the one that names it

    def replace_checkpoint(self, note: bytes) -> None:
        """Let `checkpoint` be this one."""
        with wal.explained(self.path):
            self._write_all({CHECKPOINT: note})
            sync_folder(self.path)

    def drop_partials(self, full: list[str]) -> None:
        """Remove partial tiles and bundles whose full one is there (c2sp.org/tlog-tiles allows it)."""
        for name in full:
            shutil.rmtree(f"{self.path / name}.p", ignore_errors=True)  # nothing rests on it

    def _is_there(self, name: str, data: bytes) -> bool:
        found = self.read(name, limit=max(len(data), NOTE_BYTES, BUNDLE_BYTES))
        if found is not None and found != data:
            raise AuditLogError(
                f"{self.path / name} has other bytes than this log: another log's, or altered",
                hint=wal.RESTORE,
                changed=wal.KEPT,
            )
        return found is not None

    def _write_all(self, files: Mapping[str, bytes]) -> None:
        """Under temporary names, durable, then renamed: nothing has its name before all are on the disk."""
        paths = {self.path / name: data for name, data in files.items()}
        _each(_write, list(paths.items()))
        for path in paths:
            _temporary(path).replace(path)


def open_checkpoint(note: bytes, key: bytes, origin: str, where: str) -> Checkpoint:
    """A checkpoint of this log, verified by the text of its `log.vkey`; `AuditLogError` says what is wrong."""
    try:
        opened = notes.open_note(note, [key.decode("ascii")])
        checkpoint = Checkpoint.parse(opened.body)
    except (NoteError, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, NoteError) else f"{VKEY} is not text"
        raise AuditLogError(
            f"{where}: a checkpoint does not verify: {reason}", hint=wal.RESTORE, changed=wal.KEPT
        ) from None
    if checkpoint.origin != origin:
        raise AuditLogError(
            f"{where}: a checkpoint is of the log {checkpoint.origin!r}, not {origin!r}",
            hint="check audit.directory and audit.origin",
            changed=wal.KEPT,
        )
    return checkpoint


def _each(act: Callable[[T], object], items: Sequence[T]) -> None:
    """Do something with each of them, at the same time where they are many."""
    if len(items) <= _FEW:
        for item in items:
            act(item)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(act, items))


def _make(folder: Path) -> set[Path]:
    """Make a folder of mode 0700, and what is missing above it; returns those that got a new name in them."""
    if folder.is_dir():
        return set()
    touched = _make(folder.parent) | {folder.parent}
    folder.mkdir(mode=0o700)
    return touched


def _write(item: tuple[Path, bytes]) -> None:
    path, data = item
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(_temporary(path), flags, 0o600)
    try:
        written = 0
        while written < len(data):
            written += os.write(descriptor, memoryview(data)[written:])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary(path: Path) -> Path:
    """One name for each file: what a killed writer left is overwritten by the next."""
    return path.with_name(f".{path.name}.new")
