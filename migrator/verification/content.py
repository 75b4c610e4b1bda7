"""Opens what a page of items shows, with freshly unwrapped data keys, and compares it with the source as it is now.

The source is opened only where it may be opened now (G1, G2): an authorisation that was withdrawn or has expired since
costs the comparison, not the verification, and so does a source that is gone, moved or retired. What could not be
compared is counted as such: `not_compared`, and of it `without_source` for want of a source.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from migrator import history
from migrator.campaign import Campaign
from migrator.core.envelope import DataKey, key_context
from migrator.core.errors import SourceGoneError
from migrator.core.model import Conversation
from migrator.core.plan import EXTEND
from migrator.database import tables
from migrator.execution.deciding import PlannedItem, decide_items
from migrator.execution.gates import cutover_reached
from migrator.execution.work import Work
from migrator.exports.opening import ExportReader, Material
from migrator.facts import FactsReader, Watermarks, current_watermarks
from migrator.history import StoredKey
from migrator.lookups import rows_among
from migrator.verification import events
from migrator.verification.claims import Claims
from migrator.verification.comparing import Examined, compare
from migrator.verification.findings import Findings, MismatchKind
from migrator.verification.sides import long_one, small_ones
from migrator.verification.structure import Item

_KEPT_READERS = 2
"""Plans whose readers of facts and exports are kept; the conversations of a run are nearly all of one."""


def sampled(conversation_id: str, sample: float | None) -> bool:
    """Whether a conversation's content is looked at: the same choice every time, `sample` in per cent."""
    if sample is None:
        return True
    digest = hashlib.sha256(b"migrator/sample\0" + conversation_id.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8]) < sample / 100 * 2**64


class Examiner:
    """Looks into the visible conversations of one run, a page of items at a time."""

    def __init__(self, campaign: Campaign, run_id: str, sample: float | None, findings: Findings) -> None:
        self._campaign = campaign
        self._run_id = run_id
        self._sample = sample
        self._findings = findings
        self._page_size = campaign.settings.execution.page_size
        self._readers: dict[str | None, tuple[FactsReader, ExportReader]] = {}
        self._source_is_there = _source_is_there(campaign)

    def examine(self, connection: sa.Connection, items: Sequence[Item]) -> None:
        """Check keys, events and contents of the visible conversations among some items."""
        visible = {item.conversation_id: item for item in items if item.visible and item.conversation_id is not None}
        conversations = self._campaign.store.conversations(sorted(visible)) if self._source_is_there else {}
        keys = self._keys(connection, list(visible.values()))
        refs = self._refs(connection, conversations)
        for item in visible.values():
            self._check_binding(item, keys.get(item.conversation_no), refs)
        names = {
            item.conversation_no: refs.get(identifier, keys[item.conversation_no].ref or "")
            for identifier, item in visible.items()
            if item.conversation_no in keys
        }
        logged = events.of_conversations(connection, list(names.values()))
        for item in visible.values():
            key = keys.get(item.conversation_no)
            if key is not None:
                events.check(self._run_id, item, key, logged[names[item.conversation_no]], self._findings)
        chosen = [item for identifier, item in visible.items() if sampled(identifier, self._sample)]
        for plan_id in dict.fromkeys(item.plan_id for item in chosen):
            group = [item for item in chosen if item.plan_id == plan_id]
            for examined in self._contents(connection, plan_id, group, conversations, keys):
                ref = names[examined.item.conversation_no]
                self._conclude(examined, events.items_root(logged[ref], examined.item.shown_by))

    # --- data keys ---

    def _keys(self, connection: sa.Connection, items: Sequence[Item]) -> dict[int, StoredKey]:
        """The one living data key of each conversation; anything else is a mismatch."""
        found = history.living_keys(connection, [item.conversation_no for item in items])
        keys = {}
        for item in items:
            living = found.get(item.conversation_no, [])
            if len(living) != 1 or living[0].ref is None:
                self._findings.add(
                    MismatchKind.DATA_KEY, item.conversation_no, f"{len(living)} usable data keys instead of one"
                )
                continue
            keys[item.conversation_no] = living[0]
            if item.rows_by_key.keys() - {living[0].key_id}:
                self._findings.add(MismatchKind.DATA_KEY, item.conversation_no, "messages name another data key")
        return keys

    def _check_binding(self, item: Item, key: StoredKey | None, refs: Mapping[str, str]) -> None:
        """A data key is bound to this campaign and this conversation."""
        if key is None:
            return
        ref = refs.get(item.conversation_id or "", key.ref or "")
        if key.context.encode("utf-8", "surrogatepass") != key_context(self._campaign.name, ref, key.key_id):
            detail = "its data key is bound to something else"
            self._findings.add(MismatchKind.DATA_KEY, item.conversation_no, detail)

    def _refs(self, connection: sa.Connection, conversations: Mapping[str, Conversation]) -> dict[str, str]:
        """Keyed references of what the source still has; not of a subject whose reference key was erased."""
        subjects = {identifier: c.owner_id or identifier for identifier, c in conversations.items()}
        table = tables.reference_salt
        query = sa.select(table.c.subject_id)
        salted = {row[0] for row in rows_among(connection, query, table.c.subject_id, set(subjects.values()))}
        known = {identifier: subject for identifier, subject in subjects.items() if subject in salted}
        return self._campaign.references.of(connection, known)

    # --- contents ---

    def _contents(
        self,
        connection: sa.Connection,
        plan_id: str | None,
        items: Sequence[Item],
        conversations: Mapping[str, Conversation],
        keys: Mapping[int, StoredKey],
    ) -> Iterator[Examined]:
        """Conversations of one plan, compared; many small ones together, long ones by themselves."""
        works = self._may_be_opened(connection, plan_id, items)
        unwrapped = self._unwrap(items, keys)
        small: list[Examined] = []
        size = 0
        for item in items:
            key = unwrapped.get(item.conversation_no)
            if key is None or item.conversation_id is None:
                continue
            examined = Examined(
                item=item,
                conversation_id=item.conversation_id,
                key=key,
                conversation=conversations.get(item.conversation_id),
                ring=None,
            )
            weight = max(item.rows + item.gap_rows, examined.conversation.messages if examined.conversation else 0)
            if weight > self._page_size:
                yield from self._together(connection, plan_id, [examined], works, long=True)
                continue
            if size + weight > self._page_size:
                yield from self._together(connection, plan_id, small, works)
                small, size = [], 0
            small.append(examined)
            size += weight
        yield from self._together(connection, plan_id, small, works)

    def _unwrap(self, items: Sequence[Item], keys: Mapping[int, StoredKey]) -> dict[int, DataKey]:
        wanted = [keys[item.conversation_no] for item in items if item.conversation_no in keys]
        unwrapped: dict[int, DataKey] = {}
        for stored, answer in zip(wanted, history.unwrap(self._campaign, wanted), strict=True):
            if isinstance(answer, DataKey):
                unwrapped[stored.conversation_no] = answer
            else:
                self._findings.add(MismatchKind.DATA_KEY, stored.conversation_no, answer.message)
        self._findings.count("data_keys", len(wanted))
        return unwrapped

    def _may_be_opened(self, connection: sa.Connection, plan_id: str | None, items: Sequence[Item]) -> dict[str, Work]:
        """What the policy would let open at this moment, with the accounts whose exports may be used."""
        if not (self._source_is_there and cutover_reached(self._campaign)) or _recipient_key_is_gone(connection):
            return {}
        planned = [
            PlannedItem(item.conversation_no, item.conversation_id, EXTEND, item.messages, visible=True)
            for item in items
            if item.conversation_id is not None
        ]
        works, _ = decide_items(self._campaign, connection, self._reader(connection, plan_id)[0], planned)
        return {work.conversation_id: work for work in works}

    def _reader(self, connection: sa.Connection, plan_id: str | None) -> tuple[FactsReader, ExportReader]:
        """Facts as of now, and the exports that the plan knew: what came later is for a later plan."""
        if plan_id not in self._readers:
            while len(self._readers) >= _KEPT_READERS:
                self._readers.pop(next(iter(self._readers)))
            table = tables.plan
            export_no = connection.scalar(sa.select(table.c.last_export_no).where(table.c.plan_id == plan_id)) or 0
            watermarks = Watermarks(current_watermarks(connection).authorization_no, export_no)
            self._readers[plan_id] = (
                FactsReader(self._campaign, watermarks),
                ExportReader(self._campaign, last_export_no=export_no),
            )
        return self._readers[plan_id]

    def _together(
        self,
        connection: sa.Connection,
        plan_id: str | None,
        group: Sequence[Examined],
        works: Mapping[str, Work],
        *,
        long: bool = False,
    ) -> Iterator[Examined]:
        if not group:
            return
        opening = {e.conversation_id: works[e.conversation_id] for e in group if e.conversation_id in works}
        reader = self._reader(connection, plan_id)[1] if opening else None
        claims: list[Claims] = []
        if reader is not None:
            material = reader.keys(connection, {identifier: w.exporters for identifier, w in opening.items()})
            claims = _prepare(connection, reader, material, opening, group)
        for claim in claims:
            claim.before_source(self._findings)
        sides = (
            long_one(self._campaign, connection, group[0]) if long else small_ones(self._campaign, connection, group)
        )
        for stretches in sides:
            compare(self._campaign.scheme, connection, stretches, self._findings)
        for claim in claims:
            claim.after_source(self._findings)
        yield from group

    # --- the end of one conversation ---

    def _conclude(self, examined: Examined, expected: str | None) -> None:
        findings, number = self._findings, examined.item.conversation_no
        findings.count("contents")
        if examined.ring is None:
            findings.count("not_compared")
        if not self._source_is_there:
            findings.count("without_source")
        findings.add_many(
            MismatchKind.DOES_NOT_OPEN, number, "stored messages have a time or id of another type", examined.mistyped
        )
        findings.add_many(
            MismatchKind.MISSING_MESSAGE, number, "messages of the source are neither stored nor gaps", examined.lost
        )
        if examined.root.root().hex() == expected:
            findings.count("items_roots")
        elif examined.provable:
            findings.add(MismatchKind.ITEMS_ROOT, number, "its Merkle root is not the one in the audit log")
        else:
            findings.count("items_roots_unprovable")  # the source has lost messages since: they were leaves of it


def _prepare(
    connection: sa.Connection,
    reader: ExportReader,
    material: Material,
    opening: Mapping[str, Work],
    group: Sequence[Examined],
) -> list[Claims]:
    """Give each conversation its keys; those with history from exports are compared with that as well."""
    claims = []
    for examined in group:
        identifier = examined.conversation_id
        if identifier not in opening or identifier in material.too_broad:
            continue
        examined.ring = dict(material.rings.get(identifier, {}))
        if identifier in material.with_history:
            examined.has_history = True
            claims.append(Claims(connection, reader, examined, opening[identifier].exporters))
    return claims


def _source_is_there(campaign: Campaign) -> bool:
    """Whether there is a source to compare with; one that is only away for a moment is an error."""
    try:
        return bool(campaign.store)
    except SourceGoneError:
        return False


def _recipient_key_is_gone(connection: sa.Connection) -> bool:
    """Whether a recipient key was destroyed, and what was sealed to it with it."""
    table = tables.recipient_key
    gone = sa.select(table.c.recipient_key_id).where(table.c.wrapped_private_key.is_(None)).limit(1)
    return connection.execute(gone).first() is not None
