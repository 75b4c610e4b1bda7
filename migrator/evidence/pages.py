"""The page of a conversation that holds a message, with the proof that it is under the `items_root` in the audit log.

What the root was taken over is read again: rows of the source that are stored or a gap, and stored messages that the
source does not have, in message order. Nothing is opened. Memory holds one page of rows and a hash for each 1,000.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import sqlalchemy as sa

from migrator import history
from migrator.audit.bundle.writing import PageProof
from migrator.campaign import Campaign
from migrator.core.errors import IntegrityError, UsageError
from migrator.core.merkle import PAGE_MESSAGES, leaf_hash, node_hash
from migrator.core.proofs import inclusion_proof, tree_hash
from migrator.database import tables
from migrator.verification import events
from migrator.verification.comparing import order, place

_Leaf = tuple[bytes, bytes, bytes]
"""(message id, E2EE ciphertext, server ciphertext)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visible:
    """A conversation that readers see, and which run showed it."""

    conversation_id: str
    conversation_no: int
    run_id: str


def prove_message(campaign: Campaign, conversation_id: str, ref: str, message_id: str) -> PageProof:
    """The page that holds a message. `ref`: the conversation's reference.

    Raises `UsageError` where there is no such message, `IntegrityError` where what is stored is not what was logged.
    """
    wanted = message_id.encode("utf-8", "surrogateescape")
    with campaign.database.read() as connection:
        found = _visible(connection, conversation_id)
        seq, expected = _logged(connection, found, ref)
        hashes, page_no = _pages(campaign, connection, found, wanted)
    if page_no is None:
        raise UsageError("the conversation has no such message", hint="ids are compared byte by byte")
    nodes = _Nodes(hashes)
    if tree_hash(nodes, len(hashes)).hex() != expected:
        raise IntegrityError(
            "the conversation's messages are not those that the audit log has the root of",
            hint="the source may have lost some since, or was retired; `migrator verify` says what differs",
        )
    path = inclusion_proof(nodes, page_no, len(hashes))
    return PageProof(
        seq=seq,
        ref=ref,
        message_id=_base64(wanted),
        page_no=page_no,
        pages=len(hashes),
        path=tuple(_base64(node) for node in path),
        rows=_rows(campaign, found, page_no, hashes[page_no]),
    )


def _visible(connection: sa.Connection, conversation_id: str) -> _Visible:
    table = tables.conversation
    row = connection.execute(sa.select(table).where(table.c.conversation_id == conversation_id)).one_or_none()
    if row is None or row.mode != "server" or row.run_id is None:
        raise UsageError(
            "the conversation has no visible server history", hint="only what was rewrapped has a page to show"
        )
    return _Visible(conversation_id=conversation_id, conversation_no=row.conversation_no, run_id=row.run_id)


def _logged(connection: sa.Connection, found: _Visible, ref: str) -> tuple[int, str]:
    """Number and root of the entry that says that the conversation was shown as it is."""
    logged = events.of_conversations(connection, [ref])[ref]
    root = events.items_root(logged, found.run_id)
    table = tables.outbox
    seq = connection.scalar(
        sa.select(table.c.seq).where(
            table.c.subject == ref, table.c.run_id == found.run_id, table.c.type == "conversation.rewrapped"
        )
    )
    if root is None or seq is None:
        raise IntegrityError("the audit log has no single entry that the conversation was rewrapped")
    return seq, root


def _pages(
    campaign: Campaign, connection: sa.Connection, found: _Visible, wanted: bytes
) -> tuple[list[bytes], int | None]:
    """Leaf hash of each page, and the number of the first that holds the message."""
    hashes: list[bytes] = []
    page_no: int | None = None
    leaves = _leaves(campaign, connection, found)
    while page := list(islice(leaves, PAGE_MESSAGES)):
        if page_no is None and any(leaf[0] == wanted for leaf in page):
            page_no = len(hashes)
        hashes.append(_page_hash(page))
    return hashes, page_no


def _rows(campaign: Campaign, found: _Visible, page_no: int, expected: bytes) -> Iterator[bytes]:
    """The page again, as it is written; it must be the one whose place was proved."""
    with campaign.database.read() as connection:
        leaves = islice(_leaves(campaign, connection, found), page_no * PAGE_MESSAGES, (page_no + 1) * PAGE_MESSAGES)
        page = list(leaves)
    if _page_hash(page) != expected:
        raise IntegrityError("the conversation changed while it was read", hint="ask again")
    for message_id, source, server in page:
        row = {"message_id": _base64(message_id), "source": _base64(source), "server": _base64(server)}
        yield json.dumps(row).encode() + b"\n"


def _leaves(campaign: Campaign, connection: sa.Connection, found: _Visible) -> Iterator[_Leaf]:
    """Both sides merged in message order, as `items_root` has them."""
    size = campaign.settings.execution.page_size
    server = (row for page in history.message_pages(connection, found.conversation_no, size) for row in page)
    stored = next(server, None)
    for sent_at, message_id, ciphertext, is_gap in _source(campaign, connection, found, size):
        at = order(sent_at, message_id)
        while stored is not None and order(stored[0], stored[1]) < at:
            yield stored[1].encode(), b"", stored[5]
            stored = next(server, None)
        encoded = message_id.encode("utf-8", "surrogateescape")
        if stored is not None and (stored[0], stored[1]) == (sent_at, message_id):
            yield encoded, ciphertext, stored[5]
            stored = next(server, None)
        elif is_gap:
            yield encoded, ciphertext, b""
    while stored is not None:
        yield stored[1].encode(), b"", stored[5]
        stored = next(server, None)


def _source(
    campaign: Campaign, connection: sa.Connection, found: _Visible, size: int
) -> Iterator[tuple[int, str, bytes, bool]]:
    """(time, message id, ciphertext, is a gap) of the rows of the source that have a place in the tables."""
    store, cursor = campaign.store, None
    while True:
        rows = store.page(found.conversation_id, cursor, size)
        places = [at for row in rows if (at := place(row)) is not None]
        gaps = history.gaps_at(connection, found.conversation_no, places)
        for row in rows:
            at = place(row)
            if at is not None:
                yield row[0], row[1], row[3] if isinstance(row[3], bytes) else b"", at in gaps
        if len(rows) < size:
            return
        cursor = store.cursor(rows[-1])


def _page_hash(page: list[_Leaf]) -> bytes:
    digest = hashlib.sha256()
    for leaf in page:
        for part in leaf:
            digest.update(len(part).to_bytes(4, "big"))
            digest.update(part)
    return leaf_hash(digest.digest())


class _Nodes:
    """Hashes of perfect subtrees over leaf hashes in memory: `HashAt`."""

    def __init__(self, leaves: list[bytes]) -> None:
        self._leaves = leaves

    def __call__(self, level: int, index: int) -> bytes:
        nodes = self._leaves[index << level : (index + 1) << level]
        while len(nodes) > 1:
            nodes = [node_hash(nodes[i], nodes[i + 1]) for i in range(0, len(nodes), 2)]
        return nodes[0]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
