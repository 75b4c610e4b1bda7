"""C2SP signed notes and tlog checkpoints: what is signed of a log, and how anybody checks it.

A note is a text that ends in a newline, an empty line, and signature lines `— <name> <base64(key id ‖ signature)>`.
A checkpoint's text is three lines: origin, number of leaves, base64 root. Sources: c2sp.org/signed-note,
c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature. What is read here may be hostile; `NoteError` says what is wrong.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NOTE_BYTES: Final = 64 * 1024
"""Longest note that is read; a checkpoint with 16 cosignatures has under 4 KiB."""
SIGNATURES: Final = 100
"""Most signature lines that are read."""
LARGEST_SIZE: Final = 2**63 - 1

_DASH: Final = "— "
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\x7f]+\Z")
_SIZE: Final = re.compile(r"(0|[1-9][0-9]{0,18})\Z")
_HEX: Final = re.compile(r"[0-9a-f]{8}\Z")


class NoteError(ValueError):
    """A note, checkpoint or verifier key that is malformed, or whose signature is not right."""


class KeyKind(IntEnum):
    """Signature types of c2sp.org/signed-note that are understood."""

    ED25519 = 0x01
    COSIGNATURE = 0x04
    """Ed25519 over the note and a time, by a witness (c2sp.org/tlog-cosignature)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line: who, the 4 bytes that identify the key, and what follows them."""

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        """The line with its newline."""
        return f"{_DASH}{self.name} {_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A public key with the name that it signs under."""

    name: str
    kind: KeyKind
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """First 4 bytes of SHA-256(name ‖ newline ‖ type ‖ public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + self._typed()).digest()[:4]

    def encode(self) -> str:
        """`<name>+<key id in hex>+<base64(type ‖ public key)>`."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(self._typed())}"

    def verifies(self, body: str, signature: bytes) -> bool:
        """Whether a signature over a note's text is this key's; of a cosignature, its time is part of it."""
        message = body.encode()
        if self.kind is KeyKind.COSIGNATURE:
            if len(signature) != 72:
                return False
            time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            message = f"cosignature/v1\ntime {time}\n".encode() + message
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def _typed(self) -> bytes:
        return bytes([self.kind]) + self.public_key


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedNote:
    """A note whose text at least one known key has signed; `others` are signatures by keys that were not given."""

    body: str
    verified: tuple[NoteSignature, ...]
    others: tuple[NoteSignature, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A tree head: which log, how many leaves, the RFC 6962 root over them (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def body(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"

    @classmethod
    def parse(cls, body: str) -> "Checkpoint":
        """The inverse of `body`; extension lines may follow and are passed over."""
        lines = body.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise NoteError("a checkpoint has an origin, a size and a root, each on a line of its own")
        origin, size, root_text = lines[:3]
        if not _SIZE.match(size) or int(size) > LARGEST_SIZE:
            raise NoteError("the size of a checkpoint is not a decimal number")
        root = _unbase64(root_text, "the root of a checkpoint")
        if len(root) != 32:
            raise NoteError("the root of a checkpoint does not have 32 bytes")
        return cls(origin=origin, size=int(size), root=root)


def vkey(name: str, public_key: Ed25519PublicKey | bytes) -> str:
    """The verifier key of an Ed25519 key, as others are given it."""
    return verifier(name, public_key).encode()


def verifier(name: str, public_key: Ed25519PublicKey | bytes) -> VerifierKey:
    """The same as a value."""
    raw = public_key if isinstance(public_key, bytes) else public_key.public_bytes_raw()
    return VerifierKey(name=_checked_name(name), kind=KeyKind.ED25519, public_key=raw)


def parse_vkey(text: str) -> VerifierKey:
    """The inverse of `vkey`, a newline at the end allowed; also the keys of witnesses."""
    parts = text.removesuffix("\n").split("+", 2)
    if len(parts) != 3 or not _HEX.match(parts[1]):
        raise NoteError("a verifier key reads name+key id+key")
    typed = _unbase64(parts[2], "a verifier key")
    if len(typed) != 33 or typed[0] not in KeyKind.__members__.values():
        raise NoteError("a verifier key that is not an Ed25519 key")
    key = VerifierKey(name=_checked_name(parts[0]), kind=KeyKind(typed[0]), public_key=typed[1:])
    if key.key_id.hex() != parts[1]:
        raise NoteError("the key id of a verifier key does not belong to it")
    return key


def sign_note(body: str, key: VerifierKey, sign: Callable[[bytes], bytes]) -> bytes:
    """The note with one signature, which `sign` makes; `NoteError` where that is not the key's."""
    if not body.endswith("\n") or _has_control(body):
        raise NoteError("the text of a note ends in a newline and has no other control characters")
    signature = NoteSignature(name=key.name, key_id=key.key_id, signature=sign(body.encode()))
    if not key.verifies(body, signature.signature):
        raise NoteError(f"what was signed as {key.name} is not that key's signature")
    return f"{body}\n{signature.line()}".encode()


def parse_note(note: bytes) -> tuple[str, list[NoteSignature]]:
    """Text and signatures, nothing verified."""
    if len(note) > NOTE_BYTES:
        raise NoteError(f"a note of more than {NOTE_BYTES} bytes")
    try:
        text = note.decode()
    except UnicodeDecodeError:
        raise NoteError("a note that is not UTF-8") from None
    head, separator, tail = text.rpartition("\n\n")
    lines = tail.split("\n")
    if not separator or _has_control(text) or len(lines) < 2 or lines.pop():
        raise NoteError("a note is a text, an empty line and signature lines")
    if len(lines) > SIGNATURES:
        raise NoteError(f"a note with more than {SIGNATURES} signatures")
    return head + "\n", [_parse_signature(line) for line in lines]


def open_note(note: bytes, vkeys: Iterable[VerifierKey | str]) -> OpenedNote:
    """Verify a note by the keys that the caller trusts: one of them at least, and none of them wrongly.

    Of several signatures by one key only the first counts.
    """
    known = {(key.name, key.key_id): key for key in (parse_vkey(k) if isinstance(k, str) else k for k in vkeys)}
    body, signatures = parse_note(note)
    verified: dict[tuple[str, bytes], NoteSignature] = {}
    others: list[NoteSignature] = []
    for signature in signatures:
        identity = (signature.name, signature.key_id)
        key = known.get(identity)
        if key is None:
            others.append(signature)
        elif identity not in verified:
            if not key.verifies(body, signature.signature):
                raise NoteError(f"the signature of {signature.name} is not right")
            verified[identity] = signature
    if not verified:
        raise NoteError("no known key has signed the note")
    return OpenedNote(body=body, verified=tuple(verified.values()), others=tuple(others))


def _parse_signature(line: str) -> NoteSignature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH):
        raise NoteError("a signature line begins with a dash and a space")
    data = _unbase64(encoded, "a signature")
    if len(data) < 5:
        raise NoteError("a signature that is too short")
    return NoteSignature(name=_checked_name(name), key_id=data[:4], signature=data[4:])


def _checked_name(name: str) -> str:
    if not _NAME.match(name):
        raise NoteError("the name of a key is empty, or has a space or a plus")
    return name


def _has_control(text: str) -> bool:
    return any(ord(character) < 0x20 and character != "\n" for character in text) or "\x7f" in text


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unbase64(text: str, what: str) -> bytes:
    """Canonical base64 only, so that a note has one form."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(f"{what} is not base64") from None
    if _base64(data) != text:
        raise NoteError(f"{what} is not canonical base64")
    return data
