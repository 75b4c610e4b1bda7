"""What exports there are, and what they claim to cover: counts only, from their manifests, without opening any."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.encoding import b64url_decode
from migrator.core.export import ExportKind
from migrator.core.outcomes import GapReason
from migrator.database import tables

_OTHER: Final = "other"
"""Where omissions go whose reason is none of ours: clients make them up, and a table has only so many rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportStatus:
    """What was recorded. `refused` counts whole exports and single parts that count as absent, by reason."""

    exports: Mapping[str, int]
    issuer_signed: int
    brought_in: int
    accounts: int
    parts: int
    sealed_bytes: int
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCoverage:
    """What the usable exports of one kind claim: a conversation in two exports counts twice in `messages`.

    `unopened`: those that an operator brought in, sealed as they were. Which messages they open nobody knows, so they
    add none; they may be for every conversation of their accounts.
    """

    exports: int
    unopened: int
    conversations: int
    messages: int
    omissions: Mapping[str, int]


def status(campaign: Campaign) -> ExportStatus:
    """Count what was recorded."""
    export, part = tables.export, tables.export_part
    with campaign.database.read() as connection:
        kinds = connection.execute(sa.select(export.c.kind, sa.func.count()).group_by(export.c.kind))
        exports = {kind.value: 0 for kind in ExportKind} | {kind: int(count) for kind, count in kinds}
        issuer_signed, brought_in, accounts = connection.execute(
            sa.select(
                sa.func.count(export.c.issuer),
                sa.func.count(export.c.brought_in_by),
                sa.func.count(export.c.account_id.distinct()),
            )
        ).one()
        parts, sealed_bytes = connection.execute(
            sa.select(sa.func.count(), sa.func.sum(sa.func.length(part.c.sealed))).select_from(part)
        ).one()
        refused: Counter[str] = Counter()
        for table in (export, part):
            reasons = sa.select(table.c.refused, sa.func.count()).where(table.c.refused.is_not(None))
            for reason, count in connection.execute(reasons.group_by(table.c.refused)):
                refused[reason] += count
    return ExportStatus(
        exports=exports,
        issuer_signed=issuer_signed,
        brought_in=brought_in,
        accounts=accounts,
        parts=parts,
        sealed_bytes=int(sealed_bytes or 0),
        refused=dict(refused),
    )


def coverage(campaign: Campaign) -> dict[ExportKind, KindCoverage]:
    """Add up the manifests of all exports that were not refused."""
    table, listed = tables.export, tables.export_conversation
    result = {}
    with campaign.database.read() as connection:
        for kind in ExportKind:
            usable = (table.c.kind == kind.value, table.c.refused.is_(None))
            exports, unopened = connection.execute(
                sa.select(sa.func.count(), sa.func.count(table.c.brought_in_by)).select_from(table).where(*usable)
            ).one()
            conversations, messages = connection.execute(
                sa.select(sa.func.count(listed.c.conversation_id.distinct()), sa.func.sum(listed.c.messages))
                .join(table, table.c.export_no == listed.c.export_no)
                .where(*usable)
            ).one()
            result[kind] = KindCoverage(
                exports=exports,
                unopened=unopened,
                conversations=conversations,
                messages=int(messages or 0),
                omissions=_omissions(connection, usable),
            )
    return result


def _omissions(connection: sa.Connection, usable: tuple[sa.ColumnElement[bool], ...]) -> dict[str, int]:
    known = {reason.value for reason in GapReason}
    counts: Counter[str] = Counter()

    def take(members: dict[str, object]) -> None:
        reason, count = members.get("reason"), members.get("count")
        if isinstance(reason, str) and isinstance(count, int):
            counts[reason if reason in known else _OTHER] += count

    for manifest in _manifests(connection, usable):
        json.loads(b64url_decode(manifest.split(".")[1]), object_hook=take)
    return dict(counts)


def _manifests(connection: sa.Connection, usable: tuple[sa.ColumnElement[bool], ...]) -> Iterator[str]:
    """One manifest at a time, by keyset: drivers fetch whole results."""
    table = tables.export
    export_no = 0
    while True:
        query = sa.select(table.c.export_no, table.c.manifest).where(*usable, table.c.export_no > export_no)
        row = connection.execute(query.order_by(table.c.export_no).limit(1)).one_or_none()
        if row is None:
            return
        export_no = row.export_no
        yield row.manifest
