"""The log as it is published: the newest checkpoint, and the entries and hashes that it covers."""

from collections.abc import Iterator
from pathlib import Path

from migrator.audit.anchors import kept
from migrator.audit.directory import CHECKPOINT, VKEY, LogDirectory, open_checkpoint
from migrator.core.errors import AuditLogError
from migrator.core.merkle import leaf_hash
from migrator.core.notes import NoteError, open_note, parse_note
from migrator.core.proofs import LogProof, includes, inclusion_proof
from migrator.core.tiles import WIDTH, TileHashes


class PublishedLog:
    """The log up to its newest checkpoint, read from tiles and bundles alone; `AuditLogError` for what is not right.

    The checkpoint is the one of the moment of opening; entries that are written later are not seen.
    """

    def __init__(self, folder: Path, *, origin: str) -> None:
        self.folder = folder
        self.directory = LogDirectory(folder)
        self.vkey_text = self._required(VKEY)
        self.note = self._required(CHECKPOINT)
        self.checkpoint = open_checkpoint(self.note, self.vkey_text, origin, str(folder / CHECKPOINT))
        self.hash_at = TileHashes(self.directory.tile, self.checkpoint.size)

    @property
    def size(self) -> int:
        """Entries that the checkpoint covers."""
        return self.checkpoint.size

    def entry(self, seq: int) -> bytes:
        """The exact bytes of one entry."""
        return self._bundle(seq // WIDTH)[seq % WIDTH]

    def entries(self, first: int = 0) -> Iterator[bytes]:
        """Entries from a number on, in order; memory holds one bundle."""
        for index in range(first // WIDTH, -(-self.size // WIDTH)):
            yield from self._bundle(index)[max(0, first - index * WIDTH) :]

    def prove(self, seq: int, entry: bytes) -> LogProof:
        """That an entry is in the log, with the cosigned checkpoint where there is one; checked before it is given."""
        path = inclusion_proof(self.hash_at, seq, self.size)
        if not includes(self.checkpoint.root, self.size, leaf_hash(entry), seq, path):
            raise self._wrong(f"entry {seq} is not the one that was signed")
        return LogProof(index=seq, path=tuple(path), checkpoint=self.cosigned_note)

    @property
    def cosigned_note(self) -> bytes:
        """The checkpoint with what witnesses have put under it."""
        note = kept.cosigned(self.folder, self.size)
        if note is None:
            return self.note
        try:
            same = parse_note(note)[0] == parse_note(self.note)[0]
            open_note(note, [self.vkey_text.decode()])
        except NoteError:
            same = False
        return note if same else self.note

    def _bundle(self, index: int) -> list[bytes]:
        return self.directory.entries(index, min(WIDTH, self.size - index * WIDTH))

    def _required(self, name: str) -> bytes:
        data = self.directory.read(name)
        if data is None:
            raise self._wrong(f"there is no {name} in it")
        return data

    def _wrong(self, finding: str) -> AuditLogError:
        return AuditLogError(
            f"the audit log {self.folder} can't be used: {finding}", hint="`migrator audit verify` says more"
        )
