"""What the pipeline is held against: its parts alone, and the database moving the same rows by itself."""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from migrator.campaign import Campaign
from migrator.core.encoding import canonical_json
from migrator.core.errors import KeyServiceError
from migrator.core.model import Conversation, MessageRow
from migrator.database import tables
from migrator.exports.opening import ExportReader
from migrator.keyservices.interface import KeyRefusal
from migrator.schemes.interface import KeyRing

Unit = tuple[Conversation, KeyRing, Sequence[MessageRow]]
"""A conversation with its keys and rows: what a scheme opens."""

_KEYS: Final = 50
"""Data keys that are wrapped and unwrapped to measure a key service, which may cost money."""


def sample(campaign: Campaign, messages: int) -> list[Unit]:
    """Whole conversations of a campaign that is ready, with their keys, up to so many messages; at least one."""
    conversations = [found for page in campaign.store.population() for found in page if found.messages]
    taken: list[Conversation] = []
    for conversation in conversations:
        if taken and sum(found.messages for found in taken) + conversation.messages > messages:
            break
        taken.append(conversation)
    with campaign.database.read() as connection:
        last = connection.scalar(sa.select(sa.func.max(tables.export.c.export_no))) or 0
        material = ExportReader(campaign, last_export_no=last).keys(
            connection, {found.conversation_id: found.participants for found in taken}
        )
    rows = campaign.store.messages([found.conversation_id for found in taken])
    return [
        (found, material.rings.get(found.conversation_id, {}), rows[found.conversation_id])
        for found in taken
        if found.conversation_id in rows
    ]


def aes_gcm(sizes: Sequence[int]) -> float:
    """Messages of these sizes a second that AES-256-GCM alone opens and seals."""
    key, nonce = AESGCM(AESGCM.generate_key(256)), secrets.token_bytes(12)
    sealed = [key.encrypt(nonce, bytes(size), None) for size in sizes]

    def work() -> None:
        for ciphertext in sealed:
            key.encrypt(nonce, key.decrypt(nonce, ciphertext, None), None)

    return len(sizes) / _seconds(work)


def opening(campaign: Campaign, units: Sequence[Unit]) -> float:
    """Messages a second that the scheme opens, with rows and keys at hand."""
    return sum(len(rows) for _, _, rows in units) / _seconds(lambda: campaign.scheme.open_messages(units))


def key_service(campaign: Campaign) -> tuple[float, float]:
    """Data keys a second that the campaign's key service wraps and unwraps, as many at once as migrator gives it."""
    service = campaign.key_services.default()
    items = [
        (secrets.token_bytes(64), canonical_json({"campaign": campaign.name, "purpose": f"bench-{number}"}))
        for number in range(_KEYS)
    ]
    began = time.perf_counter()
    wrapped = [_granted(answer) for answer in service.wrap(items)]
    between = time.perf_counter()
    for answer in service.unwrap([(blob, context) for blob, (_, context) in zip(wrapped, items, strict=True)]):
        _granted(answer)
    return _KEYS / (between - began), _KEYS / (time.perf_counter() - between)


def insert_select(campaign: Campaign) -> float:
    """Seconds that the database takes to copy the server history into a table like it, by one statement."""
    copy = tables.message.to_metadata(sa.MetaData(), name="migrator_bench_copy")
    with campaign.database.write("bench-table") as connection:
        copy.create(connection)
    columns = [column.name for column in copy.columns]
    began = time.perf_counter()
    with campaign.database.write("bench-copy") as connection:
        connection.execute(copy.insert().from_select(columns, sa.select(tables.message)))
    return time.perf_counter() - began


def _granted(answer: bytes | KeyRefusal) -> bytes:
    if isinstance(answer, KeyRefusal):
        raise KeyServiceError(f"the key service refuses: {answer.detail}", hint="check the permissions on the key")
    return answer


def _seconds(work: Callable[[], object]) -> float:
    """The shorter of two times: the first one meets cold caches."""
    times = []
    for _ in range(2):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)
