"""What the database holds of sealed exports, and unsealing it part by part, in memory only (G5).

One part is in memory at a time, sealed and open: at most twice 8 MiB. Recipient private keys are fetched from the key
service once a process.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import sqlalchemy as sa

from migrator import recipient_key
from migrator.campaign import Campaign
from migrator.core.encoding import b64url_decode
from migrator.core.export import ExportKind, part_info
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.recipient_key import RecipientPrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedExport:
    """A recorded export. `refused`: why the whole of it counts as absent; None: it doesn't."""

    export_no: int
    export_id: str
    account_id: str
    kind: ExportKind
    recipient_key_id: str
    refused: str | None


def exports_of(
    connection: sa.Connection, wanted: Mapping[str, Collection[str]], last_export_no: int
) -> list[tuple[SealedExport, list[str]]]:
    """Exports that list a wanted conversation, in order of receipt, each with those conversations.

    `wanted` names for each conversation the accounts whose exports may be used.
    """
    table, listed = tables.export, tables.export_conversation
    exports: dict[int, SealedExport] = {}
    conversations: dict[int, list[str]] = defaultdict(list)
    for chunk in chunks(wanted):
        query = (
            sa.select(
                listed.c.conversation_id, table.c.export_no, table.c.export_id, table.c.account_id, table.c.kind,
                table.c.recipient_key_id, table.c.refused,
            )
            .join(table, table.c.export_no == listed.c.export_no)
            .where(
                listed.c.conversation_id.in_(chunk), listed.c.export_no <= last_export_no,
                table.c.destroyed_at.is_(None),
            )
        )  # fmt: skip
        for conversation_id, export_no, export_id, account_id, kind, key_id, refused in connection.execute(query):
            if account_id not in wanted[conversation_id]:
                continue
            conversations[export_no].append(conversation_id)
            if export_no not in exports:
                exports[export_no] = SealedExport(
                    export_no=export_no,
                    export_id=export_id,
                    account_id=account_id,
                    kind=ExportKind(kind),
                    recipient_key_id=key_id,
                    refused=refused,
                )
    return [(exports[export_no], conversations[export_no]) for export_no in sorted(exports)]


def listed_conversations(connection: sa.Connection, export_no: int) -> frozenset[str]:
    """Every conversation that an export's manifest lists.

    Read from the manifest, as the table of conversations has no way in by export; objects are dropped as they are
    parsed, so that a manifest of 16 MiB takes little more.
    """
    text = connection.execute(_MANIFEST, {"export_no": export_no}).scalar_one()
    ids: list[str] = []

    def take(members: dict[str, object]) -> None:
        identifier = members.get("id")
        if isinstance(identifier, str) and "messages" in members:
            ids.append(identifier)

    json.loads(b64url_decode(text.split(".")[1]), object_hook=take)
    return frozenset(ids)


class Unsealer:
    """Opens parts with the campaign's recipient keys, which stay in this process's memory."""

    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign
        self._keys: dict[str, RecipientPrivateKey] = {}

    def let_go(self) -> None:
        """Forget the recipient keys; they are unwrapped again when something is to be opened."""
        self._keys.clear()

    def parts(
        self, connection: sa.Connection, export: SealedExport, only: Collection[int] | None = None
    ) -> Iterator[tuple[int, bytes | None]]:
        """The parts of an export in order: number and plaintext, or None where it does not unseal.

        Parts that were refused earlier are passed over; `only` limits it to some.
        """
        if only is not None:
            for part_no in only:
                part = _first_part(connection, export, part_no, part_no)
                if part is not None:
                    yield part_no, self._open(connection, export, part)
            return
        part = _first_part(connection, export, 0, _LAST_POSSIBLE)
        while part is not None:
            yield part.part_no, self._open(connection, export, part)
            part = _first_part(connection, export, part.part_no + 1, _LAST_POSSIBLE) if part.more else None

    def _open(self, connection: sa.Connection, export: SealedExport, part: "_SealedPart") -> bytes | None:
        if hashlib.sha256(part.sealed).hexdigest() != part.sha256:
            return None
        key = self._keys.get(export.recipient_key_id)
        if key is None:
            key = recipient_key.unwrap(self._campaign, connection, export.recipient_key_id)
            self._keys[export.recipient_key_id] = key
        try:
            return key.open(part.sealed, part_info(export.export_id, part.part_no))
        except ValueError:
            return None


class _SealedPart(NamedTuple):
    part_no: int
    sha256: str
    sealed: bytes
    more: bool
    """Whether the export has parts behind this one."""


_PARTS = tables.export_part
_LATER = _PARTS.alias("later")
_LAST_POSSIBLE: Final = 2**31 - 1
# Made once: there is one for each export, and making a statement takes longer than running it.
_FIRST_PART: Final = (
    sa.select(
        _PARTS.c.part_no,
        _PARTS.c.sha256,
        _PARTS.c.sealed,
        sa.exists()
        .where(_LATER.c.export_no == _PARTS.c.export_no, _LATER.c.part_no > _PARTS.c.part_no)
        .where(_LATER.c.refused.is_(None))
        .label("more"),
    )
    .where(
        _PARTS.c.export_no == sa.bindparam("export_no"),
        _PARTS.c.part_no.between(sa.bindparam("first"), sa.bindparam("last")),
        _PARTS.c.refused.is_(None),
    )
    .order_by(_PARTS.c.part_no)
    .limit(1)
)
_MANIFEST: Final = sa.select(tables.export.c.manifest).where(tables.export.c.export_no == sa.bindparam("export_no"))


def _first_part(connection: sa.Connection, export: SealedExport, first: int, last: int) -> _SealedPart | None:
    """The first part that was not refused, of those between two numbers."""
    wanted = {"export_no": export.export_no, "first": first, "last": last}
    row = connection.execute(_FIRST_PART, wanted).one_or_none()
    return None if row is None else _SealedPart(row[0], row[1], bytes(row[2]), bool(row[3]))
