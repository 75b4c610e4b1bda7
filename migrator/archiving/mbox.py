"""`mbox`: one RFC 5322 message for each event, for the tools that lawyers review mail with.

Each is `multipart/mixed`: the text for people, the payload exactly as it was sealed (`event.json`, or `content.bin`
where it is not JSON), and the attachments. Everything is 7-bit ASCII: quoted-printable and base64 can't hold a line
that begins with `From `, nor the boundary, so no reader of mbox files can cut a message in the wrong place, and nothing
that a sender wrote becomes a header. Addresses end in `.invalid` (RFC 2606): nobody gets mail by mistake.
"""

import base64
import hashlib
import quopri
import re
from collections.abc import Iterator, Sequence
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import lru_cache
from itertools import chain
from time import asctime
from typing import Final
from urllib.parse import quote

from migrator.archiving.gap_words import GAP_WORDS
from migrator.archiving.interface import About, Attachment, AttachmentOpener, History
from migrator.archiving.matrix_event import MatrixEvent, event_of, is_json
from migrator.archiving.paging import with_attachments
from migrator.archiving.plain_text import EPOCH, described, moment_of, visible
from migrator.reading import Entry, ReadGap, ReadMessage

SUFFIX: Final = ".mbox"
_POLICY: Final = SMTP.clone(linesep="\n")
_BOUNDARY: Final = "=_migrator_part"
"""Can't stand at the beginning of a line of quoted-printable or base64 text (RFC 2045, section 6.7)."""
_LINE_CHARS: Final = 76
_LINE: Final = _LINE_CHARS // 4 * 3
"""Bytes that make one line of base64."""
_ODD: Final = re.compile(r"[^A-Za-z0-9._=+/-]")
_SPECIAL: Final = re.compile(r'(["\\])')
_ESCAPED: Final = r"\\\1"
_MAX_ID: Final = 200


def pieces(history: History, about: About, attachments: AttachmentOpener) -> Iterator[bytes]:
    """The messages, piece by piece; an attachment passes through in chunks."""
    room = hashlib.sha256(about.conversation_id.encode("utf-8", "backslashreplace")).hexdigest()[:16]
    for entry, found in with_attachments(history.entries(), attachments):
        if isinstance(entry, ReadGap):
            yield _headers(entry, about, room, None, f"gap: {entry.reason}")
            yield _text(f"This message could not be migrated: {GAP_WORDS.get(entry.reason, entry.reason)}.\n")
        else:
            event = event_of(entry)
            yield _headers(entry, about, room, event, event.type if event else entry.content_type)
            yield _text(described(entry, event, found))
            yield from _payload(entry)
            for attachment in found:
                yield from _attached(attachment)
        yield f"--{_BOUNDARY}--\n\n".encode()


def _headers(entry: Entry, about: About, room: str, event: MatrixEvent | None, what: str) -> bytes:
    """The separator and the headers. Ids go through percent-encoding, names become quoted strings or encoded words."""
    moment = moment_of(entry.sent_at) or EPOCH
    sender = entry.sender_id if isinstance(entry, ReadMessage) else None
    lines = [
        f"From migrator@{room}.room.invalid {asctime(moment.utctimetuple())}",
        f"From: {_address(sender)}",
        f"To: {_phrase(about.conversation_id)} <{room}@room.invalid>",
        f"Subject: {_encoded(f'{about.conversation_id}: {what}')}",
        f"Date: {format_datetime(moment)}",
        f"Message-ID: {_message_id(entry.message_id, room)}",
        f"X-Migrator-Sent-At: {entry.sent_at}",
        f"X-Migrator-Conversation: {_quoted(about.conversation_id)}",
        f"X-Migrator-Message: {_quoted(entry.message_id)}",
    ]
    if isinstance(entry, ReadGap):
        lines.append(f"X-Migrator-Gap: {_quoted(entry.reason)}")
    else:
        lines.append(f"X-Migrator-Sender: {_quoted(entry.sender_id)}")
        lines.append(f"X-Migrator-Content-SHA256: {hashlib.sha256(entry.content).hexdigest()}")
    if event is not None and (target := _answers(event)) is not None:
        reference = _message_id(target, room)
        lines += [f"In-Reply-To: {reference}", f"References: {reference}"]
    lines += ["MIME-Version: 1.0", f'Content-Type: multipart/mixed; boundary="{_BOUNDARY}"', "", ""]
    return "\n".join(lines).encode("ascii")


def _answers(event: MatrixEvent) -> str | None:
    """The event that a reader of mail should see this one under."""
    return event.edits or event.reacts_to or event.replies_to or event.thread


def _address(sender: str | None) -> str:
    """`"@alice:example.org" <alice@example.org.invalid>`: the whole id is the name, the address is like it."""
    if sender is None:
        return "unknown sender <unknown@sender.invalid>"
    local, _, server = sender.removeprefix("@").partition(":")
    user = re.sub(r"\.{2,}", ".", _ODD.sub("_", local)).strip(".")[:60].rstrip(".")
    domain = re.sub(r"[^A-Za-z0-9.-]", "-", server)[:180]
    labels = [label[:63] for label in domain.split(".") if label.strip("-")]
    return f"{_phrase(sender)} <{user or 'unknown'}@{'.'.join([*(labels or ['sender']), 'invalid'])}>"


def _phrase(name: str) -> str:
    """A display name: a quoted string, or encoded words (RFC 2047) where it is not ASCII."""
    shown = _one_line(name)
    return f'"{_SPECIAL.sub(_ESCAPED, shown)}"' if shown.isascii() and "=?" not in shown else _encoded(shown)


def _encoded(text: str) -> str:
    """Text in a header; what is not ASCII as encoded words of the length that is allowed, folded."""
    shown = _one_line(text)
    return shown if shown.isascii() and "=?" not in shown else Header(shown, "utf-8", header_name="Subject").encode()


def _message_id(event_id: str, room: str) -> str:
    """Always the same for an event of a room, so that replies find what they answer."""
    local = _quoted(event_id)
    if len(local) > _MAX_ID:
        local = hashlib.sha256(local.encode()).hexdigest()
    return f"<{local}@{room}.room.invalid>"


def _quoted(identifier: str) -> str:
    """An identifier as printable ASCII without spaces; what is over a header's line is cut."""
    return quote(identifier, safe="!$&'*+-/=?^_`{|}~", errors="backslashreplace")[:900]


def _one_line(text: str) -> str:
    """What a header may say: no control characters, no lone surrogates, nothing endless."""
    return " ".join(visible(text).split())[:200]


def _text(text: str) -> bytes:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    encoded = quopri.encodestring(lines.encode("utf-8", "backslashreplace"))
    harmless = re.sub(rb"^From ", b"=46rom ", encoded, flags=re.MULTILINE)
    return _part("text/plain; charset=utf-8", "quoted-printable", None) + harmless + b"\n"


def _payload(message: ReadMessage) -> Iterator[bytes]:
    kind, name = ("application/json", "event.json")
    if not is_json(message.content_type):
        kind, name = ("application/octet-stream", "content.bin")
    yield _part(kind, "base64", name)
    yield from _base64([message.content])


def _attached(attachment: Attachment) -> Iterator[bytes]:
    """One attachment; where it is a gap the text has said so."""
    if attachment.gap is None:
        yield _part("application/octet-stream", "base64", attachment.name or attachment.kind)
        yield from _base64(attachment.chunks())


@lru_cache(maxsize=64)
def _part(kind: str, encoding: str, name: str | None) -> bytes:
    """The headers of a part. The sender's word on its kind is not taken: a reader's program decides by the bytes."""
    part, shown = EmailMessage(policy=_POLICY), _one_line(name or "") or "attachment"
    if name is not None and "=?" not in shown:
        part.add_header("Content-Disposition", "attachment", filename=shown)
    head = part.as_bytes().rstrip(b"\n")
    if name is not None and "=?" in shown:
        head = _disposition(shown)
    lines = [f"--{_BOUNDARY}", f"Content-Type: {kind}", f"Content-Transfer-Encoding: {encoding}"]
    return "\n".join(lines).encode() + b"\n" + (head + b"\n" if head else b"") + b"\n"


def _disposition(name: str) -> bytes:
    """The header for a name that looks like encoded words, as parameter pieces (RFC 2231, sections 3 and 4).

    Python's `email` would decode them where they stand, and a line break in them would begin a header.
    """
    letters = [quote(letter, safe="") for letter in name]
    pieces = ["".join(letters[at : at + 5]) for at in range(0, len(letters), 5)]
    pieces[0] = f"utf-8''{pieces[0]}"
    lines = [f" filename*{number}*={piece}" for number, piece in enumerate(pieces)]
    return ("Content-Disposition: attachment;\n" + ";\n".join(lines)).encode()


def _base64(chunks: Sequence[bytes] | Iterator[bytes]) -> Iterator[bytes]:
    """Lines of base64 of a stream whose chunks may have any size."""
    rest = b""
    for chunk in chain(chunks, [b""]):
        data = rest + chunk
        whole = len(data) - len(data) % _LINE if chunk else len(data)
        rest = data[whole:]
        encoded = base64.b64encode(data[:whole])
        yield b"".join(encoded[at : at + _LINE_CHARS] + b"\n" for at in range(0, len(encoded), _LINE_CHARS))
