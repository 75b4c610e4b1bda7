"""Encrypted attachments of Matrix messages: the `EncryptedFile` objects in an opened event (pure, no IO).

Source: Matrix client-server specification, "Sending encrypted attachments": AES-256-CTR, SHA-256 of the ciphertext,
version `v2`. They stand in `content.file` and `content.info.thumbnail_file`, and once more in `m.new_content` of an
edit. What a client writes there is hostile until shown otherwise:

1. Content without the letters `mxc` in it, escaped or not, has none and is not parsed: most messages.
2. A member that is there and no sound `EncryptedFile` is an attachment that can't be used, never an error.
3. The same description twice is one attachment, as an edit may repeat what it replaces.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from migrator.core.attachments import (
    Attachment,
    AttachmentGap,
    AttachmentKind,
    Described,
    UnusableAttachment,
)
from migrator.core.encoding import check_depth

MAX_CONTENT_BYTES: Final = 1024 * 1024
"""An event has at most 65,536 bytes by the specification; what comes from elsewhere may be larger, not unbounded."""
_MAX_DEPTH: Final = 64
_MAX_URI_CHARS: Final = 1024
_LARGEST: Final = 2**53
_PLACES: Final = (("", "content"), ("new.", "m.new_content"))
"""(prefix of the attachment's id, where its content stands)."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}\Z")
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*={0,2}\Z")
_MALFORMED: Final = AttachmentGap.MALFORMED


def attachments_of(content_type: str, content: bytes) -> list[Described]:
    """The encrypted attachments of one opened event, at most four; empty for what is no Matrix event."""
    if not content_type.startswith("application/json") or (b"mxc" not in content and b"\\u" not in content):
        return []
    if len(content) > MAX_CONTENT_BYTES:
        return [_unusable("file", AttachmentKind.FILE, AttachmentGap.TOO_LARGE)]
    try:
        text = content.decode("utf-8")
        check_depth(text, _MAX_DEPTH)
        event = json.loads(text)
    except (ValueError, RecursionError):
        return [_unusable("file", AttachmentKind.FILE, _MALFORMED)]
    found: list[Described] = []
    seen: set[object] = set()
    for described in _all(event):
        same = _identity(described)
        if same not in seen:
            seen.add(same)
            found.append(described)
    return found


def _all(event: object) -> Iterator[Described]:
    content = _member(event, "content")
    for prefix, name in _PLACES:
        inside = content if name == "content" else _member(content, name)
        if not isinstance(inside, dict):
            continue
        info = inside.get("info")
        for where, suffix, kind, of in (
            (inside.get("file"), "file", AttachmentKind.FILE, info),
            (_member(info, "thumbnail_file"), "thumbnail", AttachmentKind.THUMBNAIL, _member(info, "thumbnail_info")),
        ):
            if where is not None:
                yield _described(where, prefix + suffix, kind, _member(of, "size"))


def _described(value: object, attachment_id: str, kind: AttachmentKind, claimed: object) -> Described:
    """One `EncryptedFile`, checked for form."""
    if not isinstance(value, dict):
        return _unusable(attachment_id, kind, _MALFORMED)
    version = value.get("v")
    if isinstance(version, str) and version != "v2":
        return _unusable(attachment_id, kind, AttachmentGap.UNSUPPORTED_VERSION)
    uri = value.get("url")
    try:
        if version != "v2" or not isinstance(uri, str) or not 0 < len(uri) <= _MAX_URI_CHARS:
            raise ValueError
        key = _key(value.get("key"))
        iv = _decoded(value.get("iv"), _BASE64, 16)
        digest = _decoded(_member(value.get("hashes"), "sha256"), _BASE64, 32)
        uri.encode()
    except ValueError:
        return _unusable(attachment_id, kind, _MALFORMED)
    return Attachment(
        attachment_id=attachment_id,
        kind=kind,
        uri=uri,
        sha256=digest,
        claimed_size=claimed if type(claimed) is int and 0 <= claimed < _LARGEST else None,
        key=key,
        iv=iv,
    )


def _key(value: object) -> bytes:
    """The 32 bytes of a JSON Web Key for AES-256-CTR."""
    if not isinstance(value, dict) or value.get("kty") != "oct" or value.get("alg") != "A256CTR":
        raise ValueError
    operations = value.get("key_ops")
    if not isinstance(operations, list) or "decrypt" not in operations:
        raise ValueError
    return _decoded(value.get("k"), _BASE64URL, 32)


def _decoded(value: object, alphabet: re.Pattern[str], size: int) -> bytes:
    """Base64, padded or not, of so many bytes."""
    if not isinstance(value, str) or len(value) > 4 * size or not alphabet.match(value):
        raise ValueError
    text = value.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError from None
    if len(data) != size:
        raise ValueError
    return data


def _member(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _unusable(attachment_id: str, kind: AttachmentKind, reason: AttachmentGap) -> UnusableAttachment:
    return UnusableAttachment(attachment_id=attachment_id, kind=kind, reason=reason)


def _identity(described: Described) -> object:
    """What makes two descriptions the same: all but their place in the event."""
    if isinstance(described, UnusableAttachment):
        return described
    return described.kind, described.uri, described.sha256, described.key, described.iv
