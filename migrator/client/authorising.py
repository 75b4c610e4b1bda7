"""How a client authorises, refuses or withdraws (formats, section 3).

Show the notice, ask, and sign what was answered together with which notice was shown, in which words. Silence is never
consent: a client that nobody answered sends nothing.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from migrator.client.signing import Signer
from migrator.core.authorization import HISTORY_STORAGE, SCHEMA, TYP, NoticeShown
from migrator.core.clock import format_time
from migrator.core.encoding import b64url_encode
from migrator.core.limits import LIMITS
from migrator.core.policy import Answer

NONCE_BYTES: Final = 16
_SCOPE_CHARS: Final = LIMITS.authorization_chars // 2
"""Room for ids in one record: base64url makes four characters of three bytes, and the other members want some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the campaign is, and what the person was shown: the same for every answer to one notice."""

    campaign: str
    recipient_key_id: str
    notice: NoticeShown


def authorise(
    signer: Signer,
    asked: Asked,
    *,
    record_id: UUID,
    account_id: str,
    answer: Answer,
    decided_at: datetime,
    valid_until: datetime | None = None,
    conversations: Sequence[str] | None = None,
    guardian_id: str | None = None,
    nonce: bytes | None = None,
) -> str:
    """Sign one answer; the compact text is what to hand in.

    `conversations` None stands for all of the account's; see `split_scope` for a list that is too long for a record.
    `guardian_id` names the guardian who answers for a minor and whose device signs. A grant needs `valid_until`. A
    fresh `record_id` for each answer; the same one again only to send the same answer again. `nonce` is drawn unless
    given. `ValueError` where the record would be refused for its form.
    """
    if answer is Answer.GRANT and valid_until is None:
        raise ValueError("a grant ends at some time: valid_until is missing")
    if conversations is not None and not conversations:
        raise ValueError("an answer about no conversation at all")
    payload: dict[str, object] = {
        "schema": SCHEMA,
        "record_id": str(record_id),
        "campaign": asked.campaign,
        "account_id": account_id,
        "actor": _actor(signer, guardian_id),
        "decision": answer.value,
        "scope": {"conversations": "all" if conversations is None else list(conversations)},
        "purposes": [HISTORY_STORAGE],
        "decided_at": format_time(decided_at),
        "notice": asdict(asked.notice),
        "recipient_key_id": asked.recipient_key_id,
        "nonce": b64url_encode(secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce),
    }
    if signer.device_id is not None:
        payload["device_id"] = signer.device_id
    if valid_until is not None:
        payload["valid_until"] = format_time(valid_until)
    token = signer.sign(payload, typ=TYP)
    if len(token) > LIMITS.authorization_chars:
        raise ValueError("more conversations than fit in a record: split them")
    return token


def split_scope(conversations: Sequence[str]) -> Iterator[list[str]]:
    """Cut a list of conversations into lists that each fit in a record, in the same order."""
    batch: list[str] = []
    room = _SCOPE_CHARS
    for conversation_id in conversations:
        # As JSON writes it, with quotes and comma; a control character takes six characters, `\u001f`.
        size = sum(6 if c < " " else len(c.encode()) for c in conversation_id) + 3
        size += conversation_id.count('"') + conversation_id.count("\\")
        if batch and size > room:
            yield batch
            batch, room = [], _SCOPE_CHARS
        batch.append(conversation_id)
        room -= size
    if batch:
        yield batch


def _actor(signer: Signer, guardian_id: str | None) -> dict[str, str]:
    actor = {"kind": "self"} if guardian_id is None else {"kind": "guardian", "account_id": guardian_id}
    if signer.issuer_name is not None:
        actor["attested_by"] = signer.issuer_name
    return actor
