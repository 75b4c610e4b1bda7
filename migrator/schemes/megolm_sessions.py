"""Candidate sessions for one session id: parsed, checked against each other, and kept alive over pages.

The same session comes in several exports with different first indices, and exports are not signed: one that was made
up, with the right id and a lower index, must not shadow a good one. So:

1. Candidates are taken by first index, the lowest first, in order of receipt where two are alike.
2. Two that know the same index must have the same ratchet there (`export_at`). One that agrees with an earlier one is
   the same session and adds at most what it says of the sender; one that disagrees stays a candidate of its own.
3. A message is tried under every candidate that reaches down to its index. A made-up one fails the MAC, or else the
   signature, of every genuine message.

Sessions are kept by the bytes of their candidates, so that what is kept changes how fast a result comes and never
which. A session object is fastest when messages come in index order (13,000 a second against 1,800).
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from vodozemac import ExportedSessionKey, InboundGroupSession

from migrator.core.encoding import b64_encode
from migrator.core.megolm import KEY_BYTES, SESSION_KEY_BYTES, MegolmSession

MAX_KEPT: Final = 4_096
"""Most sessions that are kept alive, about 10 MB."""

Sender = tuple[str | None, bool]
"""What a candidate says of its creator: Curve25519 identity key in base64, and whether the session was forwarded."""

_FORWARDED: Final = 1
_NAMED: Final = 2


def encode(session: MegolmSession) -> bytes:
    """A session as a key ring holds it: flags ‖ sender key ‖ session key."""
    flags = _FORWARDED * session.forwarded | _NAMED * (session.sender_key is not None)
    return bytes([flags]) + (session.sender_key or bytes(KEY_BYTES)) + session.session_key


@dataclass(slots=True)
class Chain:
    """One ratchet from an index on, with all that candidates say of who made it."""

    first_index: int
    session: InboundGroupSession = field(repr=False)
    senders: list[Sender]

    def agrees(self, session_key: bytes, index: int) -> bool:
        """Whether a session key is what this ratchet is at an index that it reaches."""
        exported = self.session.export_at(index)
        return exported is not None and exported.to_base64().rstrip("=") == b64_encode(session_key)


class Sessions:
    """The sessions that were used of late."""

    def __init__(self, most: int = MAX_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[bytes, ...], list[Chain]] = OrderedDict()
        self._count = 0

    def chains(self, candidates: Sequence[bytes]) -> list[Chain]:
        """The different ratchets that the candidates of one session id give; the caller may reorder them."""
        name = tuple(candidates)
        found = self._kept.get(name)
        if found is not None:
            self._kept.move_to_end(name)
            return found
        found = _chains(name)
        self._kept[name] = found
        self._count += len(found)
        while self._count > self._most and len(self._kept) > 1:
            self._count -= len(self._kept.popitem(last=False)[1])
        return found


def _chains(candidates: Sequence[bytes]) -> list[Chain]:
    chains: list[Chain] = []
    for candidate in sorted(dict.fromkeys(candidates), key=_first_index):
        session_key, sender, index = candidate[-SESSION_KEY_BYTES:], _sender(candidate), _first_index(candidate)
        same = next((chain for chain in chains if chain.agrees(session_key, index)), None)
        if same is None:
            session = _imported(session_key)
            if session is not None:
                chains.append(Chain(index, session, [sender]))
        elif sender not in same.senders:
            same.senders.append(sender)
    return chains


def _imported(session_key: bytes) -> InboundGroupSession | None:
    """The session; None where the public key in it is none, so that nothing was ever signed with it."""
    try:
        return InboundGroupSession.import_session(ExportedSessionKey(b64_encode(session_key)))
    except ValueError:
        return None


def _first_index(candidate: bytes) -> int:
    start = len(candidate) - SESSION_KEY_BYTES + 1
    return int.from_bytes(candidate[start : start + 4])


def _sender(candidate: bytes) -> Sender:
    flags = candidate[0]
    sender_key = b64_encode(candidate[1 : 1 + KEY_BYTES]) if flags & _NAMED else None
    return sender_key, bool(flags & _FORWARDED)
