"""RFC 6962 read word by word, over leaf data in memory: slow, and independent of the code under test."""

import hashlib
from collections.abc import Sequence


def split(count: int) -> int:
    """k: the largest power of two smaller than n."""
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def mth(leaves: Sequence[bytes]) -> bytes:
    """MTH(D[n])."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n])."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*path(index, leaves[:k]), mth(leaves[k:])]
    return [*path(index - k, leaves[k:]), mth(leaves[:k])]


def proof(old: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D[n])."""
    return subproof(old, leaves, known=True)


def subproof(old: int, leaves: Sequence[bytes], *, known: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b)."""
    if old == len(leaves):
        return [] if known else [mth(leaves)]
    k = split(len(leaves))
    if old <= k:
        return [*subproof(old, leaves[:k], known=known), mth(leaves[k:])]
    return [*subproof(old - k, leaves[k:], known=False), mth(leaves[:k])]


class Nodes:
    """`hash_at` over leaf data; counts what is asked."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves
        self.asked: list[tuple[int, int]] = []

    def __call__(self, level: int, index: int) -> bytes:
        """The hash of one perfect subtree, which must be all there."""
        self.asked.append((level, index))
        first, end = index << level, (index + 1) << level
        assert 0 <= first < end <= len(self.leaves), "a perfect subtree that is not complete was asked for"
        return mth(self.leaves[first:end])
