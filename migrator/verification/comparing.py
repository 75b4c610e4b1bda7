"""Compares stretches of conversations: what is stored with what the source holds, message by message in order.

A stretch is some rows of the source and some of the server between the same two places, so that a long conversation is
compared in bounded memory. Many small conversations are compared in one pass.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from migrator.core.envelope import DataKey
from migrator.core.errors import IntegrityError
from migrator.core.merkle import ItemsRoot
from migrator.core.model import Conversation, MessageRow
from migrator.core.outcomes import CLOSED_TO_HISTORY, GapReason
from migrator.execution.claims import holders_of
from migrator.execution.sealing import UnstorableRowError, gap_key
from migrator.history import Place, StoredMessage, open_row
from migrator.schemes.interface import KeyRing, Opened, Scheme
from migrator.verification.findings import Findings, MismatchKind
from migrator.verification.structure import Item

_SAID_BY_THE_SOURCE = (GapReason.REDACTED.value, GapReason.UNVERIFIED_SENDER.value)
MAX_DISPUTED = 10_000
"""Places of one conversation that are looked up again in its exports' history."""


@dataclass(slots=True, kw_only=True)
class Examined:
    """One conversation under examination. `ring` None: its source may not be opened, or can't be."""

    item: Item
    conversation_id: str
    key: DataKey
    conversation: Conversation | None
    ring: KeyRing | None
    has_history: bool = False
    root: ItemsRoot = field(default_factory=ItemsRoot)
    covered: int = 0
    """Messages of the source that are stored or a gap."""
    uncovered: int = 0
    """Messages of the source that are neither, though the run had to see them."""
    server_only: int = 0
    """Stored messages that the source does not have: deleted there since, or from an export's history."""
    gaps_met: int = 0
    unreadable: int = 0
    """Messages of the source that have no place in the tables."""
    mistyped: int = 0
    """Stored messages whose time or id is of another type."""
    disputed: set[Place] = field(default_factory=set)
    """Where source and server differ and an export's history may say why."""
    claimed_gaps: dict[Place, str] = field(default_factory=dict)
    """Gaps for which an export's history has an entry, and its sender."""

    @property
    def through(self) -> tuple[int, int | None]:
        """How many messages of the source the visible history covers, and the time of the last one."""
        try:
            value = json.loads(self.item.source_through or "{}")
        except ValueError:
            value = {}
        if not isinstance(value, dict):
            value = {}
        messages, last = value.get("messages"), value.get("last_sent_at")
        return messages if isinstance(messages, int) else 0, last if isinstance(last, int) else None

    @property
    def lost(self) -> int:
        """Messages that the run had to see, that the source still has, and that are neither stored nor a gap."""
        deleted_since = self.server_only + self.item.gap_rows - self.gaps_met
        return max(0, min(self.uncovered, self.through[0] - self.covered - deleted_since))

    @property
    def provable(self) -> bool:
        """Whether the source still has every message that the root in the audit log covers."""
        return not self.unreadable and self.covered + self.lost >= self.through[0]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of one conversation between two places, both sides in message order, and the gaps at its places."""

    examined: Examined
    source: Sequence[MessageRow]
    server: Sequence[StoredMessage]
    gaps: Mapping[Place, str]


@dataclass(slots=True)
class _Open:
    """Rows of the source to be opened, each with its server row and content, or with why it is a gap."""

    examined: Examined
    rows: list[MessageRow] = field(default_factory=list)
    stored: list[tuple[StoredMessage, bytes] | str] = field(default_factory=list)


def place(row: MessageRow) -> Place | None:
    """Where a row of the source stands; None if it could never have been migrated."""
    try:
        return gap_key(row)
    except UnstorableRowError:
        return None


def order(sent_at: int, message_id: str) -> tuple[int, bytes]:
    """The order of messages: time, then id bytewise."""
    return sent_at, message_id.encode("utf-8", "surrogateescape")


def compare(scheme: Scheme, connection: sa.Connection, stretches: Sequence[Stretch], findings: Findings) -> None:
    """Open both sides of some stretches and compare them; feeds each conversation's Merkle root."""
    to_open: list[_Open] = []
    for stretch in stretches:
        contents = _open_server(stretch, findings)
        to_open.append(_walk(stretch, contents))
    units = [
        (o.examined.conversation, o.examined.ring, o.rows)
        for o in to_open
        if o.examined.conversation is not None and o.examined.ring is not None
    ]
    opened = [o for o in to_open if o.examined.conversation is not None and o.examined.ring is not None]
    for work, results in zip(opened, scheme.open_messages(units), strict=True):
        _compare(work, results, _rightful(scheme, connection, work, results), findings)


def _open_server(stretch: Stretch, findings: Findings) -> list[bytes | None]:
    """The contents of the stored messages; None where one does not open."""
    contents: list[bytes | None] = []
    failed = 0
    for row in stretch.server:
        try:
            contents.append(open_row(stretch.examined.key, stretch.examined.conversation_id, row))
        except IntegrityError:
            contents.append(None)
            failed += 1
    findings.count("messages", len(stretch.server))
    number = stretch.examined.item.conversation_no
    findings.add_many(MismatchKind.DOES_NOT_OPEN, number, "stored messages do not open", failed)
    return contents


def _walk(stretch: Stretch, contents: Sequence[bytes | None]) -> _Open:
    """Pair both sides, note what is covered, feed the root, and collect what the source has to open."""
    examined = stretch.examined
    to_open = _Open(examined)
    leaves: list[tuple[bytes, bytes, bytes]] = []
    _, last = examined.through
    for row, index in _pairs(stretch.source, stretch.server):
        if row is None:
            server = stretch.server[index]
            leaves.append((server[1].encode(), b"", server[5]))
            examined.server_only += 1
            continue
        ciphertext = row[3] if isinstance(row[3], bytes) else b""
        message_id = row[1].encode("utf-8", "surrogateescape")
        if index >= 0:
            server, content = stretch.server[index], contents[index]
            leaves.append((message_id, ciphertext, server[5]))
            if content is not None:
                to_open.rows.append(row)
                to_open.stored.append((server, content))
        elif (reason := stretch.gaps.get(gap_key(row))) is not None:
            leaves.append((message_id, ciphertext, b""))
            to_open.rows.append(row)
            to_open.stored.append(reason)
            examined.gaps_met += 1
        else:
            examined.uncovered += last is not None and row[0] <= last
            continue
        examined.covered += 1
    examined.root.add(leaves)
    return to_open


def _pairs(source: Sequence[MessageRow], server: Sequence[StoredMessage]) -> Iterator[tuple[MessageRow | None, int]]:
    """Rows of the source with the index of their server row, or -1; server rows alone with None. In order."""
    index, count = 0, len(server)
    for row in source:
        at = order(row[0], row[1])
        while index < count and order(server[index][0], server[index][1]) < at:
            yield None, index
            index += 1
        if index < count and (server[index][0], server[index][1]) == (row[0], row[1]):
            yield row, index
            index += 1
        else:
            yield row, -1
    for rest in range(index, count):
        yield None, rest


def _rightful(
    scheme: Scheme, connection: sa.Connection, work: _Open, results: Sequence[Opened | GapReason]
) -> Sequence[bool | None]:
    """Whether each message has made the claim that it needs; None where the scheme, or the message, needs none.

    Of a gap it is False where another message has made its claim, and of a stored message where it has not itself.
    """
    if not scheme.makes_claims:
        return [None] * len(results)
    claims = [
        None if isinstance(result, GapReason) else claim
        for claim, result in zip(scheme.claims(work.rows), results, strict=True)
    ]
    held = holders_of(connection, work.examined.item.conversation_no, (claim for claim in claims if claim is not None))
    rightful: list[bool | None] = []
    for row, stored, claim in zip(work.rows, work.stored, claims, strict=True):
        holder = None if claim is None else held.get(claim)
        if claim is None:
            rightful.append(None)
        elif isinstance(stored, str):
            rightful.append(holder is None)
        else:
            rightful.append(holder == (row[0], row[1]))
    return rightful


def _compare(
    work: _Open, results: Sequence[Opened | GapReason], rightful: Sequence[bool | None], findings: Findings
) -> None:
    examined = work.examined
    different = opening = compared = gaps = unclaimed = 0
    for row, stored, result, claim in zip(work.rows, work.stored, results, rightful, strict=True):
        if isinstance(stored, str):
            gaps += 1
            opening += _gap_should_be_open(examined, row, result, stored, claim)
        elif isinstance(result, tuple):
            compared += 1
            unclaimed += claim is False and not examined.has_history
            if _same(row, stored, result):
                examined.disputed.discard((row[0], row[1]))
            else:
                different += _count_unless_disputed(examined, (row[0], row[1]))
    findings.count("gaps", gaps)
    findings.count("compared_with_source", compared)
    number = examined.item.conversation_no
    findings.add_many(MismatchKind.CONTENT, number, "stored messages differ from the source", different)
    findings.add_many(MismatchKind.GAP_OPENS, number, "gaps open with the keys that the run had", opening)
    findings.add_many(MismatchKind.CLAIM, number, "stored messages have not made their claim", unclaimed)


def _same(row: MessageRow, stored: tuple[StoredMessage, bytes], opened: Opened) -> bool:
    server, content = stored
    return bool((row[2], *opened) == (server[2], server[3], content))


def _gap_should_be_open(
    examined: Examined, row: MessageRow, result: Opened | GapReason, reason: str, claim: bool | None
) -> bool:
    """Whether the source opens, or an export's history has the message by the same sender.

    A replay opens, and stays a gap as long as another message has its claim. Where messages make claims, whose device
    a sender key is and what is redacted are the source's to say, and may be otherwise since: the next plan's to see.
    """
    if isinstance(result, tuple):
        if claim is None:
            return True
        return claim if reason == GapReason.REPLAY else reason not in _SAID_BY_THE_SOURCE
    if result in CLOSED_TO_HISTORY:
        return False
    at = (row[0], row[1])
    return at in examined.claimed_gaps and examined.claimed_gaps[at] == row[2]


def _count_unless_disputed(examined: Examined, at: Place) -> int:
    """A difference counts at once, unless the stored message may have come from an export's history."""
    if examined.has_history and len(examined.disputed) < MAX_DISPUTED:
        examined.disputed.add(at)
        return 0
    return 1
