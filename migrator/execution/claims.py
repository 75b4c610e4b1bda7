"""Claims: what each message of a conversation uses up, so that nothing is used twice (schemes that `makes_claims`).

A decryptor keeps no state over runs: a ciphertext that somebody sends again opens again. So for each message that is
shown it is remembered which claim it made, and for a message that opens:

1. Where another event has its claim, it is gap `replay`; the event that has it, met again, is no replay of itself.
2. Else it makes the claim, in message order, in the transaction that shows it. What is only staged counts for the run
   that staged it, and nothing else.
3. A message whose sender is not proved (`unverified_sender`) makes none: who copies somebody's message must not get
   ahead of it. Where the claim is another event's, it is `replay` as well, which no key can ever mend.

A message that is redacted later leaves its claim behind: a copy of it stays closed.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from migrator.core.model import MessageRow
from migrator.core.outcomes import GapReason
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.schemes.interface import Opened, Scheme

CLAIM_COLUMNS: Final = ("conversation_no", "claim", "sent_at", "message_id", "run_id")

At = tuple[int, str]
"""Time and id of a message: its place in the conversation."""
Made = tuple[bytes, int, str]
"""A claim, and the place of the message that makes it."""
Holders = Callable[[Sequence[bytes]], Mapping[bytes, At]]
"""Which of some claims are taken, and by whom."""

_SOMEBODY: Final = (-1, "")
"""A place where no message is."""


def nobody(claims: Sequence[bytes]) -> Mapping[bytes, At]:  # noqa: ARG001 - one of `Holders`
    """The holders of claims in a conversation of which nothing is written yet."""
    return {}


def settle(
    scheme: Scheme, rows: Sequence[MessageRow], results: list[Opened | GapReason], holders: Holders = nobody
) -> list[Made]:
    """Turn what was used up before into gaps, in `results`, and say which claims the others make."""
    if not scheme.makes_claims:
        return []
    places = [
        place
        for place, result in enumerate(results)
        if not isinstance(result, GapReason) or result is GapReason.UNVERIFIED_SENDER
    ]
    claims = scheme.claims([rows[place] for place in places])
    held = dict(holders([claim for claim in claims if claim is not None]))
    made: list[Made] = []
    for place, claim in zip(places, claims, strict=True):
        if claim is None:
            continue
        at = rows[place][0], rows[place][1]
        if held.get(claim, at) != at:
            results[place] = GapReason.REPLAY
        elif results[place] is not GapReason.UNVERIFIED_SENDER and claim not in held:
            held[claim] = at
            made.append((claim, *at))
    return made


def holders_of(connection: sa.Connection, conversation_no: int, claims: Iterable[bytes]) -> dict[bytes, At]:
    """Which of some claims messages of a conversation have made, and which messages."""
    table = tables.claim
    found: dict[bytes, At] = {}
    for chunk in chunks(dict.fromkeys(claims)):
        query = sa.select(table.c.claim, table.c.sent_at, table.c.message_id)
        rows = connection.execute(query.where(table.c.conversation_no == conversation_no, table.c.claim.in_(chunk)))
        found.update((bytes(claim), (sent_at, message_id)) for claim, sent_at, message_id in rows)
    return found


def claim_rows(conversation_no: int, run_id: str, made: Iterable[Made]) -> list[tuple[Any, ...]]:
    """Rows for `migrator_claim`, in the order of `CLAIM_COLUMNS`."""
    return [(conversation_no, claim, sent_at, message_id, run_id) for claim, sent_at, message_id in made]


class Rehearsed:
    """The claims of a rehearsal, which writes none: in memory, for one conversation at a time.

    Claims that differ in their last four bytes only, and there by one, make up a stretch: so a session that is used in
    order takes one, however many messages it has.
    """

    def __init__(self) -> None:
        self._stretches: dict[bytes, list[list[int]]] = {}

    def holders(self, claims: Sequence[bytes]) -> Mapping[bytes, At]:
        """The claims among these that were made; by whom is forgotten."""
        return {claim: _SOMEBODY for claim in claims if self._has(claim)}

    def add(self, made: Iterable[Made]) -> None:
        """Remember claims that nobody had."""
        for claim, _, _ in made:
            number = int.from_bytes(claim[-4:])
            stretches = self._stretches.setdefault(claim[:-4], [])
            place = bisect_right(stretches, [number + 1]) if stretches else 0
            before = stretches[place - 1] if place else None
            if before is not None and before[1] == number:
                before[1] = number + 1
            else:
                stretches.insert(place, [number, number + 1])

    def _has(self, claim: bytes) -> bool:
        stretches = self._stretches.get(claim[:-4], [])
        number = int.from_bytes(claim[-4:])
        place = bisect_right(stretches, [number + 1])
        return place > 0 and stretches[place - 1][0] <= number < stretches[place - 1][1]
