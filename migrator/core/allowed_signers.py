"""The file of those who may approve: OpenSSH's ALLOWED SIGNERS format (ssh-keygen(1)), the part that names people.

A line is `principals [options] key-type base64-key [comment]`. Options: `namespaces="a,b-*,!c"` (patterns as in
ssh_config(5)), `valid-after="…"`, `valid-before="…"` (`YYYYMMDD[HHMM[SS]]Z`, UTC). Principals that are patterns and
certificates name nobody in particular, so they are refused here: an approval is a person's.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

MAX_BYTES: Final = 1024 * 1024
_BLANK: Final = " \t\r"
"""What OpenSSH takes for blank; a line ends with a line feed alone."""
_TIMES: Final = {9: "%Y%m%dZ", 13: "%Y%m%d%H%MZ", 15: "%Y%m%d%H%M%SZ"}
_TIME: Final = re.compile(r"[0-9]{8}(?:[0-9]{4}(?:[0-9]{2})?)?Z\Z")
_OPTION: Final = re.compile(r'(?:[A-Za-z-]+(?:="[^"]*")?)(?:,[A-Za-z-]+(?:="[^"]*")?)*\Z')
_KEY_TYPE: Final = re.compile(r"(?:sk-)?(?:ssh|ecdsa)-[a-z0-9-]+(?:@openssh\.com)?\Z")
_CERTIFICATE: Final = re.compile(r"-cert-v[0-9]+@openssh\.com\Z")
_ONE_OPTION: Final = re.compile(r'([A-Za-z-]+)(?:="([^"]*)")?')


class AllowedSignersError(ValueError):
    """A line that can't be read, or that names nobody in particular; the message has its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedSigner:
    """One line: the names of one person, and a key of theirs (wire form)."""

    principals: frozenset[str]
    name: str
    """The first of them."""
    public_key: bytes
    namespaces: tuple[str, ...] | None = None
    """Patterns, those with `!` for what is excluded."""
    valid_after: datetime | None = None
    valid_before: datetime | None = None

    def may_sign(self, namespace: str, at: datetime) -> bool:
        """Whether the line lets its key sign for the namespace at that time."""
        return (
            (self.namespaces is None or _matches(namespace, self.namespaces))
            and (self.valid_after is None or at >= self.valid_after)
            and (self.valid_before is None or at < self.valid_before)
        )


def parse(text: str) -> list[AllowedSigner]:
    """All lines; empty lines and comments are passed over."""
    lines = enumerate((line.strip(_BLANK) for line in text.split("\n")), start=1)
    return [_line(line, number) for number, line in lines if line and not line.startswith("#")]


def _line(line: str, number: int) -> AllowedSigner:
    principals, rest = _first_word(line, number)
    names = principals.split(",")
    if any(not name or set(name) & set("*?!") for name in names):
        raise AllowedSignersError(f"line {number}: a pattern names nobody in particular; list the persons")
    if any('"' in name or not name.isprintable() for name in names):
        raise AllowedSignersError(f"line {number}: a name has quotes or invisible characters in it")
    first, after = _first_word(rest, number)
    options: dict[str, str] = {}
    if not _is_key_type(first):
        options, rest = _options(first, number), after
        first, after = _first_word(rest, number)
    blob, _ = _first_word(after, number)
    return AllowedSigner(
        principals=frozenset(names),
        name=names[0],
        public_key=_key(first, blob, number),
        namespaces=tuple(options["namespaces"].split(",")) if "namespaces" in options else None,
        valid_after=_time(options.get("valid-after"), number),
        valid_before=_time(options.get("valid-before"), number),
    )


def _first_word(text: str, number: int) -> tuple[str, str]:
    """The text up to blank space outside of quotes, and what follows."""
    match = re.match(r'((?:[^ \t"]|"[^"]*")+)[ \t]*(.*)\Z', text)
    if match is None:
        raise AllowedSignersError(f"line {number}: it does not read `principals [options] key-type key`")
    return match[1].strip('"') if match[1].startswith('"') else match[1], match[2]


def _is_key_type(word: str) -> bool:
    return _KEY_TYPE.match(word) is not None


def _matches(text: str, patterns: tuple[str, ...]) -> bool:
    """Whether one pattern matches, and none with `!` in front does (PATTERNS in ssh_config(5))."""
    found = {pattern[:1] == "!" for pattern in patterns if _pattern(pattern.removeprefix("!")).match(text)}
    return found == {False}


def _pattern(pattern: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(character, re.escape(character)) for character in pattern) + r"\Z", re.DOTALL)


def _options(word: str, number: int) -> dict[str, str]:
    options = {}
    if not _OPTION.match(word):
        raise AllowedSignersError(f"line {number}: its options can't be read")
    for name, value in _ONE_OPTION.findall(word):
        if name.lower() not in ("namespaces", "valid-after", "valid-before") or name.lower() in options:
            raise AllowedSignersError(
                f"line {number}: option {name[:40]!r} is not understood; "
                "known are namespaces, valid-after and valid-before, once each"
            )
        options[name.lower()] = value
    return options


def _time(text: str | None, number: int) -> datetime | None:
    if text is None:
        return None
    try:
        if not _TIME.match(text):
            raise ValueError
        return datetime.strptime(text, _TIMES[len(text)]).replace(tzinfo=UTC)
    except ValueError:
        raise AllowedSignersError(
            f"line {number}: a time reads YYYYMMDD[HHMM[SS]]Z; without the Z it would depend on the machine's time zone"
        ) from None


def _key(key_type: str, blob: str, number: int) -> bytes:
    if _CERTIFICATE.search(key_type):
        raise AllowedSignersError(f"line {number}: a certificate is not a person's key: list the key itself")
    try:
        decoded = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    named = key_type.encode("ascii", "replace")
    if not decoded.startswith(len(named).to_bytes(4, "big") + named):
        raise AllowedSignersError(f"line {number}: this is no key of type {key_type[:40]!r}")
    return decoded
