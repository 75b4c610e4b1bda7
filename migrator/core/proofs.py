"""RFC 6962 proofs: that an entry is in a tree, and that a tree only grew; and the text that carries the first kind.

Proofs are made from a reader of node hashes, `HashAt`, so that the caller decides what is in memory. They are verified
without the tree. The text is `c2sp.org/tlog-proof@v1`: it has the signed checkpoint in it, so that whoever knows the
log's key needs nothing else.
"""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from migrator.core.merkle import node_hash

HashAt = Callable[[int, int], bytes]
"""`(level, index)` → hash of the perfect subtree over leaves `index * 2**level` to `(index + 1) * 2**level`."""

HASH_BYTES: Final = 32
MAX_HASHES: Final = 63
"""Longest proof that anyone accepts: tree sizes are below 2**63 (c2sp.org/tlog-witness)."""
MAX_PROOF_BYTES: Final = 256 * 1024
"""A proof has 63 hashes and a checkpoint with its signatures; anything longer is not read."""
_MAGIC: Final = "c2sp.org/tlog-proof@v1"
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")


# --- making proofs ---


def inclusion_proof(hash_at: HashAt, index: int, size: int) -> list[bytes]:
    """The audit path of a leaf, from its sibling up (RFC 6962, section 2.1.1). `ValueError` if it is not there."""
    if not 0 <= index < size:
        raise ValueError("there is no such leaf in a tree of that size")
    path: list[bytes] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _left_part(end - first)
        if index < middle:
            path.append(range_hash(hash_at, middle, end))
            end = middle
        else:
            path.append(range_hash(hash_at, first, middle))
            first = middle
    path.reverse()
    return path


def consistency_proof(hash_at: HashAt, old: int, size: int) -> list[bytes]:
    """That the first `old` leaves of a tree are the old tree (RFC 6962, section 2.1.2); empty for 0 and for `size`."""
    if not 0 <= old <= size:
        raise ValueError("an older tree is not larger")
    if old in (0, size):
        return []
    proof: list[bytes] = []
    first, end = 0, size
    while old != end:
        middle = first + _left_part(end - first)
        if old <= middle:
            proof.append(range_hash(hash_at, middle, end))
            end = middle
        else:
            proof.append(range_hash(hash_at, first, middle))
            first = middle
    if first:  # the old tree is not one whole subtree: its last part has to be told
        proof.append(range_hash(hash_at, first, end))
    proof.reverse()
    return proof


def tree_hash(hash_at: HashAt, size: int) -> bytes:
    """The root of the first `size` leaves, at least one."""
    return range_hash(hash_at, 0, size)


def range_hash(hash_at: HashAt, first: int, end: int) -> bytes:
    """The hash over leaves `first` to `end`, a subtree of RFC 6962: `first` is a multiple of its left part."""
    node: bytes | None = None
    # The perfect subtrees from right to left: the smallest is the deepest.
    while end > first:
        level = ((end - first) & -(end - first)).bit_length() - 1
        left = hash_at(level, (end >> level) - 1)
        node = left if node is None else node_hash(left, node)
        end -= 1 << level
    if node is None:
        raise ValueError("a range without leaves has no hash")
    return node


def _left_part(size: int) -> int:
    """The largest power of two below `size` (which is at least 2)."""
    return 1 << (size - 1).bit_length() - 1


# --- verifying them ---


def includes(root: bytes, size: int, leaf: bytes, index: int, path: Sequence[bytes]) -> bool:
    """Whether a tree's root covers a leaf, given by its hash, at an index (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size or any(len(sibling) != HASH_BYTES for sibling in path):
        return False
    node, at, last = leaf, index, size - 1
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while at and not at & 1:
                at >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        at >>= 1
        last >>= 1
    return last == 0 and node == root


def extends(old_root: bytes, old: int, root: bytes, size: int, proof: Sequence[bytes]) -> bool:
    """Whether a tree begins with all of an older one (RFC 9162, section 2.1.4.2).

    Of an empty tree nothing can be proved but that the proof is empty; its root is for the caller to know.
    """
    if not 0 <= old <= size or any(len(node) != HASH_BYTES for node in proof):
        return False
    if old == size:
        return not proof and old_root == root
    if old == 0:
        return not proof
    return _extends(old_root, old, root, size, proof)


def _extends(old_root: bytes, old: int, root: bytes, size: int, proof: Sequence[bytes]) -> bool:
    nodes = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not nodes:
        return False
    at, last = old - 1, size - 1
    while at & 1:
        at >>= 1
        last >>= 1
    ours = theirs = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            ours, theirs = node_hash(node, ours), node_hash(node, theirs)
            while at and not at & 1:
                at >>= 1
                last >>= 1
        else:
            theirs = node_hash(theirs, node)
        at >>= 1
        last >>= 1
    return last == 0 and ours == old_root and theirs == root


# --- the text ---


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """That an entry is in a log: c2sp.org/tlog-proof@v1.

    `checkpoint` is the signed note as the log and its witnesses wrote it; `extra` is covered by no signature.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def to_bytes(self) -> bytes:
        """What a `.tlog-proof` file holds."""
        lines = [_MAGIC]
        if self.extra:
            lines.append("extra " + base64.b64encode(self.extra).decode())
        lines.append(f"index {self.index}")
        lines.extend(base64.b64encode(node).decode() for node in self.path)
        return "\n".join([*lines, "", ""]).encode() + self.checkpoint

    @classmethod
    def from_bytes(cls, data: bytes) -> "LogProof":
        """The inverse; `ValueError` says what is wrong. The checkpoint is not looked into."""
        if len(data) > MAX_PROOF_BYTES:
            raise ValueError("a proof longer than any")
        head, blank, checkpoint = data.partition(b"\n\n")
        if not blank or not checkpoint:
            raise ValueError("a proof without a checkpoint")
        try:
            magic, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise ValueError("a proof that is not text") from None
        if magic != _MAGIC:
            raise ValueError("not a proof of version 1")
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = _base64(lines.pop(0).removeprefix("extra "))
        word, _, number = (lines.pop(0) if lines else "").partition(" ")
        if word != "index" or not _NUMBER.fullmatch(number):
            raise ValueError("a proof without an index")
        path = tuple(_base64(line) for line in lines)
        if len(path) > MAX_HASHES or any(len(node) != HASH_BYTES for node in path):
            raise ValueError("a proof with something else than SHA-256 hashes")
        return cls(index=int(number), path=path, checkpoint=checkpoint, extra=extra)


def _base64(text: str) -> bytes:
    """RFC 4648, section 4, one spelling only."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    if not data or base64.b64encode(data).decode() != text:
        raise ValueError("not canonical base64")
    return data
