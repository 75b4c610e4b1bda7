"""What a client exports is what the format says, read here with tarfile, hashlib, json and HPKE alone."""

import hashlib
import io
import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrator.client.exporting import ExportHeader, ExportWriter, HistoryMessage, MessageKey, write_export
from migrator.client.signing import Signer
from migrator.core.export import ExportKind, parse_manifest
from migrator.core.limits import KIB, LIMITS, MIB
from migrator.schemes.labyrinth import LabyrinthScheme
from tests.client.archives import decode, lines, manifest, members
from tests.client.recipients import KEMS, RecipientPair

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PHONE = Signer.device("phone", KEY)
EXPORT = "01234567-89ab-4def-8123-456789abcdef"
CONVERSATION = "in-alice/bob"
PAIR = RecipientPair("X25519")


def _header(kind: ExportKind = ExportKind.KEYS) -> ExportHeader:
    created_at = datetime(2026, 4, 1, tzinfo=UTC)
    return ExportHeader(export_id=UUID(EXPORT), campaign="c", account_id="alice", kind=kind, created_at=created_at)


def _key(epoch: int, version: int) -> MessageKey:
    key = bytes([epoch, version]) * 16
    return MessageKey(
        conversation_id=CONVERSATION, epoch_id=f"e{epoch}", epoch_sequence=epoch, version=version, key=key
    )


def _message(number: int, size: int) -> HistoryMessage:
    return HistoryMessage(
        conversation_id=CONVERSATION,
        message_id=f"m{number}",
        sender_id="bob",
        sent_at=number,
        content_type="text/plain",
        content="ä" * (size // 2),
    )


def _archive(writer: ExportWriter) -> bytes:
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


@pytest.mark.parametrize("kem", KEMS)
def test_keys_open_at_the_campaign(kem: str) -> None:
    """Each part unseals with the info of its place, and its lines are the keys as they were given."""
    pair = RecipientPair(kem)
    writer = ExportWriter(_header(), pair.recipient, PHONE)
    writer.list_conversation(CONVERSATION, messages=7)
    for key in (_key(3, 4), _key(3, 0), _key(5, 2)):
        writer.add_key(key)
    found = list(lines(_archive(writer), pair))
    assert [(line["epoch_id"], line["epoch_sequence"], line["version"]) for line in found] == [
        ("e3", 3, 4), ("e3", 3, 0), ("e5", 5, 2),
    ]  # fmt: skip
    assert decode(found[0]["message_key"]) == b"\x03\x04" * 16
    assert all(line["conversation_id"] == CONVERSATION for line in found)


def test_manifest_is_what_the_reader_takes() -> None:
    """The manifest names coverage, counts, omissions and digests, and migrator's reader takes it."""
    writer = ExportWriter(_header(), PAIR.recipient, PHONE)
    writer.list_conversation(CONVERSATION, messages=7, omissions={"no_key": 2})
    for key in (_key(3, 4), _key(3, 0), _key(5, 2)):
        writer.add_key(key)
    archive = _archive(writer)
    payload = json.dumps(manifest(archive)).encode()
    scheme = LabyrinthScheme()
    read = parse_manifest(payload, kid="phone", scheme="labyrinth", read_coverage=scheme.read_coverage)
    listed = read.conversations[0]
    slots = set().union(*(scheme.read_coverage(element) for element in listed.coverage))
    assert slots == {("e3", 0), ("e3", 4), ("e5", 2)}
    assert (listed.conversation_id, listed.messages, listed.omissions) == (CONVERSATION, 7, {"no_key": 2})
    sealed = members(archive)[1][1]
    assert [(part.sha256, part.size) for part in read.parts] == [(hashlib.sha256(sealed).hexdigest(), len(sealed))]


def test_manifest_is_signed_by_the_device() -> None:
    """The first member is a compact JWS of the manifest's type whose signature holds."""
    member, token = members(_archive(ExportWriter(_header(), PAIR.recipient, PHONE)))[0]
    header, payload, signature = token.split(b".")
    assert member.name == "manifest.jws"
    assert json.loads(decode(header))["typ"] == "migrator-export+jws"
    KEY.public_key().verify(decode(signature), header + b"." + payload)


def test_history_is_split_into_parts_under_the_limit() -> None:
    """Ten megabytes of messages take two parts, in order, each under the limit, and nothing is lost."""
    messages = [_message(number, 900 * KIB) for number in range(11)]
    writer = ExportWriter(_header(ExportKind.HISTORY), PAIR.recipient, PHONE)
    writer.list_conversation(CONVERSATION, messages=len(messages))
    for message in messages:
        writer.add_message(message)
    archive = _archive(writer)
    names = [member.name for member, _ in members(archive)]
    assert names == ["manifest.jws", "part-00000.hpke", "part-00001.hpke"]
    assert all(len(sealed) <= LIMITS.part_bytes for _, sealed in members(archive)[1:])
    assert [line["content"] for line in lines(archive, PAIR)] == [message.content for message in messages]


def test_part_may_be_as_long_as_the_limit() -> None:
    """A part is filled up to the last byte before the next one begins."""
    room = LIMITS.part_bytes - PAIR.recipient.overhead
    writer = ExportWriter(_header(ExportKind.HISTORY), PAIR.recipient, PHONE)
    line = len('{"filler":""}\n')
    for size in (4 * MIB - line, room - 4 * MIB - line, 10):
        writer.add_entry({"filler": "x" * size})
    sizes = [len(sealed) for _, sealed in members(_archive(writer))[1:]]
    assert sizes == [LIMITS.part_bytes, line + 10 + PAIR.recipient.overhead]


@pytest.mark.parametrize(("kind", "limit"), [(ExportKind.KEYS, 64 * KIB), (ExportKind.HISTORY, 4 * MIB)])
def test_entry_over_the_limit_is_refused(kind: ExportKind, limit: int) -> None:
    """A client learns at once that a message is too long to hand over."""
    writer = ExportWriter(_header(kind), PAIR.recipient, PHONE)
    with pytest.raises(ValueError, match="longer"):
        writer.add_entry({"filler": "x" * limit})


def test_headers_hold_nothing_of_the_machine() -> None:
    """No time, owner or group in the archive; regular files only, readable by nobody else."""
    writer = ExportWriter(_header(), PAIR.recipient, PHONE)
    writer.add_key(_key(1, 4))
    for member, _ in members(_archive(writer)):
        assert member.isreg()
        assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
        assert (member.mode, member.pax_headers) == (0o600, {})


def test_write_export_is_the_writer_in_one_call() -> None:
    """Keys and counts arrive as they do step by step."""
    stream = io.BytesIO()
    write_export(
        stream,
        _header(),
        recipient=PAIR.recipient,
        signer=PHONE,
        conversations={CONVERSATION: 3},
        entries=[_key(1, 4), _key(2, 4)],
    )
    archive = stream.getvalue()
    assert manifest(archive)["conversations"] == [
        {
            "id": CONVERSATION,
            "messages": 3,
            "omissions": [],
            "coverage": [{"epoch_id": "e1", "versions": [4]}, {"epoch_id": "e2", "versions": [4]}],
        }
    ]
    assert [line["epoch_id"] for line in lines(archive, PAIR)] == ["e1", "e2"]


def test_content_and_keys_are_not_shown() -> None:
    """The reprs of what is exported hold neither key nor content."""
    key, message = _key(1, 4), _message(1, 10)
    assert repr(key.key) not in repr(key)
    assert message.content not in repr(message)


def test_plaintext_is_in_no_archive() -> None:
    """Nothing that was added stands in the archive unsealed."""
    writer = ExportWriter(_header(ExportKind.HISTORY), PAIR.recipient, PHONE)
    writer.add_message(_message(1, 100))
    assert "ä".encode() * 10 not in _archive(writer)
