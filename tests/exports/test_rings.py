"""Key rings out of many exports stay bounded, whoever hands in how many."""

from collections import Counter
from collections.abc import Hashable

from migrator.exports.rings import MAX_CANDIDATES, MAX_TOGETHER, GatheredRings


def test_one_account_neither_floods_a_slot_nor_keeps_others_out() -> None:
    """However many exports one account hands in, candidates are bounded, and a later account's key is among them."""
    gathered = GatheredRings(["!room"], dict)
    for number in range(1000):
        gathered.add_ring("!room", {"session": [b"made up %d" % number]}, "@mallory:x")
    gathered.add_ring("!room", {"session": [b"right"]}, "@alice:x")
    found = gathered.rings["!room"]["session"]
    assert found[-1] == b"right"
    assert len(found) == gathered.count == MAX_TOGETHER + MAX_CANDIDATES + 1
    assert max(Counter(found).values()) == 1


def test_the_same_key_again_uses_nothing_up() -> None:
    """An account whose exports repeat what is there keeps its room for what is new."""
    gathered = GatheredRings(["!room"], dict)
    same: dict[Hashable, list[bytes]] = {"session": [b"%d" % number for number in range(MAX_TOGETHER)]}
    for _ in range(100):
        gathered.add_ring("!room", same, "@alice:x")
    gathered.add_ring("!room", {"session": [b"new"]}, "@alice:x")
    assert gathered.rings["!room"]["session"][-1] == b"new"
