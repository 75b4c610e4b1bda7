"""Tar files made by hand and by other writers, good and hostile."""

import io
import tarfile
from collections.abc import Sequence

BLOCK = 512
END = bytes(2 * BLOCK)


def header(
    name: bytes, size: int | bytes, kind: bytes = b"0", *, magic: bytes = b"ustar\x0000", prefix: bytes = b""
) -> bytes:
    """A header block; `size` as bytes is put there as it is."""
    size_field = size if isinstance(size, bytes) else b"%011o\0" % size
    fields = name.ljust(100, b"\0") + b"0000600\0" + b"0000000\0" * 2 + size_field + b"00000000000\0" + b" " * 8 + kind
    block = (fields + bytes(100) + magic).ljust(345, b"\0") + prefix.ljust(155, b"\0")
    block = block.ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def member(name: bytes, content: bytes, kind: bytes = b"0") -> bytes:
    """A header, the content, and its padding."""
    return header(name, len(content), kind) + content + bytes(-len(content) % BLOCK)


def pax(records: Sequence[tuple[str, str]], kind: bytes = b"x") -> bytes:
    """A pax header with these records."""
    content = b""
    for key, value in records:
        body = f" {key}={value}\n".encode()
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length = len(str(length)) + len(body)
        content += str(length).encode() + body
    return member(b"pax", content, kind)


def written_by_tarfile(members: Sequence[tuple[str, bytes]], tar_format: int) -> bytes:
    """An archive as Python's writer makes it, with a time that has a fraction."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tar_format) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mtime = 1_777_593_600.25
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()
