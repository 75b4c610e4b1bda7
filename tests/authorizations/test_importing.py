"""Importing records: what is written, what is refused and why, repeats, crashes and two imports at once."""

import dataclasses
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.authorizations import import_paths, importing
from migrator.authorizations.reading import Candidate
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.authorization import AuthorizationRecord, read_record
from migrator.core.clock import format_time
from migrator.core.errors import SourceError, UsageError
from migrator.core.imports import ImportResult
from migrator.core.model import Account, Device
from migrator.core.outcomes import RefusalReason
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.stores import labyrinth_tables as source
from migrator.stores.labyrinth import LabyrinthStore
from tests.authorizations.support import Desk, add_thread, at, change_source
from tests.core.records import NOW, RECORD_ID, key, payload, sign

DAY = timedelta(days=1)


def reasons(result: ImportResult) -> list[RefusalReason]:
    return [refused.reason for refused in result.refused]


def import_texts(desk: Desk, *texts: str) -> ImportResult:
    return import_paths(desk.campaign, [desk.jsonl(texts)])


# --- what is written ---


def test_a_grant_is_recorded_whole(desk: Desk) -> None:
    """One row with what the record says, the exact record, its scope, its event, and the raised version."""
    text = desk.record(scope={"conversations": ["alice-inbox/bob"]})
    result = import_paths(desk.campaign, [desk.jws(text)])
    assert result == ImportResult(recorded=1, already=0, refused=())
    [row] = desk.rows()
    assert row["record"] == text
    assert row["record_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert (row["account_id"], row["guardian_id"], row["answer"], row["covers_all"]) == ("alice", None, "grant", False)
    assert (row["device_id"], row["issuer"]) == ("alice-phone", None)
    assert row["decided_at"] == "2026-03-01T11:00:00.000000Z"
    assert row["valid_until"] == "2026-12-31T00:00:00.000000Z"
    assert (row["notice_id"], row["notice_version"], row["notice_locale"]) == ("cutover", "3", "de")
    assert row["recorded_at"] == format_time(NOW)
    conversation = desk.campaign.store.conversations(["alice-inbox/bob"])["alice-inbox/bob"]
    assert desk.scopes() == [(row["authorization_no"], conversation.thread_key)]
    [(verb, subject, data)] = desk.events()
    with desk.campaign.database.read() as connection:
        reference = desk.campaign.references.accounts(connection, ["alice"])["alice"]
    assert (verb, subject) == ("recorded", reference)
    assert data == {"answer": "grant", "guardian": False, "issuer": None, "record_sha256": row["record_sha256"]}
    assert desk.version() == 1


def test_the_audit_log_has_the_event_when_the_import_returns(desk: Desk) -> None:
    """The import ends with the outbox moved into the log, which names nobody."""
    import_texts(desk, desk.record(), desk.record("bob", campaign="other"))
    log = (desk.folder / "audit" / "wal.jsonl").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["type"].rpartition(".")[2] for line in lines[-2:]] == ["recorded", "refused"]
    assert lines[-1]["data"]["reason"] == "wrong_campaign"
    assert "alice" not in log
    assert "bob" not in log


def test_scope_of_all_has_no_threads(desk: Desk) -> None:
    """`all` is a mark on the record, not a list that could be out of date."""
    import_texts(desk, desk.record())
    assert desk.rows()[0]["covers_all"] is True
    assert desk.scopes() == []


def test_an_id_stands_for_its_thread(desk: Desk) -> None:
    """Both copies of a thread have one key; an id that the source does not know is kept as it is."""
    add_thread(desk.folder, "bob", "alice")
    ids = ["alice-inbox/bob", "bob-inbox/alice", "alice-inbox/nobody", "no such form"]
    import_texts(desk, desk.record(scope={"conversations": ids}))
    direct = desk.campaign.store.conversations(["bob-inbox/alice"])["bob-inbox/alice"].thread_key
    assert [thread for _, thread in desk.scopes()] == sorted([direct, "id:alice-inbox/nobody", "id:no such form"])


def test_guardians_and_issuers_are_told_apart(desk: Desk) -> None:
    """Who signed stands in the row and in the event."""
    result = import_texts(desk, desk.guardians(), desk.issuers("bob"))
    assert result.recorded == 2
    guardian, attested = desk.rows()
    assert (guardian["account_id"], guardian["guardian_id"]) == ("child", "parent")
    assert (attested["account_id"], attested["issuer"], attested["device_id"]) == ("bob", "consent", None)
    data = [data for _, _, data in desk.events()]
    assert [(d["guardian"], d["issuer"]) for d in data] == [(True, None), (False, "consent")]


# --- refusals ---


def revoke(desk: Desk) -> None:
    query = source.device.update().where(source.device.c.device_id == "alice-phone")
    change_source(desk.folder, query.values(revoked_at=format_time(NOW - timedelta(minutes=1))))


def destroy_recipient_key(desk: Desk) -> None:
    with desk.campaign.database.write("test") as connection:
        connection.execute(tables.recipient_key.update().values(destroyed_at=format_time(NOW)))


def lock_guardian(desk: Desk) -> None:
    change_source(
        desk.folder, source.account.update().where(source.account.c.account_id == "parent").values(status="locked")
    )


def zero_key(desk: Desk) -> None:
    query = source.device.update().where(source.device.c.device_id == "alice-phone")
    change_source(desk.folder, query.values(signing_key=bytes(32)))


REFUSALS: tuple[tuple[RefusalReason, Callable[[Desk], str], Callable[[Desk], None] | None], ...] = (
    (RefusalReason.MALFORMED, lambda d: d.record(extra=1), None),
    (RefusalReason.MALFORMED, lambda d: d.record(scope={"conversations": []}), None),
    (RefusalReason.TOO_LARGE, lambda d: d.record(scope={"conversations": [f"c{n}" * 9 for n in range(4000)]}), None),
    (RefusalReason.UNKNOWN_ACCOUNT, lambda d: d.record("nobody", device_id="alice-phone", signer=1), None),
    (RefusalReason.UNKNOWN_ISSUER, lambda d: d.issuers(issuer="rogue"), None),
    (RefusalReason.UNKNOWN_DEVICE, lambda d: d.record(device_id="alice-tablet"), None),
    (RefusalReason.UNKNOWN_DEVICE, lambda d: d.record("alice", signer=2, device_id="bob-phone"), None),
    (RefusalReason.UNKNOWN_DEVICE, lambda d: d.record(decided_at="2025-01-01T00:00:00Z"), None),
    (RefusalReason.BAD_SIGNATURE, lambda d: d.record(signer=2), None),
    (RefusalReason.BAD_SIGNATURE, lambda d: d.record(), zero_key),
    (RefusalReason.REVOKED_DEVICE, lambda d: d.record(), revoke),
    (RefusalReason.WRONG_CAMPAIGN, lambda d: d.record(campaign="other"), None),
    (RefusalReason.WRONG_RECIPIENT_KEY, lambda d: d.record(recipient_key_id="other"), None),
    (RefusalReason.WRONG_RECIPIENT_KEY, lambda d: d.record(), destroy_recipient_key),
    (RefusalReason.EXPIRED, lambda d: d.record(valid_until="2026-02-28T00:00:00Z"), None),
    (RefusalReason.FUTURE, lambda d: d.record(decided_at="2026-03-01T12:06:00Z"), None),
    (
        RefusalReason.UNKNOWN_NOTICE,
        lambda d: d.record(notice={"notice_id": "cutover", "version": "4", "locale": "de", "sha256": "ab" * 32}),
        None,
    ),
    (
        RefusalReason.NOT_GUARDIAN,
        lambda d: d.record(
            "bob", signer=3, device_id="parent-phone", actor={"kind": "guardian", "account_id": "parent"}
        ),
        None,
    ),
    (RefusalReason.NOT_GUARDIAN, lambda d: d.guardians(), lock_guardian),
)


@pytest.mark.parametrize("case", range(len(REFUSALS)))
def test_refusal(desk: Desk, case: int) -> None:
    """Each reason: reported, in the audit log without any id, nothing written; its neighbours are recorded."""
    reason, make, prepare = REFUSALS[case]
    text = make(desk)
    neighbour = desk.record("bob", decided_at="2026-03-01T10:00:00Z")
    if prepare is not None:
        prepare(desk)
    alone = import_texts(desk, text)
    assert reasons(alone) == [reason]
    assert desk.rows() == []
    assert desk.version() == 0
    [(verb, subject, data)] = desk.events()
    assert (verb, subject, data["reason"], data["issuer"]) == ("refused", None, reason.value, None)
    if reason is not RefusalReason.WRONG_RECIPIENT_KEY:
        assert import_texts(desk, text, neighbour).recorded == 1


def test_refusals_say_where(desk: Desk) -> None:
    """File as given, line from 1, and what the record calls itself where that can be told."""
    good, bad = desk.record(), desk.record(record_id=RECORD_ID, extra=1)
    lines = desk.jsonl([good, "", "nonsense", bad, "x" * 70_000])
    single = desk.jws("nonsense", "inbox/odd.jws")
    refused = import_paths(desk.campaign, [lines, single.parent]).refused
    assert [(r.file, r.line, r.record_id, r.reason.value) for r in refused] == [
        (str(lines), 3, None, "malformed"),
        (str(lines), 4, RECORD_ID, "malformed"),
        (str(lines), 5, None, "too_large"),
        (str(single), None, None, "malformed"),
    ]


def test_refused_issuers_are_named_only_if_they_signed(desk: Desk) -> None:
    """What stands in a `kid` is anybody's text until the signature holds."""
    forged = sign(
        payload(actor={"kind": "self", "attested_by": "consent"}, device_id=None), key(7), kid="issuer:consent"
    )
    import_texts(desk, desk.issuers(campaign="other"), forged, desk.issuers("nobody", issuer="rogue"))
    assert [(data["reason"], data["issuer"]) for _, _, data in desk.events()] == [
        ("wrong_campaign", "consent"),
        ("bad_signature", None),
        ("unknown_account", None),
    ]


# --- repeats ---


def test_a_repeat_is_already_and_changes_nothing(desk: Desk) -> None:
    """The same file again: all `already`, no event, no new version; and so within one file."""
    texts = [desk.record(), desk.record("bob")]
    assert import_texts(desk, *texts, texts[0]).already == 1
    before = (desk.rows(), desk.events(), desk.version())
    assert import_texts(desk, *texts) == ImportResult(recorded=0, already=2, refused=())
    assert (desk.rows(), desk.events(), desk.version()) == before


def test_a_repeat_stays_already_whatever_happened_since(desk: Desk, spec: CampaignSpec) -> None:
    """A revoked device, an expired grant, a vanished account: what was recorded stays so."""
    text = desk.record()
    import_texts(desk, text)
    revoke(desk)
    change_source(desk.folder, source.account.delete().where(source.account.c.account_id == "alice"))
    with open_campaign(at(NOW + 1000 * DAY, spec)) as later:
        assert import_paths(later, [desk.jws(text)]).already == 1


def test_another_text_under_a_known_id_is_refused(desk: Desk) -> None:
    """The first imported counts, also where id or signature differ in nothing but what no eye sees."""
    first = desk.record(record_id=RECORD_ID)
    second = desk.record(record_id=RECORD_ID.upper(), decision="withdraw")
    others = desk.record("bob", record_id=RECORD_ID)
    assert reasons(import_texts(desk, first, second)) == [RefusalReason.DUPLICATE_RECORD]
    assert reasons(import_texts(desk, second, others)) == [RefusalReason.DUPLICATE_RECORD] * 2
    assert [row["answer"] for row in desk.rows()] == ["grant"]


def test_a_forged_text_under_a_known_id_is_a_forgery(desk: Desk) -> None:
    """Who can't sign does not learn that the id is taken."""
    import_texts(desk, desk.record(record_id=RECORD_ID))
    forged = desk.record(record_id=RECORD_ID, signer=2, decision="withdraw")
    assert reasons(import_texts(desk, forged)) == [RefusalReason.BAD_SIGNATURE]


def test_a_refused_record_can_be_taken_later(desk: Desk, spec: CampaignSpec) -> None:
    """A refusal leaves no trace that could stand against the same record in its time."""
    text = desk.record(decided_at="2026-03-02T00:00:00Z")
    assert reasons(import_texts(desk, text)) == [RefusalReason.FUTURE]
    with open_campaign(at(NOW + DAY, spec)) as later:
        assert import_paths(later, [desk.jws(text)]).recorded == 1


# --- batches, crashes, two at once ---


def test_batches_add_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds on a batch, in records or characters, change nothing about the result."""
    texts = [desk.record() for _ in range(10)]
    spoiled = [*texts[:5], "bad", *texts[5:], texts[0], "worse"]
    monkeypatch.setattr(importing, "BATCH_RECORDS", 3)
    result = import_texts(desk, *spoiled)
    assert (result.recorded, result.already, [r.line for r in result.refused]) == (10, 1, [6, 13])
    assert [row["record"] for row in desk.rows()] == texts
    assert desk.version() == 4
    monkeypatch.setattr(importing, "BATCH_CHARS", 1)
    assert import_texts(desk, *spoiled).already == 11


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_the_commit(desk: Desk, moment: str) -> None:
    """A crash on either side of a commit: all of the batch or nothing, and a repeat ends in the same state."""

    class Killed(BaseException):
        """Nothing in the program catches this."""

    def kill(label: str, when: str) -> None:
        if (label, when) == ("authorizations-import", moment):
            raise Killed

    texts = [desk.record(), desk.record("bob", scope={"conversations": ["alice-inbox/bob"]}), "bad"]
    desk.campaign.database.boundary = kill
    with pytest.raises(Killed):
        import_texts(desk, *texts)
    rows = 0 if moment == "before" else 2
    assert (len(desk.rows()), len(desk.scopes()), desk.version()) == (rows, rows // 2, rows // 2)
    assert len(desk.events()) == (0 if moment == "before" else 3)
    desk.campaign.database.boundary = lambda _label, _when: None
    result = import_texts(desk, *texts)
    assert (result.recorded, result.already) == (2 - rows, rows)
    assert (len(desk.rows()), len(desk.scopes()), desk.version()) == (2, 1, 1)


def test_two_imports_at_once(desk: Desk, spec: CampaignSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same and contradicting records by several processes: each id once, the rest already or duplicate."""
    monkeypatch.setattr(importing, "BATCH_RECORDS", 5)
    ids = [f"00000000-0000-4000-8000-{n:012}" for n in range(40)]
    grants = [desk.record(record_id=i) for i in ids]
    withdrawals = [desk.record(record_id=i, decision="withdraw") for i in reversed(ids)]
    files = [desk.jsonl(texts, f"{n}.jsonl") for n, texts in enumerate([grants, withdrawals, grants])]

    def run(path: Path) -> ImportResult:
        with open_campaign(spec) as campaign:
            return import_paths(campaign, [path])

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(run, files))
    assert sum(r.recorded for r in results) == len(desk.rows()) == 40
    assert sum(r.already for r in results) + sum(len(r.refused) for r in results) == 80
    assert {reason for r in results for reason in reasons(r)} <= {RefusalReason.DUPLICATE_RECORD}
    assert sorted(row["record_id"] for row in desk.rows()) == ids
    assert len([verb for verb, _, _ in desk.events() if verb == "recorded"]) == 40


def test_a_failing_source_keeps_what_was_imported(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that fails midway stops the import, which says what is kept; a repeat finishes it."""
    monkeypatch.setattr(importing, "BATCH_RECORDS", 1)
    path = desk.jsonl([desk.record(), desk.record("bob")])
    original = LabyrinthStore.devices
    calls: list[int] = []

    def failing(store: LabyrinthStore, device_ids: Sequence[str]) -> dict[str, Device]:
        calls.append(1)
        if len(calls) == 2:
            raise SourceError("the source went away")
        return original(store, device_ids)

    monkeypatch.setattr(LabyrinthStore, "devices", failing)
    with pytest.raises(SourceError) as caught:
        import_paths(desk.campaign, [path])
    assert "are imported" in caught.value.changed
    assert len(desk.rows()) == 1
    assert b"authorization.recorded" in (desk.folder / "audit" / "wal.jsonl").read_bytes()
    assert import_paths(desk.campaign, [path]) == ImportResult(recorded=1, already=1, refused=())


def test_an_unreadable_file_comes_after_what_was_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that can't be read stops the import, after the records before it, and says that they are kept."""
    folder = desk.jws(desk.record(), "inbox/a.jws").parent
    desk.jws(desk.record("bob"), "inbox/b.jws")
    vanishing = desk.jws(desk.record(), "inbox/c.jws")

    def reading(text: str) -> AuthorizationRecord:
        vanishing.unlink(missing_ok=True)
        return read_record(text)

    monkeypatch.setattr(importing, "read_record", reading)
    monkeypatch.setattr(importing, "BATCH_RECORDS", 1)
    with pytest.raises(UsageError, match="can't be read") as caught:
        import_paths(desk.campaign, [folder])
    assert "are imported" in caught.value.changed
    assert [row["account_id"] for row in desk.rows()] == ["alice", "bob"]


def test_what_was_read_before_an_unreadable_file_is_imported(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its batch was not full."""
    good = Candidate("a.jws", None, desk.record())

    def candidates(_: Sequence[Path]) -> Iterator[Candidate]:
        yield good
        raise UsageError("b.jws can't be read")

    monkeypatch.setattr(importing, "candidates", candidates)
    with pytest.raises(UsageError) as caught:
        import_paths(desk.campaign, [desk.folder])
    assert "are imported" in caught.value.changed
    assert len(desk.rows()) == 1


def test_nothing_but_the_migrator_database_is_written(desk: Desk) -> None:
    """The source is only read (G7)."""
    before = (desk.folder / "store.db").read_bytes()
    import_texts(desk, desk.record(scope={"conversations": ["alice-inbox/bob", "x"]}), "bad")
    assert (desk.folder / "store.db").read_bytes() == before


def test_no_lock_is_held_while_verifying(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the source is asked, another process can write to the migrator database at once."""
    original = LabyrinthStore.accounts
    written: list[int] = []

    def accounts(store: LabyrinthStore, account_ids: Sequence[str]) -> dict[str, Account]:
        with sqlite3.connect(desk.folder / "migrator.db", timeout=0) as other:
            written.append(other.execute("UPDATE migrator_campaign SET environment = environment").rowcount)
        other.close()
        return original(store, account_ids)

    monkeypatch.setattr(LabyrinthStore, "accounts", accounts)
    assert import_texts(desk, desk.record()).recorded == 1
    assert written == [1]


class Watcher(NoProgress):
    """Notes how far the import says it is."""

    def __init__(self) -> None:
        self.done = 0

    def advance(self, count: int) -> None:
        """Counted."""
        self.done += count


def test_progress_counts_every_record(desk: Desk) -> None:
    """Recorded, repeated and refused alike."""
    watcher = Watcher()
    text = desk.record()
    import_paths(desk.campaign, [desk.jsonl([text, text, "bad"])], progress=watcher)
    assert watcher.done == 3


def test_bytes_that_are_no_text_have_no_digest(desk: Desk) -> None:
    """The audit log holds the digest of what was handed in, or none; never that of something else."""
    path = desk.folder / "odd.jsonl"
    path.write_bytes(b"\xff\xfe\nabc\n")
    assert reasons(import_paths(desk.campaign, [path])) == [RefusalReason.MALFORMED] * 2
    digests = [data["record_sha256"] for _, _, data in desk.events()]
    assert digests == [None, hashlib.sha256(b"abc").hexdigest()]


def test_no_paths_no_records(desk: Desk) -> None:
    """Nothing to import is done at once."""
    (desk.folder / "empty").mkdir()
    empty = desk.jws("", "empty.jsonl")
    assert import_paths(desk.campaign, [desk.folder / "empty", empty]) == ImportResult(recorded=0, already=0)
    assert desk.events() == []


def test_issuers_can_be_switched_off(desk: Desk, spec: CampaignSpec) -> None:
    """Without configuration no consent service signs for anybody."""
    text = desk.issuers()
    settings = spec.settings.model_copy(
        update={"authorization": spec.settings.authorization.model_copy(update={"issuers": {}})}
    )
    with open_campaign(dataclasses.replace(spec, settings=settings)) as campaign:
        assert reasons(import_paths(campaign, [desk.jws(text)])) == [RefusalReason.UNKNOWN_ISSUER]


def test_a_salt_is_made_once(desk: Desk) -> None:
    """An account has one salt however many records it signs, and a refused one gets none."""
    import_texts(desk, desk.record(), desk.record(), desk.record("bob", campaign="other"))
    import_texts(desk, desk.record())
    with desk.campaign.database.read() as connection:
        subjects = list(connection.scalars(sa.select(tables.reference_salt.c.subject_id)))
    assert subjects == ["alice"]
