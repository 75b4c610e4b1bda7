"""Opening exports when their conversations are executed: keys and history, contained whatever a client handed over.

1. A part whose digest is wrong, that does not unseal, or has a line that can't be read, is unusable as a whole: nothing
   of it counts, the rest of its export does.
2. An export that hands over an epoch root key anywhere is too broad: nothing of it counts, from then on.
3. Only keys of conversations that the manifest lists count; others are ignored and counted.
4. Refusals are results. The caller records them with `record_refusals` in the transaction of what it did with the rest,
   which writes each event once, however often workers meet the same part.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.export import ExportKind, HistoryEntry, part_lines
from migrator.core.key_backup import KeyBackup
from migrator.core.limits import LIMITS
from migrator.core.outcomes import RefusalReason
from migrator.exports.history import HistoryReader
from migrator.exports.refusals import ExportRefusal, record_refusals
from migrator.exports.rings import MAX_CANDIDATES, MAX_ENTRIES, GatheredRings, NeededSlots
from migrator.exports.sealed import SealedExport, Unsealer, exports_of, listed_conversations
from migrator.schemes.interface import KeyEntry, KeyRing, ScopeTooBroadError
from migrator.stores.interface import KeepsKeyBackups

__all__ = ["ExportReader", "ExportRefusal", "Material", "record_refusals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What exports give for some conversations.

    `too_broad`: conversations that only exports list which hand over too much. `with_history`: those that a history
    export lists. `ignored`: entries of conversations that their manifests don't list, met while opening.
    """

    rings: Mapping[str, KeyRing] = field(repr=False)
    too_broad: frozenset[str]
    with_history: frozenset[str]
    refusals: tuple[ExportRefusal, ...]
    ignored: int


@dataclass(frozen=True, slots=True)
class _Opened:
    """An opened `keys` export; `rings` None: it is too broad."""

    rings: Mapping[str, KeyRing] | None
    refusals: tuple[ExportRefusal, ...]
    ignored: int
    entries: int


class ExportReader:
    """Opens a campaign's exports up to a number: later ones are for the next plan. One for each worker process.

    What small exports gave is kept for a while, as conversations of one owner come one after another: together at most
    `MAX_ENTRIES` keys.
    """

    def __init__(self, campaign: Campaign, *, last_export_no: int) -> None:
        self._campaign = campaign
        self._last_export_no = last_export_no
        self._unsealer = Unsealer(campaign)
        self._kept: OrderedDict[int, _Opened] = OrderedDict()
        self._history = HistoryReader(self._unsealer)

    def keys(self, connection: sa.Connection, wanted: Mapping[str, Collection[str]]) -> Material:
        """The keys that exports give for some conversations; `wanted` names the accounts whose exports may be used.

        Raises `KeyServiceError` and `IntegrityError` where a recipient key can't be had.
        """
        needed = cache(lambda: self._campaign.store.key_slots(sorted(wanted)))
        gathered = GatheredRings(wanted, needed)
        broad: set[str] = set()
        covered: set[str] = set()
        with_history: set[str] = set()
        refusals: list[ExportRefusal] = []
        ignored = 0
        for export, conversations in exports_of(connection, wanted, self._last_export_no):
            if export.refused is not None:
                broad.update(conversations)
                continue
            if export.kind is ExportKind.HISTORY:
                with_history.update(conversations)
                covered.update(conversations)
                continue
            opened, fresh = self._opened(connection, export, wanted, needed)
            refusals.extend(opened.refusals)
            ignored += opened.ignored if fresh else 0
            if opened.rings is None:
                broad.update(conversations)
                continue
            covered.update(conversations)
            for conversation_id in conversations:
                gathered.add_ring(conversation_id, opened.rings.get(conversation_id, {}), export.account_id)
        return Material(
            rings=gathered.rings,
            too_broad=frozenset(broad - covered),
            with_history=frozenset(with_history),
            refusals=tuple(refusals),
            ignored=ignored,
        )

    def history(
        self, connection: sa.Connection, conversation_id: str, accounts: Collection[str]
    ) -> Iterator[list[HistoryEntry]]:
        """Messages of one conversation from `history` exports of these accounts, in order of receipt, in pages.

        The same message may come more than once. The connection must stay open until the last page.
        """
        for export, _ in exports_of(connection, {conversation_id: accounts}, self._last_export_no):
            if export.kind is ExportKind.HISTORY and export.refused is None:
                yield from self._history.pages(connection, export, conversation_id)

    def let_go(self) -> None:
        """Forget what was opened and the keys that open more, while nothing is opened for long."""
        self._kept.clear()
        self._unsealer.let_go()

    @property
    def pending_refusals(self) -> list[ExportRefusal]:
        """What `history` met since the caller last emptied the list."""
        return self._history.pending_refusals

    def _opened(
        self, connection: sa.Connection, export: SealedExport, wanted: Collection[str], needed: NeededSlots
    ) -> tuple[_Opened, bool]:
        """What an export gives, and whether it was opened just now."""
        kept = self._kept.get(export.export_no)
        if kept is not None:
            self._kept.move_to_end(export.export_no)
            return kept, False
        gathered = GatheredRings(wanted, needed, max_candidates=MAX_CANDIDATES)
        beside = _OfExport(self._campaign, export.account_id, wanted)
        opened = self._open(connection, export, gathered, beside)
        if gathered.whole and not beside.asked:
            self._kept[export.export_no] = opened
            while sum(o.entries for o in self._kept.values()) > MAX_ENTRIES:
                self._kept.popitem(last=False)
        return opened, True

    def _open(
        self, connection: sa.Connection, export: SealedExport, gathered: GatheredRings, beside: "_OfExport"
    ) -> _Opened:
        listed = listed_conversations(connection, export.export_no)
        refusals: list[ExportRefusal] = []
        ignored = 0
        for part_no, plaintext in self._unsealer.parts(connection, export):
            try:
                entries = None if plaintext is None else self._key_entries(plaintext, beside)
            except ScopeTooBroadError:
                refusal = ExportRefusal(export_no=export.export_no, part_no=None, reason=RefusalReason.SCOPE_TOO_BROAD)
                return _Opened(None, (refusal,), 0, 1)
            if entries is None:
                refusals.append(
                    ExportRefusal(export_no=export.export_no, part_no=part_no, reason=RefusalReason.UNUSABLE_PART)
                )
                continue
            for conversation_id, slot, key in entries:
                if conversation_id in listed:
                    gathered.add(conversation_id, slot, key)
                else:
                    ignored += 1
        return _Opened(gathered.rings, tuple(refusals), ignored, gathered.count + 1)

    def _key_entries(self, plaintext: bytes, beside: "_OfExport") -> Iterable[KeyEntry] | None:
        """The keys of a part; None at the first line that can't be read. Raises `ScopeTooBroadError`."""
        scheme = self._campaign.scheme
        try:
            plain = scheme.read_plain_part(plaintext, beside)
        except ValueError:
            return None
        if plain is not None:
            return plain
        entries: list[Iterable[KeyEntry]] = []
        for line in part_lines(plaintext, LIMITS.key_line_bytes):
            if isinstance(line, ValueError):
                return None
            try:
                entries.append(scheme.read_key_entries(line, beside))
            except ValueError:
                return None
        return chain.from_iterable(entries)


class _OfExport:
    """What key lines need beside themselves: what the source keeps of the account's keys, for the rooms of one unit.

    An account may have more keys there than memory should hold, and a unit needs those of its rooms only: so they are
    read anew for each unit, and what an export gave that led here is not kept. `asked` says that it did.
    """

    def __init__(self, campaign: Campaign, account_id: str, wanted: Collection[str]) -> None:
        self._campaign = campaign
        self._account_id = account_id
        self._wanted = wanted
        self.asked = False
        self._rounds = 0

    def stretch(self, rounds: int) -> None:
        """Account for rounds: a hostile export has room for ten thousand files, each with seconds of work."""
        self._rounds += rounds
        if self._rounds > LIMITS.export_pbkdf2_rounds:
            raise ValueError("an export's passphrases ask for too many PBKDF2 rounds")

    def backup(self) -> KeyBackup | None:
        """The backup; None where the source keeps none."""
        self.asked = True
        store = self._campaign.store
        return store.key_backup(self._account_id, self._wanted) if isinstance(store, KeepsKeyBackups) else None
