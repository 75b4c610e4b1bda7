"""Measures the Megolm scheme beside vodozemac itself: `python -m tests.schemes.megolm_rate`. No test.

Both open the same messages in the same order, in turns, in one process; processor time counts, not the clock. The first
side is what a program of few lines would do: parse the message, decrypt it with a session that is kept alive.
"""

import json
import time
from collections.abc import Callable

from vodozemac import ExportedSessionKey, InboundGroupSession, MegolmMessage

from migrator.core.model import MessageRow
from migrator.core.outcomes import GapReason
from migrator.execution.claims import settle
from migrator.schemes.interface import KeyRing
from migrator.schemes.megolm import MegolmScheme
from tests.support.megolm import ROOM, Alone, Sending, room

SESSIONS = 50
IN_SESSION = 100
TURNS = 5
BODY = 120
"""Characters of a body; with its envelope a payload has about 200 bytes."""


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Measure, and say what came of it."""
    sendings = [Sending() for _ in range(SESSIONS)]
    rows: list[MessageRow] = []
    ring: KeyRing = {}
    for sending in sendings:
        line = {"conversation_id": ROOM, "sessions": [sending.entry()]}
        for entry in MegolmScheme().read_key_entries(line, Alone()):
            ring.setdefault(entry.slot, []).append(entry.key)
        rows += [sending.row(len(rows) + n, sending.send("x" * BODY)) for n in range(IN_SESSION)]
    exported = {sending.session_id: sending.entry()["session_key"] for sending in sendings}
    texts = [(row[5], row[3].decode()) for row in rows]

    def plainly() -> None:
        sessions = {name: InboundGroupSession.import_session(ExportedSessionKey(key)) for name, key in exported.items()}
        for name, text in texts:
            sessions[name].decrypt(MegolmMessage.from_base64(text))

    def ours() -> None:
        results = scheme.open_messages([(room(), ring, rows)])[0]
        assert not any(isinstance(result, GapReason) for result in results)

    def settled() -> None:
        results = scheme.open_messages([(room(), ring, rows)])[0]
        assert len(settle(scheme, rows, results)) == len(rows)

    best = {"vodozemac": 9e9, "scheme": 9e9, "scheme_and_claims": 9e9}
    for _ in range(TURNS):
        for name, work in (("vodozemac", plainly), ("scheme", ours), ("scheme_and_claims", settled)):
            scheme = MegolmScheme()
            best[name] = min(best[name], _seconds(work))
    rates = {name: round(len(rows) / seconds) for name, seconds in best.items()}
    payload = len(json.dumps({"type": "m.room.message", "room_id": ROOM, "content": {"body": "x" * BODY}}))
    print(  # noqa: T201 - a script
        json.dumps(
            {
                "messages": len(rows),
                "bytes": payload,
                "per_second": rates,
                "of_vodozemac": {name: round(best["vodozemac"] / best[name], 3) for name in rates},
            }
        )
    )


if __name__ == "__main__":
    main()
