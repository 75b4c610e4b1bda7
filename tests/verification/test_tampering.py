"""Whatever is changed after the run is found, and named for what it is."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrator import history
from migrator.campaign import Campaign, CampaignSpec, open_campaign
from migrator.core.envelope import DataKey, associated_data, random_ivs, seal_message
from migrator.database import tables
from tests.verification.support import executed, extended, on_postgresql, rows, tamper, world
from tests.verification.test_verifying import verified

A = "(SELECT MIN(conversation_no) FROM migrator_conversation WHERE mode = 'server')"
"""A small conversation that is shown."""
B = "(SELECT MAX(conversation_no) FROM migrator_conversation WHERE mode = 'server')"
GAPPY = "(SELECT MIN(conversation_no) FROM migrator_gap)"
SEALED = "(SELECT MIN(conversation_no) FROM migrator_conversation WHERE mode = 'sealed')"
FIRST = f"conversation_no = {A} AND sent_at = (SELECT MIN(sent_at) FROM migrator_message WHERE conversation_no = {A})"
LATEST_RUN = "(SELECT run_id FROM migrator_run ORDER BY run_no DESC LIMIT 1)"

CASES: dict[str, tuple[list[str], set[str]]] = {
    "a message is gone": (
        [f"DELETE FROM migrator_message WHERE {FIRST}"],
        {"message_count", "missing_message", "items_root"},
    ),
    "a message is gone and every count follows": (
        [
            f"DELETE FROM migrator_message WHERE {FIRST}",
            f"UPDATE migrator_conversation SET message_count = message_count - 1 WHERE conversation_no = {A}",
            f"UPDATE migrator_item SET messages = messages - 1 WHERE conversation_no = {A}",
        ],
        {"missing_message", "audit_events"},
    ),
    "a bit of a ciphertext": (
        [f"UPDATE migrator_message SET ciphertext = substr(ciphertext, 1, 40) || x'ff' WHERE {FIRST}"],
        {"does_not_open", "items_root"},
    ),
    "an empty ciphertext": (
        [f"UPDATE migrator_message SET ciphertext = x'' WHERE {FIRST}"],
        {"does_not_open", "items_root"},
    ),
    "another sender": (
        [f"UPDATE migrator_message SET sender_id = 'somebody' WHERE {FIRST}"],
        {"does_not_open"},
    ),
    "another type": (
        [f"UPDATE migrator_message SET content_type = 'text/html' WHERE {FIRST}"],
        {"does_not_open"},
    ),
    "another time": (
        [f"UPDATE migrator_message SET sent_at = sent_at + 1 WHERE {FIRST}"],
        {"does_not_open"},
    ),
    "a message of another conversation": (
        [
            (
                "UPDATE migrator_message SET ciphertext = (SELECT ciphertext FROM migrator_message "
                f"WHERE conversation_no = {B} LIMIT 1) WHERE {FIRST}"
            )
        ],
        {"does_not_open", "items_root"},
    ),
    "a message names another key": (
        [f"UPDATE migrator_message SET key_id = key_id + 1 WHERE {FIRST}"],
        {"does_not_open", "data_key"},
    ),
    "a gap is gone": (
        [f"DELETE FROM migrator_gap WHERE conversation_no = {GAPPY}"],
        {"gap_count", "missing_message", "items_root"},
    ),
    "a gap too many": (
        [f"INSERT INTO migrator_gap VALUES ({A}, 5, 'made up', 'no_key')"],
        {"gap_count"},
    ),
    "a message became a gap and every count follows": (
        [
            (
                "INSERT INTO migrator_gap SELECT conversation_no, sent_at, message_id, 'no_key' FROM migrator_message "
                f"WHERE {FIRST}"
            ),
            f"DELETE FROM migrator_message WHERE {FIRST}",
            (
                "UPDATE migrator_conversation SET message_count = message_count - 1, gap_count = gap_count + 1 "
                f"WHERE conversation_no = {A}"
            ),
            (
                "UPDATE migrator_item SET messages = messages - 1, gaps = gaps + 1, outcome = 'rewrapped_with_gaps' "
                f"WHERE conversation_no = {A}"
            ),
        ],
        {"gap_opens", "audit_events", "items_root"},
    ),
    "counts of the conversation": (
        [f"UPDATE migrator_conversation SET message_count = message_count + 1 WHERE conversation_no = {A}"],
        {"message_count", "audit_events"},
    ),
    "counts of the item": (
        [f"UPDATE migrator_item SET messages = messages + 1 WHERE conversation_no = {A}"],
        {"message_count", "audit_events"},
    ),
    "an outcome out of the blue": (
        [f"UPDATE migrator_item SET outcome = 'lost' WHERE conversation_no = {A}"],
        {"unknown_outcome", "outcome", "audit_events"},
    ),
    "a skip that is shown": (
        [f"UPDATE migrator_conversation SET mode = 'server', run_id = {LATEST_RUN} WHERE conversation_no = {SEALED}"],
        {"outcome", "data_key"},
    ),
    "shown by nobody": (
        [f"UPDATE migrator_conversation SET run_id = NULL WHERE conversation_no = {A}"],
        {"outcome", "items_root"},
    ),
    "hidden": (
        [f"UPDATE migrator_conversation SET mode = 'sealed' WHERE conversation_no = {A}"],
        {"outcome", "orphan_rows"},
    ),
    "an item is gone": (
        [f"DELETE FROM migrator_item WHERE conversation_no = {SEALED}"],
        {"missing_item", "audit_events"},
    ),
    "an item that nobody planned": (
        [f"DELETE FROM migrator_plan_item WHERE conversation_no = {SEALED}"],
        {"unexpected_item", "plan"},
    ),
    "the plan said otherwise": (
        [f"UPDATE migrator_plan_item SET decision = 'skipped:refused' WHERE conversation_no = {A}"],
        {"plan", "outcome"},
    ),
    "the conversation's row is gone": (
        [f"DELETE FROM migrator_conversation WHERE conversation_no = {A}"],
        {"outcome", "orphan_rows", "plan"},
    ),
    "a second data key": (
        [
            (
                "INSERT INTO migrator_data_key SELECT conversation_no, key_id + 1, key_service, wrapped_keyset, "
                f"context, created_at, destroyed_at FROM migrator_data_key WHERE conversation_no = {A}"
            )
        ],
        {"data_key"},
    ),
    "no data key": ([f"DELETE FROM migrator_data_key WHERE conversation_no = {A}"], {"data_key"}),
    "a destroyed data key": (
        [f"UPDATE migrator_data_key SET wrapped_keyset = NULL WHERE conversation_no = {A}"],
        {"data_key"},
    ),
    "a wrapped key with a changed bit": (
        [f"UPDATE migrator_data_key SET wrapped_keyset = wrapped_keyset || x'00' WHERE conversation_no = {A}"],
        {"data_key"},
    ),
    "another conversation's wrapped key": (
        [
            (
                "UPDATE migrator_data_key SET (wrapped_keyset, context, key_id) = "
                "(SELECT wrapped_keyset, context, key_id "
                f"FROM migrator_data_key WHERE conversation_no = {B}) WHERE conversation_no = {A}"
            )
        ],
        {"data_key", "does_not_open", "audit_events"},
    ),
    "an unknown key service": (
        [f"UPDATE migrator_data_key SET key_service = 'local:elsewhere#k' WHERE conversation_no = {A}"],
        {"data_key", "audit_events"},
    ),
    "a context of nobody's": (
        [f"UPDATE migrator_data_key SET context = 'nonsense' WHERE conversation_no = {A}"],
        {"data_key"},
    ),
    "a time that is text": (
        [f"UPDATE migrator_message SET sent_at = 'yesterday' WHERE {FIRST}"],
        {"does_not_open", "missing_message", "items_root"},
    ),
    "an id that is a blob": (
        [f"UPDATE migrator_message SET message_id = x'ff00' WHERE {FIRST}"],
        {"does_not_open", "missing_message", "items_root"},
    ),
    "a sender that is a blob": (
        [f"UPDATE migrator_message SET sender_id = x'ff00' WHERE {FIRST}"],
        {"does_not_open"},
    ),
    "messages of a sealed conversation": (
        [
            (
                "INSERT INTO migrator_message SELECT "
                f"{SEALED}, sent_at, message_id, sender_id, content_type, key_id, ciphertext FROM migrator_message "
                f"WHERE {FIRST}"
            )
        ],
        {"orphan_rows"},
    ),
    "messages of no conversation": (
        [
            (
                "INSERT INTO migrator_message SELECT 999999, sent_at, message_id, sender_id, content_type, key_id, "
                f"ciphertext FROM migrator_message WHERE {FIRST}"
            )
        ],
        {"orphan_rows"},
    ),
    "a data key of no conversation": (
        [
            (
                "INSERT INTO migrator_data_key SELECT 999999, key_id, key_service, wrapped_keyset, context, "
                f"created_at, NULL FROM migrator_data_key WHERE conversation_no = {A}"
            )
        ],
        {"orphan_rows"},
    ),
    "a position that a complete run left": (
        [f"INSERT INTO migrator_progress VALUES ({SEALED}, {LATEST_RUN}, '[]', 1, 0, 0, 0, '0:')"],
        {"orphan_rows"},
    ),
    "staged messages that a complete run left": (
        [
            (
                "INSERT INTO migrator_addition (run_id, conversation_no, sent_at, message_id, ciphertext) "
                f"VALUES ({LATEST_RUN}, {SEALED}, 1, 'm', x'00')"
            )
        ],
        {"orphan_rows"},
    ),
    "an event says another root": (
        [
            (
                'UPDATE migrator_outbox SET data = replace(data, \'"items_root":"\', \'"items_root":"00\') '
                "WHERE outbox_no = (SELECT MIN(outbox_no) FROM migrator_outbox WHERE type = 'conversation.rewrapped')"
            )
        ],
        {"items_root", "audit_log"},
    ),
    "an event that is not JSON": (
        [
            (
                "UPDATE migrator_outbox SET data = 'x' "
                "WHERE outbox_no = (SELECT MIN(outbox_no) FROM migrator_outbox WHERE type = 'conversation.skipped')"
            ),
            (
                "UPDATE migrator_outbox SET data = '[]' "
                "WHERE outbox_no = (SELECT MIN(outbox_no) FROM migrator_outbox WHERE type = 'conversation.rewrapped')"
            ),
        ],
        {"items_root", "audit_log", "audit_events"},
    ),
    "an event is gone": (
        [
            (
                "DELETE FROM migrator_outbox WHERE outbox_no = (SELECT MIN(outbox_no) FROM migrator_outbox "
                "WHERE type = 'conversation.rewrapped')"
            )
        ],
        {"audit_events", "audit_log", "items_root"},
    ),
    "a key's event is gone": (
        [
            (
                "DELETE FROM migrator_outbox WHERE outbox_no = (SELECT MIN(outbox_no) FROM migrator_outbox "
                "WHERE type = 'key.created')"
            )
        ],
        {"audit_events", "audit_log"},
    ),
    "a phantom event": (
        [
            (
                "INSERT INTO migrator_outbox (event_id, type, subject, run_id, actor, time, data) "
                "SELECT 'phantom', type, subject, run_id, actor, time, data FROM migrator_outbox "
                "WHERE type = 'conversation.rewrapped' LIMIT 1"
            )
        ],
        {"audit_events"},
    ),
}


ON_A_SERVER = (
    "a message is gone and every count follows", "a bit of a ciphertext", "counts of the item", "an item is gone",
    "the plan said otherwise", "another conversation's wrapped key", "messages of no conversation", "a phantom event",
)  # fmt: skip
"""One case for each thing that is looked at; the rest would find the same queries at work."""


@on_postgresql
@pytest.mark.usefixtures("database_kind")
@pytest.mark.parametrize("name", ON_A_SERVER)
def test_tampering_on_postgresql_is_found(tmp_path: Path, name: str) -> None:
    """The same from a server, whose set-based reconciliation is planned otherwise."""
    test_tampering_is_found(tmp_path, name)


@pytest.mark.parametrize("name", CASES)
def test_tampering_is_found(tmp_path: Path, name: str) -> None:
    """Each change is found with its kind, no matter how many rows the tamperer thought of."""
    statements, expected = CASES[name]
    spec = executed(tmp_path)
    tamper(spec, *statements)
    result = verified(spec)
    assert not result.ok
    kinds = {mismatch.kind.value for mismatch in result.mismatches}
    assert kinds >= expected
    assert result.mismatch_count == len(result.mismatches)
    assert_names_nobody(spec, " ".join(mismatch.detail for mismatch in result.mismatches))


def assert_names_nobody(spec: CampaignSpec, text: str) -> None:
    """Details hold no id of a person, conversation or message (G5)."""
    identifiers = {person.account_id for person in world().people} | {c.conversation_id for c in world().copies}
    identifiers |= {
        message_id for (message_id,) in rows(spec, "SELECT DISTINCT message_id FROM message", name="store.db")
    }
    assert not [identifier for identifier in identifiers if identifier in text]


# --- an insider with the data key ---


def resealed(campaign: Campaign, change: Callable[[bytes], bytes], *, source: str | None = None) -> None:
    """Seal the first message of a conversation anew under its own data key, with other content."""
    with campaign.database.write("tamper") as connection:
        number = connection.scalar(sa.text(source or f"SELECT {A}"))
        assert isinstance(number, int)
        identifier = connection.scalar(
            sa.select(tables.conversation.c.conversation_id).where(tables.conversation.c.conversation_no == number)
        )
        assert identifier is not None
        key = history.unwrap(campaign, history.living_keys(connection, [number])[number])[0]
        assert isinstance(key, DataKey)
        row = history.messages_of(connection, [number])[number][0]
        sent_at, message_id, sender_id, content_type, _, _ = row
        bound = associated_data(identifier, message_id, sender_id, sent_at, content_type)
        sealed = seal_message(key, random_ivs(1)[0], change(history.open_row(key, identifier, row)), bound)
        table = tables.message
        connection.execute(
            table.update()
            .where(table.c.conversation_no == number, table.c.sent_at == sent_at, table.c.message_id == message_id)
            .values(ciphertext=sealed)
        )


def test_properly_sealed_other_content_is_found(tmp_path: Path) -> None:
    """Whoever holds the data key can seal anything, but not make it what the source holds."""
    spec = executed(tmp_path)
    with open_campaign(spec) as campaign:
        resealed(campaign, lambda content: content + b"!")
    kinds = {mismatch.kind.value for mismatch in verified(spec).mismatches}
    assert kinds == {"content", "items_root"}


def test_properly_sealed_other_history_is_found(tmp_path: Path) -> None:
    """The same for a message that only an export's history holds."""
    spec = executed(tmp_path)
    only_history = "SELECT MIN(conversation_no) FROM migrator_message WHERE content_type <> 'application/octet-stream'"
    with open_campaign(spec) as campaign:
        resealed(campaign, lambda content: content + b"!", source=only_history)
    kinds = {mismatch.kind.value for mismatch in verified(spec).mismatches}
    assert kinds == {"content", "items_root"}


def test_same_content_sealed_anew_is_found_by_the_root(tmp_path: Path) -> None:
    """Even the same content under another IV is not what the audit log covers."""
    spec = executed(tmp_path)
    with open_campaign(spec) as campaign:
        resealed(campaign, lambda content: content)
    kinds = {mismatch.kind.value for mismatch in verified(spec).mismatches}
    assert kinds == {"items_root"}


def test_tampering_with_an_extended_conversation_is_found_by_both_runs(tmp_path: Path) -> None:
    """The run that was built upon looks at the same rows as the one that built on it."""
    spec = extended(tmp_path)
    number = rows(spec, "SELECT MIN(conversation_no) FROM migrator_extension")[0][0]
    tamper(spec, f"UPDATE migrator_message SET ciphertext = x'01' WHERE conversation_no = {number}")
    for (run_id,) in rows(spec, "SELECT run_id FROM migrator_run"):
        kinds = {mismatch.kind.value for mismatch in verified(spec, run_id).mismatches}
        assert kinds == {"does_not_open", "items_root"}


def test_lost_history_of_an_export_is_found(tmp_path: Path) -> None:
    """A message that an export's history has, and neither the server nor the gaps, is missing."""
    spec = executed(tmp_path)
    with_history = "SELECT MIN(conversation_no) FROM migrator_message WHERE content_type <> 'application/octet-stream'"
    number = rows(spec, with_history)[0][0]
    tamper(spec, f"DELETE FROM migrator_message WHERE conversation_no = {number}")
    details = [m.detail for m in verified(spec).mismatches if m.kind.value == "missing_message"]
    assert any("export" in detail for detail in details)


def test_listed_numbers_are_those_of_the_conversation(tmp_path: Path) -> None:
    """A mismatch names the conversation by its number, so that an operator finds the row."""
    spec = executed(tmp_path)
    number = rows(spec, f"SELECT {A}")[0][0]
    tamper(spec, f"UPDATE migrator_message SET sender_id = 'x' WHERE {FIRST}")
    assert {mismatch.conversation_no for mismatch in verified(spec).mismatches} == {number}


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_finding_mismatches_repairs_nothing(tmp_path: Path) -> None:
    """A tampered row is as it was after the verification."""
    spec = executed(tmp_path)
    tamper(spec, f"UPDATE migrator_message SET sender_id = 'x' WHERE {FIRST}")
    before: list[tuple[Any, ...]] = rows(spec, "SELECT * FROM migrator_message")
    source = digest(spec.directory / "store.db")
    verified(spec)
    assert rows(spec, "SELECT * FROM migrator_message") == before
    assert digest(spec.directory / "store.db") == source
