"""Reads an export with tarfile, json and HPKE alone, independent of migrator's own reader."""

import base64
import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

from tests.client.recipients import RecipientPair


def decode(segment: bytes | str) -> bytes:
    """Base64url without padding."""
    text = segment if isinstance(segment, str) else segment.decode()
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def members(archive: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    """The members and what they hold, in order."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        found = []
        for member in opened:
            content = opened.extractfile(member)
            assert content is not None
            found.append((member, content.read()))
        return found


def manifest(archive: bytes) -> dict[str, Any]:
    """The manifest's payload, unverified."""
    payload: dict[str, Any] = json.loads(decode(members(archive)[0][1].split(b".")[1]))
    return payload


def lines(archive: bytes, pair: RecipientPair) -> Iterator[dict[str, Any]]:
    """The lines of all parts, unsealed each with the info of its place."""
    export_id = manifest(archive)["export_id"].encode()
    for number, (_, sealed) in enumerate(members(archive)[1:]):
        info = b"migrator.export/1\0" + export_id + b"\0" + str(number).encode()
        yield from (json.loads(line) for line in pair.open(sealed, info).splitlines())
