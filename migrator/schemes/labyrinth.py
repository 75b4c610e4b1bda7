"""The Labyrinth scheme: opens messages of encrypted message storage (formats, section 1).

Rules for one message, in this order:

1. `malformed`: a field has the wrong type, an id has a NUL or can't be UTF-8, the time is outside 0 to the end of the
   year 9999, the ciphertext is shorter than the shortest that a client can write (54 bytes).
2. `unsupported_version`: the cipher version is none of 0, 2, 3, 4.
3. `no_key`: no export gave a key for its (epoch id, version).
4. `corrupt`: the tag, the length or the padding fails under every candidate key.

The hot path: the messages of all units are laid side by side, so that form is checked a column at a time and HChaCha20
runs once: 3.2 µs a message of 250 bytes in units of 20 (two-core virtual machine), 1.7 of them AES-GCM. A wrong first
candidate costs one more pass over what failed under it.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from json.encoder import encode_basestring
from operator import itemgetter
from struct import Struct
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from migrator.core.encoding import b64url_decode, pieces
from migrator.core.key_backup import BackupOf
from migrator.core.limits import LIMITS
from migrator.core.model import Conversation, MessageRow
from migrator.core.outcomes import GapReason
from migrator.schemes.hchacha20 import subkeys
from migrator.schemes.interface import KeyEntry, KeyRing, Opened, ScopeTooBroadError
from migrator.schemes.labyrinth_format import KEY_BYTES, SHORTEST_SEALED, VERSIONS, associated_data, thread_of
from migrator.schemes.labyrinth_lines import plain_entries

CONTENT_TYPE = "application/octet-stream"
LATEST_SENT_AT = 253_402_300_799_999
"""The last millisecond of the year 9999."""

_ENTRY_MEMBERS = {"conversation_id", "epoch_id", "epoch_sequence", "version", "message_key"}
_MAX_VERSIONS = 64
_MAX_INTEGER = 2**63 - 1

_Result = Opened | GapReason
_Unit = tuple[Conversation, KeyRing, Sequence[MessageRow]]
_Keys = Mapping[Hashable, Sequence[bytes]]
"""The keys to try in order, by slot."""
_CIPHERTEXT, _VERSION, _SLOT = itemgetter(3), itemgetter(5), itemgetter(4, 5)
_LENGTH = Struct(">I").unpack_from


class LabyrinthScheme:
    """Opens Labyrinth messages, cipher versions 0, 2, 3 and 4."""

    name: ClassVar[str] = "labyrinth"
    makes_claims: ClassVar[bool] = False

    def read_key_entries(self, entry: Mapping[str, object], backup: BackupOf) -> Iterable[KeyEntry]:  # noqa: ARG002
        """Read one parsed line of a `keys` export, which holds one key; mailboxes have no backup beside them."""
        if "epoch_root_key" in entry:
            raise ScopeTooBroadError
        if entry.keys() != _ENTRY_MEMBERS:
            raise ValueError("a key entry has other members than it should")
        conversation_id, epoch_id = _identifier(entry["conversation_id"]), _identifier(entry["epoch_id"])
        _natural(entry["epoch_sequence"])
        key = entry["message_key"]
        if not isinstance(key, str) or len(key) > 2 * KEY_BYTES:
            raise ValueError("a message key is not text of its length")
        decoded = b64url_decode(key)
        if len(decoded) != KEY_BYTES:
            raise ValueError("a message key does not have 32 bytes")
        return [KeyEntry(conversation_id, (epoch_id, _natural(entry["version"])), decoded)]

    def read_plain_part(self, part: bytes) -> list[KeyEntry] | None:
        """All keys of a part whose every line is in the plainest form; see the port."""
        return plain_entries(part)

    def read_coverage(self, entry: object) -> set[Hashable]:
        """The (epoch id, version) slots of one element of a manifest's `coverage`."""
        if not isinstance(entry, dict) or entry.keys() != {"epoch_id", "versions"}:
            raise ValueError("a coverage element has other members than it should")
        versions = entry["versions"]
        if not isinstance(versions, list) or len(versions) > _MAX_VERSIONS:
            raise ValueError("a coverage element's versions are not a short list")
        epoch_id = _identifier(entry["epoch_id"])
        return {(epoch_id, _natural(version)) for version in versions}

    def covers(self, coverage: str, slot: Hashable) -> bool:
        """Whether a coverage names a slot, found in the text itself: a fifth of the cost of parsing it.

        In canonical JSON members stand in order and without spaces, and within a string no quotation mark is without
        a backslash: so what is looked for stands where an element begins, and nowhere else.
        """
        if not isinstance(slot, tuple):
            return False
        epoch_id, version = slot
        begins = f'{{"epoch_id":{encode_basestring(epoch_id)},"versions":['
        place = coverage.find(begins)
        while place >= 0:
            place += len(begins)
            end = coverage.index("]", place)
            if str(version) in coverage[place:end].split(","):
                return True
            place = coverage.find(begins, end)
        return False

    def open_messages(self, units: Sequence[_Unit]) -> list[list[_Result]]:
        """Open the messages of several conversations in one pass; one result a row, in order."""
        results: list[_Result] = [GapReason.CORRUPT] * sum(len(rows) for _, _, rows in units)
        trials = _trials(units, results)
        candidate = 0
        while trials.places:
            failed = _attempt(trials, candidate, results)
            candidate += 1
            trials = trials.only([at for at in failed if len(trials.keys[at]) > candidate])
        split: list[list[_Result]] = []
        start = 0
        for _, _, rows in units:
            split.append(results[start : start + len(rows)])
            start += len(rows)
        return split

    def claims(self, rows: Sequence[MessageRow]) -> list[bytes | None]:
        """Nothing: a message key opens any number of messages."""
        return [None] * len(rows)


@dataclass(slots=True)
class _Trials:
    """Messages that a key is there for, as columns: place in the results, ciphertext, associated data, keys to try."""

    places: list[int] = field(default_factory=list)
    ciphertexts: list[bytes] = field(default_factory=list)
    bound_to: list[bytes] = field(default_factory=list)
    keys: list[Sequence[bytes]] = field(default_factory=list, repr=False)

    def add(self, place: int, ciphertext: bytes, bound_to: bytes, keys: Sequence[bytes]) -> None:
        """One more."""
        self.places.append(place)
        self.ciphertexts.append(ciphertext)
        self.bound_to.append(bound_to)
        self.keys.append(keys)

    def only(self, chosen: Sequence[int]) -> "_Trials":
        """Some of them."""
        some = _Trials()
        for at in chosen:
            some.add(self.places[at], self.ciphertexts[at], self.bound_to[at], self.keys[at])
        return some


def _trials(units: Sequence[_Unit], results: list[_Result]) -> _Trials:
    """The messages that a key is there for; the gaps that need no trial go to `results`."""
    every_row_is_sound = _all_well_formed(units)
    trials = _Trials()
    place = 0
    for conversation, ring, rows in units:
        bound_to = associated_data(thread_of(conversation.conversation_id))
        keys_of = {slot: tuple(dict.fromkeys(keys)) for slot, keys in ring.items() if keys}
        places = range(place, place + len(rows))
        place += len(rows)
        keys = _keys_of_all(rows, keys_of) if every_row_is_sound else None
        if keys is not None:
            trials.places += places
            trials.ciphertexts += map(_CIPHERTEXT, rows)
            trials.bound_to += repeat(bound_to, len(rows))
            trials.keys += keys
            continue
        for at, row in zip(places, rows, strict=True):
            found = _keys_of(row, keys_of)
            if isinstance(found, GapReason):
                results[at] = found
            else:
                trials.add(at, row[3], bound_to, found)
    return trials


def _keys_of_all(rows: Sequence[MessageRow], keys_of: _Keys) -> list[Sequence[bytes]] | None:
    """The keys of each of a conversation's sound rows; None if there is a row that has none."""
    try:
        keys = list(map(keys_of.__getitem__, map(_SLOT, rows)))
    except KeyError:
        return None
    return keys if VERSIONS.issuperset(map(_VERSION, rows)) else None


def _keys_of(row: MessageRow, keys_of: _Keys) -> Sequence[bytes] | GapReason:
    """The keys of one row, or why it stays sealed."""
    if not _well_formed(row):
        return GapReason.MALFORMED
    if row[5] not in VERSIONS:
        return GapReason.UNSUPPORTED_VERSION
    return keys_of.get((row[4], row[5]), GapReason.NO_KEY)


def _attempt(trials: _Trials, candidate: int, results: list[_Result]) -> list[int]:
    """Open into `results` what opens under each message's candidate key of that number; what does not is returned."""
    keys = [keys[candidate] for keys in trials.keys]
    derived = subkeys(b"".join(keys), b"".join([ciphertext[:16] for ciphertext in trials.ciphertexts]))
    failed: list[int] = []
    columns = zip(pieces(derived, 32), trials.ciphertexts, trials.bound_to, trials.places, strict=True)
    for at, (key, ciphertext, bound_to, place) in enumerate(columns):
        try:
            padded = AESGCM(key).decrypt(ciphertext[16:28], ciphertext[28:], bound_to)
        except InvalidTag:
            failed.append(at)
            continue
        end = 4 + _LENGTH(padded)[0]
        if end <= len(padded) and not padded[end:].strip(b"\0"):
            results[place] = (CONTENT_TYPE, padded[4:end])
        else:
            failed.append(at)
    return failed


def _all_well_formed(units: Sequence[_Unit]) -> bool:
    """Whether no row at all is malformed, checked a column at a time: a tenth of the cost of row by row."""
    columns = list(zip(*[row for _, _, rows in units for row in rows], strict=True))
    if len(columns) != 6:
        return False
    sent_at, message_ids, senders, ciphertexts, epochs, versions = columns
    if set(map(type, sent_at)) != {int} or min(sent_at) < 0 or max(sent_at) > LATEST_SENT_AT:
        return False
    if set(map(type, ciphertexts)) != {bytes} or min(map(len, ciphertexts)) < SHORTEST_SEALED:
        return False
    if set(map(type, versions)) != {int}:
        return False
    try:
        text = "".join(("".join(message_ids), "".join(senders), "".join(epochs)))
    except TypeError:
        return False
    return "\0" not in text and (text.isascii() or _is_utf8(text))


def _well_formed(row: MessageRow) -> bool:
    """The same rules for one row."""
    sent_at, message_id, sender_id, ciphertext, epoch_id, version = row
    return (
        type(sent_at) is int
        and 0 <= sent_at <= LATEST_SENT_AT
        and type(ciphertext) is bytes
        and len(ciphertext) >= SHORTEST_SEALED
        and type(version) is int
        and all(type(text) is str and "\0" not in text and _is_utf8(text) for text in (message_id, sender_id, epoch_id))
    )


def _is_utf8(text: str) -> bool:
    """Whether text can be written as UTF-8: a lone surrogate can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value or not _is_utf8(value):
        raise ValueError("an identifier is empty, not text, or has a NUL")
    if len(value.encode()) > LIMITS.identifier_bytes:
        raise ValueError("an identifier is too long")
    return value


def _natural(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_INTEGER:
        raise ValueError("a number is not a natural number of 63 bits")
    return value
