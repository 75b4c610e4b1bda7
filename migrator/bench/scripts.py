"""What others would write: measured beside the pipeline, over the same rows.

The obvious script reads a row at a time through SQLAlchemy's ORM, opens and seals it, adds it to the session, asks the
key service once a conversation and commits once a conversation. And Amazon's `aws-encryption-sdk`, where it is
installed, with a wrapping key at hand: each message for itself, so a data key, a header and a wrap for each.
"""

import importlib
import logging
import secrets
import time
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, registry

from migrator.bench.floors import Unit
from migrator.campaign import Campaign
from migrator.core.envelope import DataKey, associated_data, key_context, random_ivs, seal_message
from migrator.core.outcomes import GapReason
from migrator.database import tables
from migrator.stores import labyrinth_tables


class _SourceMessage:
    """A row of the store."""


class _ServerMessage:
    """A row of server history."""

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)


def obvious_script(campaign: Campaign, source: sa.Engine, units: Sequence[Unit]) -> float:
    """Messages a second of the obvious script, into a table of its own."""
    copy = tables.message.to_metadata(sa.MetaData(), name="migrator_bench_script")
    with campaign.database.write("bench-table") as connection:
        copy.create(connection)
    mapping = registry()
    mapping.map_imperatively(_SourceMessage, labyrinth_tables.message)
    mapping.map_imperatively(_ServerMessage, copy)
    service = campaign.key_services.default()
    began, done = time.perf_counter(), 0
    try:
        with Session(source) as reader, Session(campaign.database.engine) as writer:
            for number, unit in enumerate(units, start=1):
                key = DataKey.generate()
                service.wrap([(key.to_keyset(), key_context(campaign.name, "0" * 32, key.key_id))])
                done += _move(campaign, reader, writer, number, unit, key)
                writer.commit()
    finally:
        mapping.dispose()
    return done / (time.perf_counter() - began)


def _move(campaign: Campaign, reader: Session, writer: Session, number: int, unit: Unit, key: DataKey) -> int:
    conversation, ring, rows = unit
    done = 0
    inbox_id, _, thread_id = conversation.conversation_id.partition("/")
    table = labyrinth_tables.message.c
    mine = sa.select(_SourceMessage).where(table.inbox_id == inbox_id, table.thread_id == thread_id)
    found = reader.scalars(mine.order_by(table.sent_at, table.message_id).execution_options(yield_per=1))
    for _, row in zip(found, rows, strict=True):
        opened = campaign.scheme.open_messages([(conversation, ring, [row])])[0][0]
        if isinstance(opened, GapReason):
            continue
        content_type, content = opened
        sender = str(row[2])
        bound_to = associated_data(conversation.conversation_id, row[1], sender, row[0], content_type)
        writer.add(
            _ServerMessage(
                conversation_no=number, sent_at=row[0], message_id=row[1], sender_id=sender, content_type=content_type,
                key_id=key.key_id, ciphertext=seal_message(key, random_ivs(1)[0], content, bound_to),
            )
        )  # fmt: skip
        done += 1
    return done


def aws_encryption_sdk(sizes: Sequence[int]) -> float | None:
    """Messages of these sizes a second that Amazon's SDK encrypts, one by one; None where it is not installed."""
    if find_spec("aws_encryption_sdk") is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its own dependencies
        logging.getLogger("aws_encryption_sdk").setLevel(logging.WARNING)  # else it has a dozen lines for each message
        sdk = importlib.import_module("aws_encryption_sdk")
        identifiers = importlib.import_module("aws_encryption_sdk.identifiers")
        wrapping = importlib.import_module("aws_encryption_sdk.internal.crypto.wrapping_keys")
        raw = importlib.import_module("aws_encryption_sdk.key_providers.raw")
        key = wrapping.WrappingKey(
            wrapping_algorithm=identifiers.WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
            wrapping_key=secrets.token_bytes(32),
            wrapping_key_type=identifiers.EncryptionKeyType.SYMMETRIC,
        )

        class Provider(raw.RawMasterKeyProvider):  # type: ignore[name-defined, misc]
            provider_id = "bench"

            def _get_raw_key(self, _: object) -> Any:
                return key

        provider = Provider()
        provider.add_master_key("bench")
        client = sdk.EncryptionSDKClient()
        began = time.perf_counter()
        for size in sizes:
            client.encrypt(
                source=bytes(size),
                key_provider=provider,
                algorithm=identifiers.Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
            )
        return len(sizes) / (time.perf_counter() - began)
