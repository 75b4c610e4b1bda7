"""Tiles and bundles: paths and bytes as C2SP has them, roots as RFC 6962 has them."""

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core import proofs, tiles
from migrator.core.merkle import EMPTY_ROOT, Frontier, leaf_hash
from migrator.core.tiles import ENTRIES, GrowingTree, TileHashes, tile_path

# Roots over the first 1 to 8 of these leaves: the test vectors of the CT reference implementation for RFC 6962.
LEAVES = [bytes.fromhex(t) for t in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                     "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def grown(entries: list[bytes], sizes: list[int]) -> tuple[GrowingTree, dict[str, bytes]]:
    """A tree that stops at sizes on the way, and every file that it gave."""
    tree = GrowingTree()
    files: dict[str, bytes] = {}
    for size in sizes:
        files |= dict(tree.append(entries[tree.size : size]))
        files |= dict(tree.partial_files())
    return tree, files


def reader(files: dict[str, bytes]) -> tiles.ReadTile:
    """Tiles out of a dictionary."""
    return lambda level, index, width: files[tile_path(level, index, width)]


def test_vectors() -> None:
    """Roots of the published test tree, at each size."""
    tree = GrowingTree()
    assert tree.root() == EMPTY_ROOT
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        list(tree.append([leaf]))
        assert tree.root().hex() == root


@pytest.mark.parametrize(
    ("level", "index", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 1234067, 256, "tile/0/x001/x234/067"),
        (ENTRIES, 1234067, 8, "tile/entries/x001/x234/067.p/8"),
        (1, 1000, 255, "tile/1/x001/000.p/255"),
        (63, 999, 256, "tile/63/999"),
    ],
)
def test_paths(level: int | str, index: int, width: int, path: str) -> None:
    """As in c2sp.org/tlog-tiles."""
    assert tile_path(level, index, width) == path


@given(st.lists(st.binary(max_size=300), max_size=300))
def test_bundles_round_trip(entries: list[bytes]) -> None:
    """Entries of any bytes, in order; a bundle that lost a byte is refused."""
    data = tiles.encode_entries(entries)
    assert tiles.decode_entries(data) == entries
    if data:
        with pytest.raises(ValueError, match="cut off"):
            tiles.decode_entries(data[:-1])


def test_longest_entry() -> None:
    """65,535 bytes fit, one more does not."""
    longest = bytes(tiles.ENTRY_BYTES)
    assert tiles.decode_entries(tiles.encode_entries([longest])) == [longest]
    with pytest.raises(ValueError, match="65535"):
        tiles.encode_entries([longest + b"x"])


@given(st.lists(st.integers(1, 900), min_size=1, max_size=8))
def test_roots_files_and_restarts(steps: list[int]) -> None:
    """At every size: the root is that of RFC 6962, out of memory, out of files, and of a tree loaded from the files."""
    sizes = [sum(steps[: n + 1]) for n in range(len(steps))]
    entries = [b"entry %d" % n for n in range(sizes[-1])]
    _, files = grown(entries, sizes)
    frontier = Frontier()
    for number, entry in enumerate(entries, start=1):
        frontier.append(leaf_hash(entry))
        if number in sizes:
            hashes = TileHashes(reader(files), number)
            assert proofs.tree_hash(hashes, number) == frontier.root()
            bundle = files.get(tile_path(ENTRIES, number // 256, number % 256), b"")
            loaded = GrowingTree.load(number, reader(files), tiles.decode_entries(bundle))
            assert loaded.root() == frontier.root()
            again = dict(loaded.append(entries[number:]))
            assert all(files[name] == data for name, data in again.items())


def test_three_levels() -> None:
    """Over 65,536 leaves there is a third level, and a subtree on each can be had."""
    size = 256 * 256 + 300
    entries = [b"%d" % n for n in range(size)]
    tree, files = grown(entries, [size])
    assert {name.split("/")[1] for name in files} == {"0", "1", "2", "entries"}
    hashes = TileHashes(reader(files), size)
    assert proofs.tree_hash(hashes, size) == tree.root()
    assert hashes(16, 0) == tiles.subtree_root(tiles.leaf_hashes(entries[:65536]))
    generator = random.Random(1)
    for _ in range(50):
        level = generator.randrange(0, 16)
        index = generator.randrange(0, size >> level)
        assert hashes(level, index) == tiles.subtree_root(
            tiles.leaf_hashes(entries[index << level : (index + 1) << level])
        )
    for level, index in ((0, size), (8, 257), (17, 0), (0, -1)):
        with pytest.raises(ValueError, match="no such subtree"):
            hashes(level, index)


def test_entries_that_are_not_the_tiles() -> None:
    """A tree is not loaded from a bundle and a tile that differ."""
    _, files = grown([b"a", b"b"], [2])
    for entries in ([b"a"], [b"a", b"c"], [b"a", b"b", b"b"]):
        with pytest.raises(ValueError, match="not those"):
            GrowingTree.load(2, reader(files), entries)


def test_hash_prefixes() -> None:
    """Leaves and nodes can't be taken for each other (RFC 6962, section 2.1)."""
    assert tiles.leaf_hashes([b"x"]) == hashlib.sha256(b"\0x").digest()
    pair = tiles.leaf_hashes([b"x", b"y"])
    assert tiles.subtree_root(pair) == hashlib.sha256(b"\1" + pair).digest()
