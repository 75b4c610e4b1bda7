"""The write-ahead file of the audit log: JSON lines that are only ever appended to, under one lock at a time.

The lock is on the file itself, so that the directory can be put on a web server as it is. Exceptions of the system
become `AuditLogError` here.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migrator.core import tiles
from migrator.core.errors import AuditLogError
from migrator.private_files import sync_folder

KEPT = "what was committed before is kept; its events wait in the database for the log"
RESTORE = (
    "keep everything as it is; bring back the log and the database of the same moment from a backup, or find out who "
    "changed the file: nothing is repaired by itself"
)
_BLOCK = 64 * 1024
_LONGEST = 16 * 1024 * 1024
_AHEAD = 1024 * 1024
"""Bytes that are read together: a read lets other threads have the interpreter, and has to wait to get it back."""
_LINE_BYTES = tiles.ENTRY_BYTES + 1
"""An acknowledged line with its newline has at most so many."""


class Wal:
    """The open, locked file. Offsets and sizes are bytes; a line's newline is not part of what is hashed."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    def size(self) -> int:
        """Bytes in the file, acknowledged or not."""
        return os.fstat(self._descriptor).st_size

    def line_before(self, end: int) -> bytes | None:
        """The line that ends at an offset, without its newline; None if no line ends there, or a monstrous one."""
        if end < 1 or os.pread(self._descriptor, 1, end - 1) != b"\n":
            return None
        blocks: list[bytes] = []
        position = end - 1
        while position > 0:
            if end - position > _LINE_BYTES:
                return None
            start = max(0, position - _BLOCK)
            block = os.pread(self._descriptor, position - start, start)
            _, newline, rest = block.rpartition(b"\n")
            blocks.append(rest if newline else block)
            if newline:
                break
            position = start
        return b"".join(reversed(blocks))

    def lines(self, start: int) -> Iterator[bytes]:
        """Everything from an offset on, a line at a time; a torn or monstrous one lacks its newline."""
        with os.fdopen(os.dup(self._descriptor), "rb", buffering=_AHEAD) as file:
            file.seek(start)
            while line := file.readline(_LONGEST):
                yield line

    def append(self, data: bytes) -> None:
        """Write at the end. What a failed write left is cut off again; `sync` makes the rest durable."""
        before = self.size()
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._descriptor, memoryview(data)[written:], before + written)
        except OSError:
            os.ftruncate(self._descriptor, before)
            raise

    def cut(self, size: int) -> None:
        """Drop what stands beyond an offset."""
        os.ftruncate(self._descriptor, size)
        self.sync()

    def sync(self) -> None:
        """Return when the file would survive a power cut."""
        os.fsync(self._descriptor)


@contextmanager
def locked(path: Path, *, read_only: bool = False) -> Iterator[Wal]:
    """The file, for this process alone; waits for whoever has it. It must exist."""
    with explained(path):
        descriptor = _lock(path, os.O_RDONLY if read_only else os.O_RDWR)
        try:
            yield Wal(descriptor, path)
        finally:
            # Whoever keeps an error keeps its frames, and with them a reader's duplicate, which would hold the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def make(path: Path) -> bool:
    """Make an empty file of mode 0600 and its folder of mode 0700; False, and nothing done, if the file is there."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return False
        sync_folder(path.parent)
        return True


def read_lines(path: Path, end: int) -> Iterator[bytes]:
    """The lines up to an offset that the log has acknowledged, without their newlines; needs no lock."""
    with explained(path), os.fdopen(open_regular(path, os.O_RDONLY), "rb", buffering=_AHEAD) as file:
        read = 0
        while read < end:
            line = file.readline(_LINE_BYTES)
            read += len(line)
            if not line.endswith(b"\n") or read > end:
                raise AuditLogError(f"{path} was cut or altered at byte {read}", hint="restore it from a backup")
            yield line[:-1]


def _lock(path: Path, flags: int) -> int:
    """Open and lock; once more if the file was replaced while we waited for the lock."""
    while True:
        descriptor = open_regular(path, flags)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        ours, there = os.fstat(descriptor), path.lstat()
        if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino):
            return descriptor
        os.close(descriptor)


def open_regular(path: Path, flags: int) -> int:
    """Open what is a file and no link, pipe or device. Raises `OSError`, and `AuditLogError` for what is neither."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise AuditLogError(f"{path} is not a regular file", changed=KEPT)
    return descriptor


def differs(path: Path, finding: str) -> AuditLogError:
    """The log and what the database remembers of it don't fit together."""
    return AuditLogError(
        f"the audit log {path} is not the one that the database remembers: {finding}",
        hint="one of the two is not this campaign's, or was restored from a backup: keep both as they are, and "
        "bring back the log and the database of the same moment; nothing is repaired by itself",
        changed=KEPT,
    )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of the system into `AuditLogError`."""
    try:
        yield
    except FileNotFoundError:
        raise AuditLogError(
            f"the audit log is missing: there is no {path}",
            hint="check audit.directory; bring the directory back from a backup, `migrator init` makes a new log only",
            changed=KEPT,
        ) from None
    except OSError as error:
        raise AuditLogError(
            f"the audit log can't be read or written: {path}: {error.strerror}",
            hint="check free space and the permissions of audit.directory; then go on",
            changed=KEPT,
        ) from None
