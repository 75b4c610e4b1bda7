"""`audit consistency`: that a later state of the log begins with all of an earlier one (RFC 6962, section 2.1.2)."""

from dataclasses import dataclass
from pathlib import Path

from migrator.audit import wal
from migrator.audit.directory import CHECKPOINT, VKEY, open_checkpoint
from migrator.audit.log import AuditLog
from migrator.audit.verifying import read_trusted
from migrator.core import proofs
from migrator.core.errors import AuditLogError, UsageError
from migrator.core.merkle import EMPTY_ROOT
from migrator.core.notes import Checkpoint
from migrator.core.tiles import TileHashes


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """Two states of one log, and the hashes that prove the one from the other."""

    old: Checkpoint
    new: Checkpoint
    proof: tuple[bytes, ...]


def prove(log: AuditLog, old: str, new: str) -> Consistency:
    """Each state is a number of entries or a file with a signed checkpoint, of this log or from elsewhere.

    Raises `AuditLogError` where they are not states of the same log, `UsageError` for what is neither.
    """
    head = _newest(log)
    hashes = TileHashes(log.directory.tile, head.size)
    earlier, later = (_state(log, reference, head, hashes) for reference in (old, new))
    if earlier.size > later.size:
        raise UsageError("the old state is larger than the new one", hint="name them the other way round")
    if later.size > head.size:
        raise _refused(
            log, f"it has {head.size} signed entries, but a checkpoint over {later.size} was signed: cut off"
        )
    proof = proofs.consistency_proof(hashes, earlier.size, later.size)
    for state in (earlier, later):  # of an empty tree, and of two equal ones, the proof says nothing
        if state.root != _root(hashes, state.size):
            raise _refused(log, f"its first {state.size} entries are not those of that checkpoint: the log was forked")
    if not proofs.extends(earlier.root, earlier.size, later.root, later.size, proof):
        raise _refused(log, "its tiles give no proof of consistency: they were altered")
    return Consistency(old=earlier, new=later, proof=tuple(proof))


def _newest(log: AuditLog) -> Checkpoint:
    note = log.directory.read(CHECKPOINT)
    if note is None:
        raise _refused(log, "there is no checkpoint yet")
    return _opened(log, note)


def _state(log: AuditLog, reference: str, head: Checkpoint, hashes: TileHashes) -> Checkpoint:
    if not (reference.isascii() and reference.isdigit()):
        return _opened(log, read_trusted(Path(reference)))
    size = int(reference[:19])
    kept = log.directory.read(f"checkpoints/{size}")
    if kept is not None:
        return _opened(log, kept)
    if size > head.size:
        raise UsageError(f"the log has {head.size} signed entries, not {reference}", hint="name a smaller number")
    return Checkpoint(origin=log.origin, size=size, root=_root(hashes, size))


def _opened(log: AuditLog, note: bytes) -> Checkpoint:
    key = log.directory.read(VKEY)
    if key is None:
        raise _refused(log, f"{VKEY} is missing")
    return open_checkpoint(note, key, log.origin, str(log.directory.path))


def _root(hashes: TileHashes, size: int) -> bytes:
    return proofs.tree_hash(hashes, size) if size else EMPTY_ROOT


def _refused(log: AuditLog, finding: str) -> AuditLogError:
    return AuditLogError(f"the audit log {log.directory.path}: {finding}", hint=wal.RESTORE)
