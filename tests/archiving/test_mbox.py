"""The mbox archive, read back by Python's own mailbox module: nothing is lost, nothing is injected."""

import email.policy
import mailbox
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.archiving import mbox
from migrator.archiving.interface import AttachmentOpener, NoAttachments
from migrator.reading import ReadMessage
from tests.archiving.rooms import Attached, Room, attachment, edit, gap, raw, said

HEADERS = {
    "From", "To", "Subject", "Date", "Message-ID", "X-Migrator-Conversation", "X-Migrator-Message", "X-Migrator-Sender",
    "X-Migrator-Gap", "X-Migrator-Sent-At", "X-Migrator-Content-SHA256", "MIME-Version", "Content-Type",
}  # fmt: skip


def bytes_of(room: Room, attachments: AttachmentOpener | None = None) -> bytes:
    """The whole archive."""
    return b"".join(mbox.pieces(room, room.about(), attachments or NoAttachments()))


def messages(folder: Path, room: Room, attachments: AttachmentOpener | None = None) -> list[EmailMessage]:
    """What a reader of mbox files finds."""
    path = folder / "m.mbox"
    path.write_bytes(bytes_of(room, attachments))
    box = mailbox.mbox(path)
    raw_mails = [bytes(box.get_bytes(key)) for key in box.iterkeys()]
    box.close()
    return [email.message_from_bytes(mail, policy=email.policy.default) for mail in raw_mails]


def text(message: EmailMessage) -> str:
    """The first part, for people."""
    part = next(message.iter_parts())
    assert isinstance(part, EmailMessage)
    return str(part.get_content())


def attached(message: EmailMessage) -> dict[str | None, bytes]:
    """The other parts by their names."""
    return {part.get_filename(): bytes(part.get_payload(decode=True) or b"") for part in message.iter_attachments()}


def test_each_event_is_one_mail(tmp_path: Path) -> None:
    """Text, the exact payload, date, ids, and answers under what they answer."""
    first, second = said("$a", "one"), edit("$b", "$a", "two", sender="@bob:example.org")
    mails = messages(tmp_path, Room([first, second, gap("$c", "no_key")]))
    assert [mail["Date"] for mail in mails] == ["Tue, 14 Nov 2023 22:13:20 +0000"] * 3
    assert [mail["X-Migrator-Message"] for mail in mails] == ["$a", "$b", "$c"]
    assert str(mails[0]["From"]) == '"@alice:example.org" <alice@example.org.invalid>'
    assert text(mails[0]).strip() == "one"
    assert attached(mails[0]) == {"event.json": first.content}
    assert mails[1]["In-Reply-To"] == mails[1]["References"] == mails[0]["Message-ID"]
    assert text(mails[1]).startswith("two\n")
    assert mails[2]["X-Migrator-Gap"] == "no_key"
    assert "could not be migrated" in text(mails[2])


def test_from_lines_and_boundaries_in_a_text_are_harmless(tmp_path: Path) -> None:
    """A message that imitates the file's own structure stays one message, word for word."""
    body = "From mallory@evil Thu Jan  1 00:00:00 1970\n--=_migrator_part--\n\nFrom \n>From x\n.\n\nFrom: a@b"
    mails = messages(tmp_path, Room([said("$a", body), said("$b")]))
    assert len(mails) == 2
    assert text(mails[0]).rstrip("\n") == body


EVIL = (
    'x\r\nBcc: evil@example.com\r\n\r\nFrom evil\n\n=?utf-8?q?=0aX-Evil:_1?= \u202e\0"\\<>@,;:\u00e9\U0001f600'
    + "y" * 999
)


@pytest.mark.parametrize(
    "evil", [EVIL, "", "@", "@:", "..", "@a..b:c..d", "@a:[::1]:8448", "\u2028", "=?x?q?y?=", "a b"]
)
def test_ids_can_not_become_headers(tmp_path: Path, evil: str) -> None:
    """Line breaks, encoded words, quotes and endless ids in every place that a stranger fills."""
    mails = messages(
        tmp_path, Room([said(evil, evil, sender=evil), raw("$b", b"\xff", kind=evil), gap(evil, evil)], evil)
    )
    assert len(mails) == 3
    for mail in mails:
        assert set(mail.keys()) <= HEADERS
        assert len(mail.keys()) == len(set(mail.keys()))
        assert not mail.defects
        assert mail["From"].addresses[0].domain.endswith(".invalid")
    data = bytes_of(Room([said(evil, evil, sender=evil)], evil))
    assert data.isascii()
    assert max(map(len, data.split(b"\n"))) <= 998


def test_sender_is_shown_as_it_is(tmp_path: Path) -> None:
    """The whole id is the display name, in any script."""
    mails = messages(tmp_path, Room([said("$a", sender='@"Ж":пример.example'), said("$b", sender="@a\\b:c")]))
    assert [mail["From"].addresses[0].display_name for mail in mails] == ['@"Ж":пример.example', "@a\\b:c"]


@pytest.mark.parametrize("sent_at", [-1, -(2**63), 2**63 - 1, 253402300799999])
def test_a_time_that_is_none_is_told(tmp_path: Path, sent_at: int) -> None:
    """A malformed message may have any time: it has its mail, and the number in a header."""
    mail = messages(tmp_path, Room([replace(gap("$a", "malformed"), sent_at=sent_at)]))[0]
    assert mail["X-Migrator-Sent-At"] == str(sent_at)
    assert mail["Date"]


def test_other_content_is_attached_whole(tmp_path: Path) -> None:
    """Bytes that are no text, and text that is no event."""
    mails = messages(
        tmp_path,
        Room([raw("1", b"\xff\x00", kind="application/octet-stream"), raw("2", "grüß dich", kind="text/plain")]),
    )
    assert attached(mails[0]) == {"content.bin": b"\xff\x00"}
    assert "not text" in text(mails[0])
    assert text(mails[1]).strip() == "grüß dich"


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 100, 5_700, 10_001])
def test_attachments_come_whole(tmp_path: Path, size: int) -> None:
    """Streams of any length in chunks of any size; a name is only a name."""
    data = bytes(n % 251 for n in range(size))
    files = Attached(a=[attachment(data, name='../é"\r\nX: y.png'), attachment(name="lost", gap="missing")])
    mail = messages(tmp_path, Room([said("$a")]), files)[0]
    assert list(attached(mail).values())[1:] == [data]
    assert "[file lost: not migrated: it was not in the media store (missing)]" in text(mail)


@given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_any_texts_read_back(bodies: list[str]) -> None:
    """As many mails as messages, each payload exact, whatever is said."""
    entries: list[ReadMessage] = [said(f"${n}", body) for n, body in enumerate(bodies)]
    data = bytes_of(Room(entries))
    cut = data.split(b"\nFrom migrator@")
    assert len(cut) == len(entries)
    for part, entry in zip(cut, entries, strict=True):
        mail = email.message_from_bytes(part.partition(b"\n")[2], policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        assert attached(mail) == {"event.json": entry.content}


@pytest.mark.parametrize(
    "evil", [EVIL, "=?utf-8?q?=0aX-Evil:_1?=", "=?utf-8?b?DQoNCg==?=", 'é =?utf-8?q?=0a=0ax?= "\\;']
)
def test_names_of_files_can_not_become_headers(tmp_path: Path, evil: str) -> None:
    """What looks like encoded words in a name is its text: none is decoded into a line break."""
    room, files = Room([said("$a", "x")]), Attached(a=[attachment(b"data", name=evil)])
    mail = messages(tmp_path, room, files)[0]
    part = list(mail.iter_attachments())[-1]
    assert set(part.keys()) == {"Content-Type", "Content-Transfer-Encoding", "Content-Disposition"}
    assert part.get_payload(decode=True) == b"data"
    assert not part.defects
    name = part.get_filename()
    assert name is not None
    assert name == " ".join(name.split())
    assert ("=?" in name) is ("=?" in evil)
    data = bytes_of(room, files)
    assert data.isascii()
    assert max(map(len, data.split(b"\n"))) <= 998
