"""A strict reader for the tar file of an export: one pass, one member in memory, nothing written anywhere.

POSIX ustar (IEEE Std 1003.1, `pax` utility), its pax headers and the GNU variant of the magic are read; `tarfile` is
not used because it loads a pax header or a GNU long name of any size. What the reader takes and refuses:

1. Regular files only. Links, devices, folders, sparse files and GNU long names are `unsafe_member`, and so are
   absolute and climbing names.
2. A pax header may carry times, owners and comments, which mean nothing here. One that changes the name or size that
   the member's own header gives, names a link or makes it sparse, is `unsafe_member`.
3. Members come in exactly the order in which the caller asks for them, each under the size that the caller allows;
   the size is looked at before anything is read.
4. A block of zeros ends the archive, and nothing but zeros may follow. A file that ends before is `truncated`.
5. A block that is not a tar header is `malformed`: no tar, or a compressed one.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import BinaryIO, Final

from migrator.core.limits import KIB, MIB
from migrator.core.outcomes import RefusalReason, Refused

BLOCK: Final = 512
MAX_PAX_BYTES: Final = 64 * KIB
"""Longest pax header: ours need none, and a client's writer adds a few times and names."""
MAX_TRAILING_BYTES: Final = MIB
"""Longest run of zeros behind the end; writers pad to records, 10 KiB by default and at most 1 MiB."""

_ZEROS: Final = bytes(BLOCK)
_OCTAL: Final = re.compile(rb"[ \0]*([0-7]+)[ \0]*\Z")
_REGULAR: Final = (b"0", b"\0")
_PAX_LOCAL: Final = b"x"
_PAX_GLOBAL: Final = b"g"
_PAX_RECORD: Final = re.compile(rb"([1-9][0-9]{0,5}) ([^=\n]+)=")
_PAX_UNSAFE: Final = ("linkpath", "hdrcharset", "GNU.sparse.", "SCHILY.realsize", "SUN.holesdata")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    name: str
    size: int
    kind: bytes


class ArchiveReader:
    """Reads the members of one archive in order. Raises `Refused`, and `OSError` of the file itself."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._members = 0
        self._read: set[str] = set()

    def member(self, name: str, *, max_bytes: int, later: Collection[str] = ()) -> bytes:
        """The content of the next member, which must have this name.

        `later` are the names that may follow: if one of them stands here for the first time, and `name` nowhere behind
        it, then `name` is missing rather than in the wrong place.
        """
        header = self._next()
        if header is None:
            raise Refused(RefusalReason.PART_MISSING, "the archive ends before its last member")
        if header.name != name:
            if header.name in later and header.name not in self._read and not self._comes_later(name, header):
                raise Refused(RefusalReason.PART_MISSING, f"{name} is not there")
            raise Refused(RefusalReason.UNEXPECTED_MEMBER, f"{name} should stand at place {self._members}")
        if header.size > max_bytes:
            raise Refused(RefusalReason.TOO_LARGE, f"{name} is over {max_bytes} bytes")
        self._read.add(name)
        return self._content(header.size)

    def end(self) -> None:
        """Make sure that no further member and no other data follows."""
        if self._next() is not None:
            raise Refused(RefusalReason.UNEXPECTED_MEMBER, "a member follows the last part")
        trailing = 0
        while block := self._file.read(64 * KIB):
            trailing += len(block)
            if trailing > MAX_TRAILING_BYTES or block.count(0) != len(block):
                raise Refused(RefusalReason.UNEXPECTED_MEMBER, "data follows the end of the archive")

    def _next(self) -> _Header | None:
        """The header of the next regular member, past its pax headers; None at the end marker."""
        records: dict[str, str] = {}
        seen: set[bytes] = set()
        while True:
            block = self._block()
            if block == _ZEROS:
                if seen:
                    raise Refused(RefusalReason.TRUNCATED, "a pax header without its member")
                return None
            header = _parse(block)
            if header.kind not in (_PAX_LOCAL, _PAX_GLOBAL):
                break
            if header.kind in seen:
                raise Refused(RefusalReason.UNSAFE_MEMBER, "repeated pax headers")
            seen.add(header.kind)
            records |= self._pax(header)
        self._members += 1
        _refuse_unsafe(header, records)
        return header

    def _pax(self, header: _Header) -> dict[str, str]:
        if header.size > MAX_PAX_BYTES:
            raise Refused(RefusalReason.TOO_LARGE, f"a pax header is over {MAX_PAX_BYTES} bytes")
        records = _pax_records(self._content(header.size))
        if header.kind == _PAX_GLOBAL and not records.keys().isdisjoint({"path", "size"}):
            raise Refused(RefusalReason.UNSAFE_MEMBER, "a pax header names or sizes every member")
        return records

    def _block(self) -> bytes:
        block = self._file.read(BLOCK)
        if len(block) == BLOCK:
            return block
        if self._members == 0 and block and not b"manifest.jws\0".startswith(block[:13]):
            raise Refused(RefusalReason.MALFORMED, "not a tar file")
        raise Refused(RefusalReason.TRUNCATED, "the file ends before the archive does")

    def _content(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size or len(self._file.read(-size % BLOCK)) != -size % BLOCK:
            raise Refused(RefusalReason.TRUNCATED, "the file ends inside a member")
        return data

    def _comes_later(self, name: str, header: _Header | None) -> bool:
        """Whether a member of that name stands behind the present one; what is between is read and dropped."""
        while header is not None and header.name != name:
            left = header.size + (-header.size % BLOCK)
            while left:
                dropped = len(self._file.read(min(left, MIB)))
                if not dropped:
                    raise Refused(RefusalReason.TRUNCATED, "the file ends inside a member")
                left -= dropped
            header = self._next()
        return header is not None


def _parse(block: bytes) -> _Header:
    """Read a header block; `malformed` unless its checksum holds, which no compressed file's does."""
    checksum = _number(block[148:156])
    if checksum != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise Refused(RefusalReason.MALFORMED, "not a tar file, or a compressed one")
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].partition(b"\0")[0]
        name = prefix + b"/" + name if prefix else name
    # Latin-1 never fails, and a name that is not ASCII is none of ours.
    return _Header(name=name.decode("latin-1"), size=_size(block[124:136]), kind=block[156:157])


def _size(field: bytes) -> int:
    if field[0] & 0x80:  # GNU: base 256, two's complement
        value = int.from_bytes(field, "big", signed=True) if field[0] == 0xFF else int.from_bytes(field[1:], "big")
        if value < 0:
            raise Refused(RefusalReason.UNSAFE_MEMBER, "a negative size")
        return value
    return _number(field)


def _number(field: bytes) -> int:
    match = _OCTAL.match(field)
    if match is None:
        raise Refused(RefusalReason.MALFORMED, "not a tar file, or a compressed one")
    return int(match[1], 8)


def _pax_records(data: bytes) -> dict[str, str]:
    """`length key=value\\n`, the length counting the whole record."""
    records: dict[str, str] = {}
    position = 0
    while position < len(data):
        match = _PAX_RECORD.match(data, position)
        end = position + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise Refused(RefusalReason.MALFORMED, "a pax header that can't be read")
        records[match[2].decode("latin-1")] = data[match.end() : end - 1].decode("latin-1")
        position = end
    return records


def _refuse_unsafe(header: _Header, records: dict[str, str]) -> None:
    if header.kind not in _REGULAR or header.name.endswith("/"):
        raise Refused(RefusalReason.UNSAFE_MEMBER, "a member that is no regular file")
    if header.name.startswith("/") or ".." in header.name.split("/"):
        raise Refused(RefusalReason.UNSAFE_MEMBER, "a name that leads out of the archive")
    if any(key.startswith(_PAX_UNSAFE) for key in records):
        raise Refused(RefusalReason.UNSAFE_MEMBER, "a pax header that makes a link or a sparse file")
    if records.get("path", header.name) != header.name or records.get("size", str(header.size)) != str(header.size):
        raise Refused(RefusalReason.UNSAFE_MEMBER, "a pax header that contradicts the member's own")
