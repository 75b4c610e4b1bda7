"""Merkle trees against the definition in RFC 6962, and the root over a conversation against its definition."""

import hashlib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.merkle import (
    EMPTY_ROOT,
    PAGE_MESSAGES,
    Frontier,
    ItemsRoot,
    in_order,
    leaf_hash,
    leaf_hashes,
    root_of,
)

Messages = list[tuple[bytes, bytes, bytes]]
VECTOR_LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
"""The leaves of Certificate Transparency's own test tree."""


def defined_root(leaves: list[bytes]) -> bytes:
    """The Merkle Tree Hash, word for word as in RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + defined_root(leaves[:split]) + defined_root(leaves[split:])).digest()


@pytest.mark.parametrize(
    ("size", "root"),
    [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ],
)
def test_vectors_of_certificate_transparency(size: int, root: str) -> None:
    """The roots that other implementations publish for the same leaves."""
    assert root_of(VECTOR_LEAVES[:size]).hex() == root
    assert defined_root(VECTOR_LEAVES[:size]).hex() == root


@given(st.lists(st.integers(0, 40), max_size=6))
def test_many_leaves_at_once_are_as_good_as_one_by_one(counts: list[int]) -> None:
    """In whatever portions: the same subtrees, so the same text of a checkpoint too."""
    leaves = [bytes([number]) for number in range(sum(counts) % 256)]
    hashes = leaf_hashes(leaves)
    assert hashes == [leaf_hash(leaf) for leaf in leaves]
    one_by_one, together, start = Frontier(), Frontier(), 0
    for count in counts:
        together.extend(hashes[start : start + count])
        start += count
    for leaf in hashes[:start]:
        one_by_one.append(leaf)
    assert together == one_by_one


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_the_frontier_gives_the_defined_root(leaves: list[bytes]) -> None:
    """At every size on the way, not only at the end."""
    frontier = Frontier()
    for size, leaf in enumerate(leaves):
        assert frontier.root() == defined_root(leaves[:size])
        frontier.append(leaf_hash(leaf))
    assert frontier.root() == defined_root(leaves) == root_of(leaves)
    assert len(frontier.roots) == len(leaves).bit_count()


@given(st.lists(st.binary(max_size=8), max_size=40), st.integers(min_value=0, max_value=40))
def test_a_frontier_kept_as_text_goes_on(leaves: list[bytes], at: int) -> None:
    """Cut anywhere, written down and read again, the tree ends in the same root."""
    frontier = Frontier()
    for leaf in leaves[:at]:
        frontier.append(leaf_hash(leaf))
    again = Frontier.from_text(frontier.to_text())
    assert again == frontier
    for leaf in leaves[at:]:
        again.append(leaf_hash(leaf))
    assert again.root() == defined_root(leaves)


@pytest.mark.parametrize("text", ["", "1", "1:", "x:", "0:00", "1:" + "00" * 31, "2:" + "00" * 64, "3:" + "00" * 32])
def test_a_frontier_that_does_not_fit_is_refused(text: str) -> None:
    """A size without its roots is no tree."""
    with pytest.raises(ValueError, match=r"\w"):
        Frontier.from_text(text)


def defined_items_root(messages: Messages) -> bytes:
    """Formats, section 7: pages of 1,000 messages, every part preceded by its length."""
    leaves = []
    for start in range(0, len(messages), 1000):
        parts = [part for message in messages[start : start + 1000] for part in message]
        page = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        leaves.append(hashlib.sha256(page).digest())
    return defined_root(leaves)


def numbered(count: int) -> Messages:
    """Messages that differ, every tenth a gap."""
    return [(f"m{n}".encode(), b"s" * (n % 50), b"" if n % 10 == 0 else b"c" * (n % 60)) for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2000, 3500])
def test_items_root_is_the_defined_one(count: int) -> None:
    """Also where the last page is full, or there is none."""
    root = ItemsRoot()
    root.add(numbered(count))
    assert root.root() == defined_items_root(numbered(count))


@pytest.mark.parametrize("length", [2**14 - 1, 2**14, 70_000])
def test_long_parts_count_like_short_ones(length: int) -> None:
    """Lengths are four bytes, also where they are not looked up."""
    messages = [*numbered(70), (b"x" * length, b"s", b"c"), (b"id", b"s" * length, b"c" * length), *numbered(5)]
    assert _root(messages) == defined_items_root(messages)


@given(st.lists(st.integers(min_value=0, max_value=1500), max_size=6))
def test_how_messages_are_handed_in_does_not_matter(cuts: list[int]) -> None:
    """In one piece or in any pieces, the root is the same."""
    messages = numbered(sum(cuts))
    root = ItemsRoot()
    start = 0
    for cut in cuts:
        root.add(iter(messages[start : start + cut]))
        start += cut
    assert root.root() == defined_items_root(messages)


def test_a_checkpoint_between_pages_goes_on() -> None:
    """State kept at a page's end, as text, continues to the same root; inside a page there is none to keep."""
    messages = numbered(2500)
    root = ItemsRoot()
    root.add(messages[:PAGE_MESSAGES])
    again = ItemsRoot(Frontier.from_text(root.frontier().to_text()))
    again.add(messages[PAGE_MESSAGES:])
    with pytest.raises(ValueError, match="inside a page"):
        again.frontier()
    assert again.root() == defined_items_root(messages)


@given(st.integers(min_value=0, max_value=2), st.integers(min_value=0, max_value=4))
def test_parts_can_not_be_shifted(part: int, message: int) -> None:
    """A byte that moves from one part to its neighbour changes the root: lengths are hashed too."""
    messages = [(b"id", b"source", b"server") for _ in range(5)]
    flat = [piece for each in messages for piece in each]
    at = min(3 * message + part, len(flat) - 2)
    flat[at], flat[at + 1] = flat[at][:-1], flat[at][-1:] + flat[at + 1]
    shifted = [(flat[n], flat[n + 1], flat[n + 2]) for n in range(0, len(flat), 3)]
    assert b"".join(flat) == b"".join(piece for each in messages for piece in each)
    assert _root(shifted) != _root(messages)


def _root(messages: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
    root = ItemsRoot()
    root.add(messages)
    return root.root()


def test_no_leaves_is_the_hash_of_nothing() -> None:
    """RFC 6962: the hash of an empty list is the hash of an empty string."""
    assert ItemsRoot().root() == EMPTY_ROOT == hashlib.sha256().digest()


_PLACES = st.dictionaries(
    st.tuples(st.integers(min_value=0, max_value=3), st.text(alphabet="aé😀\uff5e", max_size=2)), st.sampled_from("sbe")
)


@given(_PLACES)
def test_two_streams_join_in_message_order(places: dict[tuple[int, str], str]) -> None:
    """A message of the source alone is a gap, of the server alone has no source; both streams' order is kept."""
    ordered = sorted(places.items(), key=lambda item: (item[0][0], item[0][1].encode()))
    source = [(*place, b"s") for place, where in ordered if where in "sb"]
    server = [(*place, b"c") for place, where in ordered if where in "be"]
    expected = [
        (place[1].encode(), b"s" if where in "sb" else b"", b"c" if where in "be" else b"") for place, where in ordered
    ]
    assert list(in_order(source, server)) == expected
