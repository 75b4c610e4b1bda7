"""The log against the database: they agree after whatever a campaign does, and any row that is changed is found."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from migrator import evidence, rollback
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.progress import NoProgress
from migrator.evidence import FindingKind, Reconciliation
from tests.audit.executed import execute, executed_campaign
from tests.support import campaigns


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> CampaignSpec:
    """A campaign that was executed."""
    return executed_campaign(tmp_path_factory.mktemp("campaign"))


@pytest.fixture
def changed(spec: CampaignSpec) -> Iterator[sqlite3.Connection]:
    """The database, for a test to change; put back afterwards."""
    path = spec.directory / "migrator.db"
    kept = path.with_suffix(".kept")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(path, kept)
        yield connection
    with closing(sqlite3.connect(kept)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)


def reconciled(spec: CampaignSpec) -> Reconciliation:
    """The result, which has its findings counted."""
    with open_campaign(spec) as campaign:
        result = evidence.reconcile(campaign)
    assert result.ok == (not result.findings)
    assert len(result.findings) == result.finding_count
    return result


def kinds(spec: CampaignSpec) -> set[FindingKind]:
    """What kinds of findings there are."""
    return {found.kind for found in reconciled(spec).findings}


def test_a_campaign_agrees_with_its_log(spec: CampaignSpec) -> None:
    """Everything was looked at, and agrees."""
    result = reconciled(spec)
    assert result.findings == []
    assert result.checked["lines"] > 50
    assert result.checked["runs"] == 1
    assert result.checked["conversations"] == result.checked["data_keys"] > 5
    assert result.checked["key_events"] >= result.checked["data_keys"]
    assert result.checked["waiting"] == 0


def test_late_keys_and_a_rollback_agree(tmp_path: Path) -> None:
    """A second run that adds to the first, its rollback, and the rollback of both."""
    spec = executed_campaign(tmp_path)
    campaigns.import_exports(campaigns.at(spec, campaigns.LATE), late=True)
    later = campaigns.at(spec, campaigns.LATE)
    execute(later)
    assert reconciled(later).findings == []
    for _ in range(2):
        with open_campaign(later) as campaign:
            rollback.rollback(campaign, _newest(spec), NoProgress())
        assert reconciled(later).findings == []
    result = reconciled(later)
    assert result.checked["runs"] == 2
    assert result.checked["conversations"] == 0
    execute(later)
    assert reconciled(later).findings == []


def _newest(spec: CampaignSpec) -> str:
    """The newest run that is not rolled back."""
    with closing(sqlite3.connect(spec.directory / "migrator.db")) as connection:
        query = "SELECT run_id FROM migrator_run WHERE state != 'rolled_back' ORDER BY run_no DESC"
        return str(connection.execute(query).fetchone()[0])


LINE, RUN, KEY, CONVERSATION = FindingKind.LINE, FindingKind.RUN, FindingKind.DATA_KEY, FindingKind.CONVERSATION
OF_FIRST_KEY = "conversation_no = (SELECT min(conversation_no) FROM migrator_data_key)"
ANOTHER_KEY = (
    "INSERT INTO migrator_data_key SELECT conversation_no + 100000, key_id + 1, key_service, wrapped_keyset, context, "
    f"created_at, destroyed_at FROM migrator_data_key WHERE {OF_FIRST_KEY}"
)
ANOTHER_EVENT = "INSERT INTO migrator_outbox SELECT 99999, 'x', type, subject, run_id, actor, time, data,"
OF_LOG_OPENED = "FROM migrator_outbox WHERE type = 'log.opened'"
FIRST_SEALED = "(SELECT min(conversation_no) FROM migrator_conversation WHERE mode = 'sealed')"
FIRST_SHOWN = "(SELECT min(conversation_no) FROM migrator_conversation WHERE mode = 'server')"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE migrator_item SET outcome = 'skipped:empty' WHERE outcome = 'rewrapped'", {RUN}),
        ("UPDATE migrator_item SET messages = messages + 1 WHERE outcome = 'rewrapped'", {RUN}),
        ("UPDATE migrator_item SET gaps = gaps + 1 WHERE outcome = 'rewrapped'", {RUN}),
        ("DELETE FROM migrator_item WHERE outcome LIKE 'skipped:%'", {RUN}),
        ("DELETE FROM migrator_run", {RUN}),
        ("UPDATE migrator_run SET state = 'rolled_back'", {RUN, CONVERSATION}),
        (f"DELETE FROM migrator_data_key WHERE {OF_FIRST_KEY}", {KEY, CONVERSATION}),
        (f"UPDATE migrator_data_key SET key_id = key_id + 1 WHERE {OF_FIRST_KEY}", {KEY, CONVERSATION}),
        ("UPDATE migrator_data_key SET key_service = 'local:elsewhere#x'", {KEY, CONVERSATION}),
        (f"UPDATE migrator_data_key SET context = 'x' WHERE {OF_FIRST_KEY}", {KEY, CONVERSATION}),
        (f"UPDATE migrator_data_key SET wrapped_keyset = NULL WHERE {OF_FIRST_KEY}", {KEY, CONVERSATION}),
        (f"UPDATE migrator_data_key SET destroyed_at = 'x' WHERE {OF_FIRST_KEY}", {KEY}),
        (ANOTHER_KEY, {KEY}),
        (f"UPDATE migrator_conversation SET message_count = 0 WHERE conversation_no = {FIRST_SHOWN}", {CONVERSATION}),
        (f"UPDATE migrator_conversation SET gap_count = 9 WHERE conversation_no = {FIRST_SHOWN}", {CONVERSATION}),
        (f"UPDATE migrator_conversation SET run_id = 'x' WHERE conversation_no = {FIRST_SHOWN}", {CONVERSATION}),
        (f"UPDATE migrator_conversation SET mode = 'sealed' WHERE conversation_no = {FIRST_SHOWN}", {CONVERSATION}),
        (f"UPDATE migrator_conversation SET mode = 'server' WHERE conversation_no = {FIRST_SEALED}", {CONVERSATION}),
        ("UPDATE migrator_outbox SET actor = 'nobody' WHERE seq = 5", {LINE}),
        ("UPDATE migrator_outbox SET data = '{' WHERE seq = 5", {LINE}),
        ("UPDATE migrator_outbox SET run_id = 'run-x' WHERE seq = (SELECT max(seq) FROM migrator_outbox)", {LINE, RUN}),
        ("DELETE FROM migrator_outbox WHERE seq = 5", {LINE}),
        (f"{ANOTHER_EVENT} 99999 {OF_LOG_OPENED}", {LINE}),
        (f"{ANOTHER_EVENT} -1 {OF_LOG_OPENED}", {LINE}),
        ("DELETE FROM migrator_outbox WHERE type = 'key.created'", {LINE, KEY}),
        ("UPDATE migrator_outbox SET subject = NULL WHERE type = 'key.created'", {LINE, KEY}),
        ("DELETE FROM migrator_outbox WHERE type = 'conversation.rewrapped'", {LINE, RUN, CONVERSATION}),
        ("DELETE FROM migrator_outbox WHERE type = 'run.completed'", {LINE, RUN}),
        ("DELETE FROM migrator_outbox WHERE type = 'run.started'", {LINE, RUN}),
    ],
)  # fmt: skip
def test_any_row_that_is_changed_is_found(
    spec: CampaignSpec, changed: sqlite3.Connection, statement: str, expected: set[FindingKind]
) -> None:
    """Outcomes, counts, keys, conversations, events: each by its own comparison."""
    assert changed.execute(statement).rowcount > 0
    assert kinds(spec) == expected


def test_every_event_is_held(spec: CampaignSpec, changed: sqlite3.Connection) -> None:
    """Whichever event of the database is dropped, the lines tell."""
    numbers = [row[0] for row in changed.execute("SELECT outbox_no FROM migrator_outbox ORDER BY random() LIMIT 8")]
    for number in numbers:
        changed.execute("BEGIN")
        changed.execute("DELETE FROM migrator_outbox WHERE outbox_no = ?", (number,))
        changed.execute("COMMIT")
        assert LINE in kinds(spec)


def test_many_findings_are_counted(
    spec: CampaignSpec, changed: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is bounded, the count is not."""
    monkeypatch.setattr("migrator.evidence.reconciliation.findings.MAX_LISTED", 3)
    changed.execute("UPDATE migrator_outbox SET actor = 'nobody'")
    with open_campaign(spec) as campaign:
        result = evidence.reconcile(campaign)
    assert len(result.findings) == 3
    assert result.finding_count == result.checked["lines"]
    assert not result.ok


def test_pages_of_rows(spec: CampaignSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few rows are read together, all are."""
    whole = reconciled(spec).checked
    for module in ("keys", "conversations"):
        monkeypatch.setattr(f"migrator.evidence.reconciliation.{module}.PAGE", 2)
    assert reconciled(spec).checked == whole


def test_findings_name_nobody(spec: CampaignSpec, changed: sqlite3.Connection) -> None:
    """Neither accounts nor conversations appear by name."""
    changed.execute("UPDATE migrator_conversation SET message_count = message_count + 1")
    changed.execute("UPDATE migrator_outbox SET actor = 'nobody'")
    names = {row[0] for row in changed.execute("SELECT conversation_id FROM migrator_conversation")}
    text = json.dumps([(found.about, found.detail) for found in reconciled(spec).findings])
    assert not [name for name in names if name in text]
