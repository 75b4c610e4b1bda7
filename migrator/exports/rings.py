"""Keys from exports, gathered under a bound: a hostile export is as long as it likes, memory is not (G11).

Up to `MAX_ENTRIES` keys, everything that is offered is kept, also for conversations that come later. Over it, what is
kept narrows: first to the wanted conversations, then to the keys that their messages in the source need. An honest
export never gets that far.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Final

from migrator.schemes.interface import KeyRing

MAX_ENTRIES: Final = 50_000
"""About 20 MB of keys."""
MAX_CANDIDATES: Final = 8
"""Different keys that one export may give for one slot: the right one, and a few more for a confused client."""
MAX_TOGETHER: Final = 64
"""Candidates for one slot from which on it counts who gave how many."""

NeededSlots = Callable[[], Mapping[str, Collection[Hashable]]]
"""Which keys the messages of the wanted conversations need; asks the source, so only where there is no other way."""


class GatheredRings:
    """Key rings by conversation, narrowing as they grow. `whole` says that nothing offered was left out yet."""

    def __init__(self, wanted: Collection[str], needed: NeededSlots, *, max_candidates: int | None = None) -> None:
        self.rings: dict[str, KeyRing] = {}
        self.count = 0
        self.whole = True
        self._wanted = wanted
        self._needed = needed
        self._slots: Mapping[str, Collection[Hashable]] | None = None
        self._max_candidates = max_candidates
        self._late: Counter[tuple[str, str, Hashable]] = Counter()
        """By account, conversation and slot: keys that were kept beyond `MAX_TOGETHER`."""

    def add(self, conversation_id: str, slot: Hashable, key: bytes) -> None:
        """Keep a key behind those that are there, unless it is one of them or narrowed out."""
        if not self.whole and not self._fits(conversation_id, slot):
            return
        candidates = self.rings.setdefault(conversation_id, {}).setdefault(slot, [])
        if key in candidates or len(candidates) == self._max_candidates:
            return
        candidates.append(key)
        self.count += 1
        if self.count > MAX_ENTRIES:
            self._narrow()

    def add_ring(self, conversation_id: str, ring: KeyRing, account_id: str) -> None:
        """Keep the keys of a ring that an account gave; the ring stays as it is."""
        for slot, candidates in ring.items():
            for key in candidates:
                if self._has_room(conversation_id, slot, key, account_id):
                    self.add(conversation_id, slot, key)

    def _has_room(self, conversation_id: str, slot: Hashable, key: bytes, account_id: str) -> bool:
        """Whether an account may add a key to those that there are for a slot."""
        there = self.rings.get(conversation_id, {}).get(slot, ())
        if len(there) < MAX_TOGETHER or key in there:
            return True
        given = account_id, conversation_id, slot
        self._late[given] += 1
        return self._late[given] <= MAX_CANDIDATES

    def _fits(self, conversation_id: str, slot: Hashable) -> bool:
        if self._slots is not None:
            return slot in self._slots.get(conversation_id, ())
        return conversation_id in self._wanted

    def _narrow(self) -> None:
        if self.whole:
            self.whole = False
            self._drop()
        if self.count > MAX_ENTRIES and self._slots is None:
            self._slots = self._needed()
            self._drop()

    def _drop(self) -> None:
        kept = {
            conversation_id: {slot: keys for slot, keys in ring.items() if self._fits(conversation_id, slot)}
            for conversation_id, ring in self.rings.items()
        }
        self.rings = {conversation_id: ring for conversation_id, ring in kept.items() if ring}
        self.count = sum(len(keys) for ring in self.rings.values() for keys in ring.values())
