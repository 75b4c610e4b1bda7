"""`audit verify`: the whole log, or a stretch of it, against everything that says something about it.

1. `log.vkey` is the key that signs this log. The newest checkpoint is signed by it, and its root is that of the tiles'
   right edge.
2. Every full tile hashes to what the tile above it has for it, so all of them hang on that root; every other file of
   the folder is one that this tree has, or had when it was smaller.
3. Every entry of every bundle hashes to its leaf, is the line of `wal.jsonl` and the event of the database, and has
   its index as `seq`; the database has numbered no others.
4. Every kept checkpoint is signed, and is the root of the first `size` leaves of this very tree: all are consistent.
   All that the database remembers are kept, no two are more than `EVERY` leaves apart, and the newest is among them.
5. A checkpoint that somebody kept elsewhere is one of this tree.

Nothing stops at the first finding. Memory does not grow with the log: one bundle, one tile a level, 100 findings. What
could not be checked is said: a log and its database that were set back together agree with each other.

Measured: 97,000 entries a second of processor time, all of it against the database, for a million; 73 MB.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from migrator.audit import wal
from migrator.audit.anchors.asking import Anchors
from migrator.audit.anchors.verifying import verify_anchors
from migrator.audit.contents import Contents
from migrator.audit.directory import CHECKPOINT, VKEY, open_checkpoint
from migrator.audit.findings import FindingKind, Verification
from migrator.audit.log import AuditLog
from migrator.audit.remembered import LogState
from migrator.audit.sealing import EVERY
from migrator.audit.strays import find_strays
from migrator.core import proofs
from migrator.core.errors import AuditLogError, MigratorError, UsageError
from migrator.core.merkle import EMPTY_ROOT
from migrator.core.notes import NOTE_BYTES, Checkpoint
from migrator.core.progress import Progress
from migrator.core.tiles import TileHashes
from migrator.database import tables


def verify(
    log: AuditLog,
    progress: Progress,
    *,
    first: int = 0,
    end: int | None = None,
    trusted: bytes | None = None,
    anchors: Anchors | None = None,
) -> Verification:
    """Verify leaves `first` to `end` (all of them by default) and the checkpoints that end there.

    `trusted`: a signed checkpoint that was kept elsewhere. `anchors`: those whose answers are verified as well. Raises
    `AuditLogError` only where there is no log at all.
    """
    found = _Verifier(log).run(progress, first, end, trusted)
    if anchors is not None:
        verify_anchors(anchors, log.directory, found)
    return found


def read_trusted(path: Path) -> bytes:
    """The file of a checkpoint that was kept elsewhere; `UsageError` if it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(NOTE_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"{path} can't be read: {error.strerror}", hint="name the file with the checkpoint that you kept"
        ) from None


class _Verifier:
    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._directory = log.directory
        self._found = Verification()
        self._key: bytes | None = None
        self._read = lru_cache(maxsize=64)(self._directory.tile)  # 8 KiB each

    def run(self, progress: Progress, first: int, end: int | None, trusted: bytes | None) -> Verification:
        """All of it."""
        found = self._found
        with wal.locked(self._log.path, read_only=True):  # between two writes of the sequencer's
            state = self._log.state()
            with self._noted(FindingKind.CHECKPOINT):
                head = self._head(state)
                if head is not None:
                    found.size, found.root = head.size, head.root
        with self._noted(FindingKind.DATABASE):
            self._log.check(own_key=False)
        self._own_key()
        size = max(state.size, found.size)
        stop = size if end is None else min(end, size)
        progress.phase("verifying", total=max(0, stop - first), unit="entries")
        Contents(self._log, found, self._read).compare(progress, state.size, first, stop)
        if phantoms := self._log.phantoms(state.size):
            message = f"{phantoms} events of {tables.outbox.name} have numbers that no entry has: kept out of the log"
            found.add(FindingKind.DATABASE, message)
        self._checkpoints(state, first, stop, complete=end is None)
        if first == 0 and end is None:
            find_strays(self._directory, found, size)
        else:
            found.not_checked.append(f"entries but those from {first} to {stop}")
        self._trusted(trusted)
        if state.size > found.size:
            found.checked["tail"] = state.size - found.size
            found.add(FindingKind.UNSIGNED_TAIL, f"{state.size - found.size} entries wait for a checkpoint", found.size)
        return found

    @contextmanager
    def _noted(self, kind: FindingKind, at: int | None = None) -> Iterator[None]:
        """What is wrong is a finding, and no reason to stop."""
        try:
            yield
        except AuditLogError as error:
            self._found.add(kind, error.message, at)

    def _own_key(self) -> None:
        """Who can write everything but the signing key could else put a log of their own here, under their own key."""
        if self._key is None:
            return
        try:
            if not self._log.has_own_key():
                message = f"{VKEY} is not that of audit.signing_key: another key has signed this log"
                self._found.add(FindingKind.KEY, message)
        except MigratorError as error:
            why = f"that {VKEY} is that of audit.signing_key, which can't be used here: {error.message}"
            self._found.not_checked.append(why)

    # --- checkpoints ---

    def _head(self, state: LogState) -> Checkpoint | None:
        with self._noted(FindingKind.KEY):
            self._key = self._directory.read(VKEY)
            if self._key is None and (state.size or self._directory.read(CHECKPOINT) is not None):
                self._found.add(FindingKind.KEY, f"{VKEY} is missing")
        note = self._directory.read(CHECKPOINT)
        if note is None:
            if state.size or self._directory.checkpoint_sizes():
                self._found.add(FindingKind.CHECKPOINT, "there is no checkpoint")
            return None
        head = self._opened(note, FindingKind.CHECKPOINT)
        if head is not None:
            self._compare_root(head, FindingKind.CHECKPOINT)
        return head

    def _opened(self, note: bytes, kind: FindingKind, at: int | None = None) -> Checkpoint | None:
        if self._key is None:
            return None
        try:
            return open_checkpoint(note, self._key, self._log.origin, str(self._directory.path))
        except AuditLogError as error:
            self._found.add(kind, error.message, at)
            return None

    def _compare_root(self, checkpoint: Checkpoint, kind: FindingKind) -> None:
        size = checkpoint.size
        try:
            root = proofs.tree_hash(TileHashes(self._read, size), size) if size else EMPTY_ROOT
        except AuditLogError as error:
            self._found.add(FindingKind.TILE, error.message, size)
            return
        if root != checkpoint.root:
            self._found.add(kind, f"the first {size} leaves don't have the root of the checkpoint over them", size)

    def _checkpoints(self, state: LogState, first: int, end: int, *, complete: bool) -> None:
        before = first
        sizes = self._directory.checkpoint_sizes()
        for size in sizes:
            if size > max(self._found.size, state.size):
                message = f"a checkpoint over {size} entries is kept, the log has {state.size}"
                self._found.add(FindingKind.CHECKPOINT, message, size)
            elif first < size <= end:
                self._found.checkpoints += 1
                self._compare_distance(before, size)
                before = size
                with self._noted(FindingKind.CHECKPOINT, size):
                    self._compare_kept(size)
        if complete and before < self._found.size:
            self._found.add(FindingKind.CHECKPOINT, f"checkpoints/{self._found.size} is missing", self._found.size)
        self._compare_remembered(state, set(sizes), first, end)

    def _compare_kept(self, size: int) -> None:
        note = self._directory.read(f"checkpoints/{size}") or b""
        checkpoint = self._opened(note, FindingKind.CHECKPOINT, size)
        if checkpoint is not None and checkpoint.size != size:
            message = f"checkpoints/{size} covers {checkpoint.size} entries"
            self._found.add(FindingKind.CHECKPOINT, message, size)
        elif checkpoint is not None and size <= self._found.size:
            self._compare_root(checkpoint, FindingKind.CHECKPOINT)

    def _compare_remembered(self, state: LogState, kept: set[int], first: int, end: int) -> None:
        """What the database remembers to have been signed is kept, and the other way round from its first memory on."""
        hashes = TileHashes(self._read, self._found.size)
        recorded = set()
        with self._log.signed(first, end) as remembered:
            for size, root in remembered:
                recorded.add(size)
                if size not in kept:
                    message = f"checkpoints/{size} is missing, which the database remembers as signed"
                    self._found.add(FindingKind.CHECKPOINT, message, size)
                with self._noted(FindingKind.TILE, size):
                    if size > self._found.size or proofs.tree_hash(hashes, size).hex() != root:
                        message = f"the database remembers another root of the checkpoint over {size} entries"
                        self._found.add(FindingKind.DATABASE, message, size)
        for size in sorted(kept - recorded):
            if first < size <= min(end, state.head.size) and size > min(recorded, default=0):
                message = f"the database does not remember the checkpoint over {size} entries"
                self._found.add(FindingKind.DATABASE, message, size)

    def _compare_distance(self, before: int, size: int) -> None:
        if size - before > EVERY:
            message = f"no checkpoint is kept between {before} and {size} entries, though one was signed"
            self._found.add(FindingKind.CHECKPOINT, message, size)

    def _trusted(self, note: bytes | None) -> None:
        if note is None:
            self._found.not_checked.append(
                "that the log and its database were not set back together: --trusted-checkpoint FILE does, with one "
                "that was kept elsewhere, or a witness: `migrator audit anchor`"
            )
            return
        kind = FindingKind.TRUSTED_CHECKPOINT
        checkpoint = self._opened(note, kind)
        if checkpoint is None:
            return
        if checkpoint.size > self._found.size:
            message = (
                f"the log has {self._found.size} signed entries, the trusted checkpoint {checkpoint.size}: cut off"
            )
            self._found.add(kind, message, checkpoint.size)
        else:
            self._compare_root(checkpoint, kind)
