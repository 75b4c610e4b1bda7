"""Asks a C2SP witness to cosign a checkpoint (c2sp.org/tlog-witness, `add-checkpoint`).

A witness cosigns a checkpoint only if the log grew from the one it cosigned last. So an answer that the two do not fit
is no outage: it says that this log is not the log that the witness has seen, and is an `AuditLogError`.
"""

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from migrator.audit.anchors.http import AnchorError, Answer, post
from migrator.core.errors import AuditLogError
from migrator.core.notes import Checkpoint, NoteError, NoteSignature, VerifierKey, open_note, parse_note
from migrator.core.proofs import HashAt, consistency_proof

if TYPE_CHECKING:
    import httpx

_SIZE_TYPE: Final = "text/x.tlog.size"
_TIME_BYTES: Final = 8
_LAST_SECOND: Final = 253_402_300_799


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Where a witness is asked, and the key that its cosignatures verify with."""

    url: str
    key: VerifierKey


def cosign(
    connections: "httpx.Client", witness: Witness, note: bytes, hash_at: HashAt, *, old: int = 0
) -> NoteSignature:
    """The witness's verified cosignature of a signed checkpoint.

    `old`: the size that it cosigned last, as far as known; `hash_at` reads the log's tree. Raises `AnchorError`, or
    `AuditLogError` where the witness has seen another log.
    """
    checkpoint = Checkpoint.parse(parse_note(note)[0])
    answer = _ask(connections, witness, note, hash_at, min(old, checkpoint.size), checkpoint.size)
    if answer.status == 409 and answer.content_type == _SIZE_TYPE:
        theirs = _size(witness, answer)
        if theirs > checkpoint.size:
            raise _another_log(witness, f"it has cosigned {theirs} entries, the log has {checkpoint.size}")
        answer = _ask(connections, witness, note, hash_at, theirs, checkpoint.size)
    if answer.status == 409:
        raise _another_log(witness, f"it has cosigned another tree of {checkpoint.size} entries or less")
    if answer.status == 422:
        raise _another_log(witness, "the log does not begin with the entries that it has cosigned")
    if answer.status != 200:
        raise AnchorError(
            f"the witness {witness.key.name} refuses with status {answer.status}", hint=_HINTS.get(answer.status, "")
        )
    return _verified(witness, note, answer)


_HINTS: Final = {
    403: "it knows this log's origin with another key: give its operator audit/log.vkey",
    404: "it does not know this log's origin: ask its operator to add the log, with audit/log.vkey",
}


def cosigned_at(signature: NoteSignature) -> int:
    """When a cosignature was made, in seconds since 1970, as the witness says."""
    return int.from_bytes(signature.signature[:_TIME_BYTES], "big")


def _ask(connections: "httpx.Client", witness: Witness, note: bytes, hash_at: HashAt, old: int, size: int) -> Answer:
    proof = consistency_proof(hash_at, old, size)
    lines = [f"old {old}", *(base64.b64encode(node).decode() for node in proof), "", ""]
    url = witness.url.rstrip("/") + "/add-checkpoint"
    return post(connections, url, "\n".join(lines).encode() + note, "text/plain; charset=utf-8")


def _size(witness: Witness, answer: Answer) -> int:
    text = answer.body.removesuffix(b"\n")
    if not text.isdigit() or len(text) > 19:
        raise AnchorError(f"the witness {witness.key.name} does not say how far it has seen the log")
    return int(text)


def _verified(witness: Witness, note: bytes, answer: Answer) -> NoteSignature:
    """The signature lines of the answer, put under the checkpoint, are a note that this witness has signed."""
    try:
        opened = open_note(note + answer.body, [witness.key])
    except NoteError as error:
        raise AnchorError(f"what the witness {witness.key.name} answers is no cosignature: {error}") from None
    signature = opened.verified[0]
    if cosigned_at(signature) > _LAST_SECOND:
        raise AnchorError(f"the witness {witness.key.name} gives a time after the year 9999")
    return signature


def _another_log(witness: Witness, finding: str) -> AuditLogError:
    return AuditLogError(
        f"the witness {witness.key.name} has seen another log: {finding}",
        hint="the log was set back, rewritten or signed twice: keep it as it is, and compare it with a backup",
    )
