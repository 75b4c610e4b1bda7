"""From lines to evidence: turns acknowledged lines into tiles and bundles, and signs checkpoints over them.

1. Everything is made from acknowledged lines of the WAL behind the last recorded checkpoint, in normal work as after a
   crash: the same lines give the same files, so that whatever a crash left is completed or found there already.
2. Order: tiles and bundles durable; `checkpoints/<size>`; `checkpoint`; then the database is told (by the caller).
   Hence no checkpoint covers what the database does not know, nor is the database ahead of `checkpoint`.
3. The tree that is signed grows from the tiles of the last checkpoint, whose root must be the recorded one: what is
   signed extends what was signed. A checkpoint of a size that was signed before must be the same; those that were
   signed and not recorded, because of a crash, are made and recorded again.
4. No two checkpoints are more than `EVERY` leaves apart. In bulk they fall on the edges of tiles, where no partial
   tile of leaves is needed, and up to `GROUP` of them share one trip to the disk.

Measured on 2 cores (Xeon 2.5 GHz) with five times as much other work as they can do, lines of 590 bytes from the WAL to
signed checkpoints: 133,000 leaves a second of processor time for a million of them, in 89 MB; with nothing else to do
153,000 by the clock (300,000 of them). A million leaves are 9,171 files, 1,302 checkpoints among them.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from migrator.audit import wal
from migrator.audit.directory import CHECKPOINT, VKEY, LogDirectory, open_checkpoint
from migrator.audit.signing import LogSigner
from migrator.core import proofs, tiles
from migrator.core.errors import AuditLogError
from migrator.core.merkle import Frontier, leaf_hash
from migrator.core.notes import Checkpoint
from migrator.core.tiles import GrowingTree, TileHashes

EVERY: Final = 1000
"""Most leaves between two checkpoints (formats, section 7)."""
GROUP: Final = 16
"""Checkpoints that are made durable together; bounds the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last checkpoint as the database remembers it: leaves, root in hex, and where the WAL had come to."""

    size: int = 0
    root: str = ""
    wal_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Checkpoints that are published and not recorded yet, the smallest first; `head` is the last of them."""

    head: Head
    checkpoints: tuple[Checkpoint, ...]


@dataclass(slots=True)
class _Group:
    """Checkpoints that go to the disk together, the files that they need, the full ones among them, where they end."""

    checkpoints: list[Checkpoint] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    full: list[str] = field(default_factory=list)
    head: Head = field(default_factory=Head)

    def needed(self) -> dict[str, bytes]:
        """The files without the partial ones whose full one is among them."""
        done = {f"{name}.p" for name in self.full}
        return {name: data for name, data in self.files.items() if name.rpartition("/")[0] not in done}


class Sealer:
    """Makes and guards what is signed of one log. To be used under the WAL's lock."""

    def __init__(self, directory: LogDirectory, origin: str, signer: LogSigner) -> None:
        self._directory = directory
        self._origin = origin
        self._signer = signer
        self._tree: GrowingTree | None = None
        self._published: Checkpoint | None = None
        self._note: bytes | None = None
        self._unrecorded: list[int] = []

    def publish_key(self, head: Head) -> None:
        """Write `log.vkey` for a log that has signed nothing yet; otherwise it must be there and be our key's."""
        if head.size == 0 and self._directory.read(VKEY) is None and self._directory.read(CHECKPOINT) is None:
            self._directory.put({VKEY: self._own_key()})
        elif not self.has_own_key():
            raise self._refused(
                f"{VKEY} is not that of audit.signing_key: another key has signed this log",
                hint="name or restore the key that the campaign began with, or the log's directory",
            )

    def has_own_key(self) -> bool:
        """Whether `log.vkey` is our key's; `AuditLogError` where it is missing, and whatever loading the key raises."""
        theirs = self._directory.read(VKEY)
        if theirs is None:
            raise self._refused(f"{VKEY} is missing")
        return theirs == self._own_key()

    def _own_key(self) -> bytes:
        return f"{self._signer.verifier().encode()}\n".encode()

    def compare(self, file: wal.Wal, head: Head, size: int, *, own_key: bool) -> None:
        """`checkpoint`, the right edge of the tiles, the WAL and the database fit together; `AuditLogError` if not.

        Cheap after the first time. `size`: leaves that the database has acknowledged.
        """
        if own_key:
            self.publish_key(head)
        self._tree_at(file, head, size)

    def replay(self, file: wal.Wal, head: Head) -> None:
        """Hash every line up to the last checkpoint: all of the log is what was signed. 270,000 lines a second."""
        if head.size == 0:
            return
        tree = Frontier()
        for line in islice(file.lines(0), head.size):
            tree.append(leaf_hash(line[:-1]))
        if tree.root().hex() != head.root:
            raise self._refused(
                f"the lines of wal.jsonl are not the {head.size} that the last checkpoint was signed over: "
                "a line was altered",
                hint=f"`migrator audit verify` finds it; {wal.RESTORE}",
            )

    def advance(self, file: wal.Wal, head: Head, size: int, *, everything: bool) -> Iterator[Signed]:
        """Sign what is due, or `everything`; the caller records what is given before it takes the next.

        While the files of one group reach the disk, those of the next are made.
        """
        tree = self._tree_at(file, head, size)
        targets = _due(head.size, size, self._unrecorded, everything=everything)
        lines, offset = file.lines(head.wal_bytes), head.wal_bytes
        self._tree, self._unrecorded = None, []  # while files are missing, the tree in memory runs ahead of them
        with ThreadPoolExecutor(1) as disk:
            before: tuple[_Group, Future[None]] | None = None
            while True:
                group = self._grow(tree, lines, list(islice(targets, GROUP)), offset)
                if before is not None:
                    made, written = before
                    written.result()
                    self._publish(made.checkpoints)
                    yield Signed(head=made.head, checkpoints=tuple(made.checkpoints))
                    disk.submit(self._directory.drop_partials, made.full)
                if not group.checkpoints:
                    break
                before = group, disk.submit(self._directory.put, group.needed())
                offset = group.head.wal_bytes
        self._tree = tree

    # --- signing ---

    def _grow(self, tree: GrowingTree, lines: Iterator[bytes], targets: Sequence[int], offset: int) -> "_Group":
        """Add lines up to each of some sizes, and make the files and the checkpoints of these sizes."""
        group = _Group()
        for target in targets:
            wanted = target - tree.size
            taken = list(islice(lines, wanted))
            if len(taken) < wanted or not taken[-1].endswith(b"\n"):
                raise self._refused("wal.jsonl has fewer lines than were acknowledged")
            offset += sum(map(len, taken))
            for name, data in tree.append([line[:-1] for line in taken]):
                group.files[name] = data
                group.full.append(name)
            group.files.update(tree.partial_files())
            root = tree.root()
            group.checkpoints.append(Checkpoint(origin=self._origin, size=target, root=root))
            group.head = Head(size=target, root=root.hex(), wal_bytes=offset)
        return group

    def _publish(self, checkpoints: list[Checkpoint]) -> None:
        """Sign; first the kept copies, then the one that everybody reads."""
        signed = {f"checkpoints/{c.size}": self._sign(c) for c in checkpoints}
        self._directory.put(signed)
        newest = checkpoints[-1]
        note = signed[f"checkpoints/{newest.size}"]
        if note != self._note and (self._published is None or self._published.size <= newest.size):
            self._directory.replace_checkpoint(note)
            self._published, self._note = newest, note

    def _sign(self, checkpoint: Checkpoint) -> bytes:
        """A signed note; the one that is kept where this size was signed before."""
        before = self._directory.read(f"checkpoints/{checkpoint.size}")
        for note in (before, self._note if self._published and self._published.size == checkpoint.size else None):
            if note is not None and self._open(note) != checkpoint:
                raise self._refused(
                    f"a checkpoint over {checkpoint.size} entries was signed that is not this log's: the log was forked"
                )
        if before is not None:
            return before
        return self._signer.sign(checkpoint.body())

    # --- what is there ---

    def _tree_at(self, file: wal.Wal, head: Head, size: int) -> GrowingTree:
        """The tree of the recorded checkpoint, from memory if nobody else went on with the log."""
        note = self._directory.read(CHECKPOINT)
        if self._tree is None or self._tree.size != head.size or note != self._note:
            self._published = self._compare_checkpoint(note, head, size)
            self._tree = self._load_tree(file, head)
            self._note = note
            self._unrecorded = [kept for kept in self._directory.checkpoint_sizes() if head.size < kept <= size]
            if self._published is not None and self._published.size > head.size:
                self._unrecorded = sorted({*self._unrecorded, self._published.size})
        return self._tree

    def _compare_checkpoint(self, note: bytes | None, head: Head, size: int) -> Checkpoint | None:
        if note is None:
            if head.size:
                raise self._refused(f"there is no checkpoint, but one over {head.size} entries was signed")
            return None
        published = self._open(note)
        if published.size > size:
            raise self._refused(
                f"the log has a checkpoint over {published.size} entries, the database knows of {size}: "
                "the database is older than the log"
            )
        if published.size < head.size:
            raise self._refused(
                f"the log's checkpoint covers {published.size} entries, the database remembers one over {head.size}: "
                "the log is older than the database"
            )
        if published.size == head.size and published.root.hex() != head.root:
            raise self._refused(
                f"the checkpoint over {head.size} entries has another root than the database remembers: "
                "the log was forked"
            )
        return published

    def _load_tree(self, file: wal.Wal, head: Head) -> GrowingTree:
        """From the tiles; their root must be the recorded one, their last leaf the line of the WAL."""
        if head.size == 0:
            return GrowingTree()
        read = self._directory.tile
        index, width = divmod(head.size, tiles.WIDTH)
        try:
            tree = GrowingTree.load(head.size, read, self._directory.entries(index, width) if width else [])
        except ValueError:
            raise self._refused(f"the entry bundle {tiles.tile_path('entries', index, width)} was altered") from None
        hashes = TileHashes(read, head.size)
        if tree.root().hex() != head.root or proofs.tree_hash(hashes, head.size) != tree.root():
            raise self._refused(f"the tiles are not those that the checkpoint over {head.size} entries was signed over")
        last = file.line_before(head.wal_bytes)
        if last is None or leaf_hash(last) != hashes(0, head.size - 1):
            raise self._refused(f"line {head.size} of wal.jsonl is not the one that was signed")
        return tree

    def _open(self, note: bytes) -> Checkpoint:
        """Verify a checkpoint by the log's own key."""
        key = self._directory.read(VKEY)
        if key is None:
            raise self._refused(f"{VKEY} is missing")
        return open_checkpoint(note, key, self._origin, str(self._directory.path))

    def _refused(self, finding: str, hint: str = wal.RESTORE) -> AuditLogError:
        return AuditLogError(f"the audit log {self._directory.path}: {finding}", hint=hint, changed=wal.KEPT)


def _due(signed: int, size: int, unrecorded: Sequence[int], *, everything: bool) -> Iterator[int]:
    """The sizes to sign. First those that were signed but not recorded, if a crash left it so."""
    for kept in unrecorded:
        yield kept
        signed = kept
    while size - signed >= EVERY:
        signed = (signed + EVERY) // tiles.WIDTH * tiles.WIDTH
        yield signed
    if everything and size > signed:
        yield size
