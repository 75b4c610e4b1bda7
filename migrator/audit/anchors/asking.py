"""Asks every configured anchor about a checkpoint, and checks again what they answered before.

One that can't be reached does not hold up the log: that is a result, and the next checkpoint is another chance. One
that has seen a different log is an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from migrator.audit.anchors import http, kept, timestamp, witness
from migrator.audit.anchors.http import AnchorError
from migrator.audit.anchors.timestamp import Authority
from migrator.audit.anchors.witness import Witness
from migrator.core.clock import format_time
from migrator.core.notes import Checkpoint, NoteError, NoteSignature, open_note, parse_note, parse_vkey
from migrator.core.proofs import HashAt
from migrator.core.settings import AuditSettings

if TYPE_CHECKING:
    import httpx

_LOOKED_BACK: Final = 50
"""Kept checkpoints in which a witness's last cosignature is looked for; it says so itself where that is not enough."""


class AnchorState(StrEnum):
    """What came of one anchor and one checkpoint."""

    VOUCHES = "vouches"
    UNREACHED = "unreached"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """One anchor on the checkpoint of one size. `detail`: when it vouched, or why it does not."""

    name: str
    size: int
    state: AnchorState
    detail: str


class Anchors:
    """The anchors of one log: witnesses and a timestamp authority, as far as they are configured."""

    def __init__(self, settings: AuditSettings, directory: Path, log: Path) -> None:
        """`directory`: where relative paths of the settings start; `log`: the log's directory."""
        self._settings = settings
        self._directory = directory
        self._log = log
        self.witnesses = tuple(Witness(url=url, key=parse_vkey(key)) for url, key in settings.witnesses.items())

    @property
    def configured(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self.witnesses) or self._settings.timestamp_url is not None

    @cached_property
    def authority(self) -> Authority | None:
        """The timestamp authority, its certificates read; None if there is none."""
        url, certificates = self._settings.timestamp_url, self._settings.timestamp_certificates
        if url is None or certificates is None:
            return None
        return timestamp.load_authority(url, self._directory / certificates)

    def ask(self, note: bytes, hash_at: HashAt) -> list[Anchored]:
        """Have a signed checkpoint vouched for by whoever has not done so yet; keeps what verifies.

        `note` is the exact checkpoint, `hash_at` reads the tree. Raises `AuditLogError` where a witness has seen
        another log.
        """
        if not self.configured:
            return []
        with http.client() as connections:
            results = self._cosign(connections, note, hash_at) if self.witnesses else []
            if self.authority is not None:
                results.append(self._stamp(connections, self.authority, note))
        return results

    def check(self, note: bytes) -> Iterator[Anchored]:
        """What is kept for a checkpoint, verified anew."""
        size = Checkpoint.parse(parse_note(note)[0]).size
        try:
            yield from (_vouched(signature, size) for signature in self._cosignatures(note, size)[0])
        except NoteError as error:
            yield Anchored(name="witness", size=size, state=AnchorState.INVALID, detail=str(error))
        try:
            answer = kept.timestamp(self._log, size)
            if answer is not None and self.authority is not None:
                yield _stamped(self.authority, timestamp.time_of(self.authority, answer, note), size)
        except AnchorError as error:
            yield Anchored(name="timestamp", size=size, state=AnchorState.INVALID, detail=error.message)

    def anchored_through(self) -> int:
        """Size of the newest checkpoint that has an answer kept beside it (not verified); 0 if none has."""
        return max((next(kept.sizes(self._log, kind), 0) for kind in (kept.WITNESS, kept.TIMESTAMP)), default=0)

    def _cosign(self, connections: "httpx.Client", note: bytes, hash_at: HashAt) -> list[Anchored]:
        size = Checkpoint.parse(parse_note(note)[0]).size
        try:
            verified, others = self._cosignatures(note, size)
        except NoteError:
            verified, others = [], []  # what does not verify is replaced by what does
        signatures = {signature.key_id: signature for signature in verified}
        results = []
        for asked in self.witnesses:
            try:
                signature = signatures.get(asked.key.key_id) or witness.cosign(
                    connections, asked, note, hash_at, old=self._last_seen(asked, size)
                )
            except AnchorError as error:
                results.append(
                    Anchored(name=asked.key.name, size=size, state=AnchorState.UNREACHED, detail=error.message)
                )
                continue
            signatures[asked.key.key_id] = signature
            results.append(_vouched(signature, size))
        if len(signatures) > len(verified):
            kept.keep_cosignatures(self._log, size, note, [*signatures.values(), *others])
        return results

    def _stamp(self, connections: "httpx.Client", authority: Authority, note: bytes) -> Anchored:
        size = Checkpoint.parse(parse_note(note)[0]).size
        try:
            answer = kept.timestamp(self._log, size)
            if answer is None:
                answer = timestamp.stamp(connections, authority, note)
                kept.keep_timestamp(self._log, size, answer)
            return _stamped(authority, timestamp.time_of(authority, answer, note), size)
        except AnchorError as error:
            return Anchored(name=authority.url, size=size, state=AnchorState.UNREACHED, detail=error.message)

    def _cosignatures(self, note: bytes, size: int) -> tuple[list[NoteSignature], list[NoteSignature]]:
        """Cosignatures that are kept for this checkpoint: verified ones, and those of witnesses unknown by now.

        Raises `NoteError` where what is kept does not verify, or is about another checkpoint.
        """
        data = kept.cosigned(self._log, size)
        if data is None or not self.witnesses:
            return [], []
        opened = open_note(data, [asked.key for asked in self.witnesses])
        body, own = parse_note(note)
        if opened.body != body:
            raise NoteError("the cosignatures are on another checkpoint than the log's own")
        return list(opened.verified), [signature for signature in opened.others if signature not in own]

    def _last_seen(self, asked: Witness, size: int) -> int:
        """How far a witness had cosigned the log, as far as is kept here."""
        for number, found in enumerate(kept.sizes(self._log, kept.WITNESS)):
            if number == _LOOKED_BACK:
                break
            data = kept.cosigned(self._log, found)
            if found <= size and data is not None and _signed_by(data, asked):
                return found
        return 0


def _signed_by(note: bytes, asked: Witness) -> bool:
    try:
        return bool(open_note(note, [asked.key]).verified)
    except NoteError:
        return False


def _vouched(signature: NoteSignature, size: int) -> Anchored:
    when = format_time(datetime.fromtimestamp(witness.cosigned_at(signature), UTC))
    return Anchored(name=signature.name, size=size, state=AnchorState.VOUCHES, detail=when)


def _stamped(authority: Authority, when: datetime, size: int) -> Anchored:
    return Anchored(name=authority.url, size=size, state=AnchorState.VOUCHES, detail=format_time(when))
