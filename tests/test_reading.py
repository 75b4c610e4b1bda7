"""Reading migrated history: nothing without a reason, nothing before it is in the log, nothing that is not visible."""

import json
from pathlib import Path

import pytest

from fixtures.expected import expect
from migrator.campaign import Campaign, CampaignSpec, open_campaign
from migrator.core.errors import AuditLogError, GateError, IntegrityError, KeyServiceError, MigratorError, UsageError
from migrator.core.progress import NoProgress
from migrator.reading import MAX_REASON_CHARS, ReadMessage, read
from migrator.rollback import rollback
from tests.verification.support import executed, extended, rows, tamper, world

REASON = "ticket 4711: the owner asked for a copy"


def visible(spec: CampaignSpec, *, order: str = "ASC") -> str:
    """A conversation that is shown."""
    query = "SELECT conversation_id FROM migrator_conversation WHERE mode = 'server' ORDER BY message_count "
    return str(rows(spec, f"{query} {order} LIMIT 1")[0][0])


def read_all(campaign: Campaign, conversation_id: str) -> list[ReadMessage]:
    """Everything that a reader gets."""
    return list(read(campaign, conversation_id, REASON))


def test_every_shown_conversation_reads_as_it_was_written(tmp_path: Path) -> None:
    """The messages of each conversation, in order, byte for byte what the clients wrote, and only those that opened."""
    spec, made = executed(tmp_path), world()
    shown = {i: e for i, e in expect(made, "every_participant").items() if e.outcome.startswith("rewrapped")}
    assert len(shown) > 10
    with open_campaign(spec) as campaign:
        for conversation_id, expected in shown.items():
            messages = read_all(campaign, conversation_id)
            assert len(messages) == expected.messages
            places = [(m.sent_at, m.message_id.encode()) for m in messages]
            assert places == sorted(places)
            for message in messages:
                index = made.index_of(conversation_id, message.message_id)
                assert message.content == made.content(conversation_id, index)


def test_added_messages_stand_in_their_place(tmp_path: Path) -> None:
    """What a later run brought is read in the order of sending, not of arrival."""
    spec = extended(tmp_path)
    query = "SELECT conversation_id FROM migrator_extension JOIN migrator_conversation USING (conversation_no) LIMIT 1"
    with open_campaign(spec) as campaign:
        messages = read_all(campaign, str(rows(spec, query)[0][0]))
    places = [(m.sent_at, m.message_id.encode()) for m in messages]
    assert places == sorted(places)
    assert len(set(places)) == len(places)


def test_event_is_in_the_log_before_the_first_message(tmp_path: Path) -> None:
    """The call alone leaves a line that names the reference, the reason and the number of messages, and no id (G8)."""
    spec = executed(tmp_path)
    conversation_id = visible(spec)
    with open_campaign(spec) as campaign:
        messages = read(campaign, conversation_id, REASON)
        line = (spec.directory / "audit" / "wal.jsonl").read_bytes().splitlines()[-1]
        event = json.loads(line)
        given = list(messages)
    assert event["type"] == "dev.migrator.history.read"
    assert event["actor"] == "operator@test"
    assert event["data"] == {"ref": event["subject"], "reason": REASON, "messages": len(given), "format": "text"}
    assert conversation_id.encode() not in line
    created = rows(spec, "SELECT 1 FROM migrator_outbox WHERE type = 'key.created' AND subject = ?", event["subject"])
    assert len(created) == 1


def test_each_use_is_an_event(tmp_path: Path) -> None:
    """Reading twice is two events, even if nobody takes a message."""
    spec = executed(tmp_path)
    with open_campaign(spec) as campaign:
        for _ in range(2):
            read(campaign, visible(spec), REASON)
    assert len(rows(spec, "SELECT 1 FROM migrator_outbox WHERE type = 'history.read'")) == 2


def test_nothing_is_given_when_the_log_cannot_be_written(tmp_path: Path) -> None:
    """Without a log there is no reading."""
    spec = executed(tmp_path)
    (spec.directory / "audit" / "wal.jsonl").unlink()
    with open_campaign(spec) as campaign, pytest.raises(AuditLogError):
        read(campaign, visible(spec), REASON)


def test_sealed_conversation_says_so(tmp_path: Path) -> None:
    """What was not migrated can't be read, and asking leaves no event of a reading."""
    spec = executed(tmp_path)
    sealed = rows(spec, "SELECT conversation_id FROM migrator_conversation WHERE mode = 'sealed' LIMIT 1")[0][0]
    with open_campaign(spec) as campaign, pytest.raises(GateError, match="not migrated"):
        read(campaign, sealed, REASON)
    assert not rows(spec, "SELECT 1 FROM migrator_outbox WHERE type = 'history.read'")


@pytest.mark.parametrize("conversation_id", ["", "inbox/nobody", "a\0b", "caf\udce9", "' OR 1=1 --", "x" * 100_000])
def test_unknown_conversation_is_refused(tmp_path: Path, conversation_id: str) -> None:
    """Whatever is typed, it is an id that the campaign knows or a usage error."""
    with open_campaign(executed(tmp_path)) as campaign, pytest.raises(UsageError):
        read(campaign, conversation_id, REASON)


@pytest.mark.parametrize(
    "reason", ["", "  \t ", "x" * (MAX_REASON_CHARS + 1), "two\nlines", "bell\a", "sep\u2028mid", "bad\udce9", "nul\0"]
)
def test_unfit_reason_is_refused(tmp_path: Path, reason: str) -> None:
    """A reason is one line of plain text that fits into the log."""
    spec = executed(tmp_path)
    with open_campaign(spec) as campaign, pytest.raises(UsageError):
        read(campaign, visible(spec), reason)
    assert not rows(spec, "SELECT 1 FROM migrator_outbox WHERE type = 'history.read'")


def test_longest_reason_is_taken(tmp_path: Path) -> None:
    """Exactly the limit is fine, in any script."""
    spec = executed(tmp_path)
    with open_campaign(spec) as campaign:
        read(campaign, visible(spec), "ü" * MAX_REASON_CHARS)


def test_rollback_between_call_and_first_message(tmp_path: Path) -> None:
    """A reader that asked just before a rollback gets nothing, not half."""
    spec = executed(tmp_path)
    with open_campaign(spec) as campaign:
        messages = read(campaign, visible(spec), REASON)
        rollback(campaign, None, NoProgress())
        with pytest.raises(GateError, match="rolled back"):
            list(messages)


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("UPDATE migrator_message SET ciphertext = x'01'", IntegrityError),
        ("UPDATE migrator_message SET sender_id = 'mallory'", IntegrityError),
        ("UPDATE migrator_message SET key_id = key_id + 1", IntegrityError),
        ("DELETE FROM migrator_message WHERE sent_at IN (SELECT MIN(sent_at) FROM migrator_message)", IntegrityError),
        ("UPDATE migrator_data_key SET wrapped_keyset = x'01'", IntegrityError),
        ("UPDATE migrator_data_key SET wrapped_keyset = NULL", IntegrityError),
        ("UPDATE migrator_data_key SET context = '{}'", IntegrityError),
        ("UPDATE migrator_data_key SET key_id = key_id + 1", IntegrityError),
        ("UPDATE migrator_data_key SET key_service = 'local:elsewhere#k'", KeyServiceError),
    ],
)  # fmt: skip
def test_tampered_history_is_not_read_in_silence(tmp_path: Path, statement: str, error: type[MigratorError]) -> None:
    """A row that was altered, moved or removed ends the reading with an error."""
    spec = executed(tmp_path)
    first = "SELECT conversation_id FROM migrator_message JOIN migrator_conversation USING (conversation_no) "
    conversation_id = rows(spec, f"{first} ORDER BY sent_at LIMIT 1")[0][0]
    tamper(spec, statement)
    with open_campaign(spec) as campaign, pytest.raises(error):
        read_all(campaign, conversation_id)


def test_content_is_not_in_a_repr(tmp_path: Path) -> None:
    """A message that ends up in a traceback or log does not show what it says (G5)."""
    spec = executed(tmp_path)
    with open_campaign(spec) as campaign:
        message = read_all(campaign, visible(spec, order="DESC"))[0]
    assert message.content
    assert repr(message.content) not in repr(message)
