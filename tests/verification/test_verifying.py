"""A sound run passes with every number accounted for; the verification itself changes nothing and can be killed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from fixtures.expected import expect
from migrator.campaign import CampaignSpec, open_campaign
from migrator.cli.views import checking as views
from migrator.core.errors import AuditLogError, DatabaseUnavailableError, ExitStatus, LeaseHeldError, UsageError
from migrator.core.progress import NoProgress
from migrator.execution import runs
from migrator.rollback import rollback
from migrator.verification import Verification, verify
from migrator.verification import checkpoint as checkpoints
from migrator.verification.content import sampled
from migrator.verification.findings import MAX_LISTED, Findings, MismatchKind
from tests.support.campaigns import LATE, at
from tests.support.postgres import server
from tests.verification.support import (
    Killed,
    all_tables,
    database,
    dump,
    executed,
    extended,
    killed_run,
    on_both_databases,
    on_postgresql,
    rows,
    tamper,
    world,
)

OWN_TABLES = {
    "migrator_verification", "migrator_verification_mismatch", "migrator_outbox", "migrator_audit_state",
    "migrator_audit_checkpoint",
    "sqlite_sequence",
}  # fmt: skip


def verified(spec: CampaignSpec, run_id: str | None = None, *, sample: float | None = None) -> Verification:
    """Verify in a process of its own."""
    with open_campaign(spec) as campaign:
        return verify(campaign, run_id, sample=sample, progress=NoProgress())


def run_ids(spec: CampaignSpec) -> list[str]:
    """Runs in their order."""
    return [run_id for (run_id,) in rows(spec, "SELECT run_id FROM migrator_run ORDER BY run_no")]


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_sound_run_passes_and_accounts_for_everything(tmp_path: Path) -> None:
    """Every conversation, message, gap, key, root and outcome of the world is looked at, once (G6)."""
    result = verified(executed(tmp_path))
    expected = expect(world(), "every_participant")
    shown = [e for e in expected.values() if e.outcome.startswith("rewrapped")]
    assert result.ok
    assert result.mismatches == ()
    assert result.checked["conversations"] == len(expected)
    assert result.checked["outcomes_in_events"] == len(expected)
    assert result.checked["messages"] == sum(e.messages for e in shown)
    assert result.checked["gaps"] == sum(e.gaps for e in shown) > 0
    for each in ("contents", "data_keys", "items_roots"):
        assert result.checked[each] == len(shown)
    assert result.checked["compared_with_source"] > 0
    assert result.checked["compared_with_exports"] > 0
    assert "not_compared" not in result.checked


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_both_runs_of_an_extended_campaign_pass(tmp_path: Path) -> None:
    """Late keys that a second run took up leave the first run provable, too."""
    spec = extended(tmp_path)
    first, second = run_ids(spec)
    assert rows(spec, "SELECT 1 FROM migrator_extension")
    assert verified(spec, first).ok
    assert verified(spec, second).ok


def test_result_does_not_depend_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long conversations in steps of any length give the roots and counts of one step."""
    spec = executed(tmp_path)
    reference = verified(spec)
    reference.checked.pop("audit_lines")
    for page_size in (1, 7, 5000):
        monkeypatch.setitem(spec.settings.execution.__dict__, "page_size", page_size)
        result = verified(spec)
        result.checked.pop("audit_lines")
        assert result.ok
        assert result.checked == reference.checked


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_changes_nothing_but_its_own_tables_and_the_log(tmp_path: Path) -> None:
    """Verification repairs nothing and leaves one event."""
    spec = executed(tmp_path)
    others = [name for name in all_tables(spec) if name not in OWN_TABLES]
    before, lines = dump(spec, others), len(rows(spec, "SELECT 1 FROM migrator_outbox"))
    source = (spec.directory / "store.db").read_bytes()
    verified(spec)
    assert dump(spec, others) == before
    assert (spec.directory / "store.db").read_bytes() == source
    events = rows(spec, "SELECT type, seq FROM migrator_outbox ORDER BY outbox_no")
    assert len(events) == lines + 1
    assert events[-1] == ("verification.completed", lines)


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_killed_verification_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thorough: bool
) -> None:
    """Killed before or after every third of its commits and called again, it gives the result of an undisturbed one."""
    monkeypatch.setattr("migrator.verification.structure._PAGE_ITEMS", 15)
    reference = verified(executed(tmp_path / "reference")).checked
    reference.pop("audit_lines")
    for instant in range(0, 20, 1 if thorough else 3):
        spec = executed(tmp_path / str(instant))
        left = [instant]

        def pull_the_plug(label: str, moment: str, left: list[int] = left) -> None:
            if label.startswith("verification"):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed(f"{moment} {label}")

        with open_campaign(spec) as campaign:
            campaign.database.boundary = pull_the_plug
            try:
                verify(campaign, None, sample=None, progress=NoProgress())
            except Killed:
                pass
            else:
                assert instant >= 10
                return
        finished = bool(rows(spec, "SELECT 1 FROM migrator_verification WHERE finished_at IS NOT NULL"))
        result = verified(spec)
        assert result.ok
        result.checked.pop("audit_lines")  # one more where the killed one had finished
        assert result.checked == reference
        assert len(rows(spec, "SELECT 1 FROM migrator_verification")) == 1 + finished
    pytest.fail("the verification has more commits than expected")


@on_postgresql
@pytest.mark.usefixtures("database_kind")
@pytest.mark.parametrize("label", ["verification-page", "verification-complete"])
def test_cut_verification_goes_on(tmp_path: Path, label: str) -> None:
    """Sessions that are cut end it with status 24; called again it gives the result of an undisturbed one."""
    spec = executed(tmp_path)
    cut: list[int] = []

    def cut_once(found: str, moment: str) -> None:
        if (found, moment, cut) == (label, "before", []):
            cut.append(server().cut_off(str(make_url(spec.settings.database.url).database)))

    with open_campaign(spec) as campaign:
        campaign.database.boundary = cut_once
        with pytest.raises(DatabaseUnavailableError) as caught:
            verify(campaign, None, sample=None, progress=NoProgress())
    assert caught.value.exit_status is ExitStatus.SERVICE_DOWN
    result = verified(spec)
    assert result.ok
    assert result.checked["conversations"] == len(expect(world(), "every_participant"))
    assert len(rows(spec, "SELECT 1 FROM migrator_verification")) == 1


def test_finished_verification_is_not_touched_again(tmp_path: Path) -> None:
    """The same run verified again is a new verification."""
    spec = executed(tmp_path)
    first, second = verified(spec), verified(spec)
    assert first.verification_id != second.verification_id
    assert second.ok


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_two_processes_cannot_share_a_verification(tmp_path: Path) -> None:
    """A checkpoint that moved under somebody's hands is refused, not overwritten."""
    spec = executed(tmp_path)
    with open_campaign(spec) as campaign:
        with campaign.database.read() as connection:
            found = runs.find(connection, None)
        ours = checkpoints.begin(campaign, found, "all")
        theirs = checkpoints.begin(campaign, found, "all")
        assert ours.verification_id == theirs.verification_id
        checkpoints.save(campaign, ours, 5)
        with pytest.raises(LeaseHeldError):
            checkpoints.save(campaign, theirs, 9)


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_killed_run_is_verified_as_far_as_it_is(tmp_path: Path) -> None:
    """Of a run that rests, the finished items are checked; a half-written conversation is no orphan."""
    spec = killed_run(tmp_path, "page")
    items = rows(spec, "SELECT 1 FROM migrator_item")
    assert rows(spec, "SELECT 1 FROM migrator_progress")
    assert 0 < len(items) < len(expect(world(), "every_participant"))
    result = verified(spec)
    assert result.ok, result.mismatches
    assert result.checked["conversations"] == len(items)


def test_rolled_back_run_passes_when_nothing_is_left(tmp_path: Path) -> None:
    """After a rollback the outcomes are history, and no row may remain."""
    spec = executed(tmp_path)
    with open_campaign(spec) as campaign:
        rollback(campaign, None, NoProgress())
    assert verified(spec).ok
    number = rows(spec, "SELECT MIN(conversation_no) FROM migrator_conversation")[0][0]
    tamper(spec, f"INSERT INTO migrator_gap VALUES ({number}, 1, 'm', 'no_key')")
    assert [m.kind for m in verified(spec).mismatches] == [MismatchKind.ORPHAN_ROWS]


# --- the source after the run ---


def test_new_messages_of_the_source_are_no_mismatch(tmp_path: Path) -> None:
    """A tail that came after the flip is for the next plan, also a late row before the last covered one."""
    spec = executed(tmp_path)
    for name, moved in (("tail", 10_000_000), ("late", -1)):
        with database(spec, "store.db") as store:
            store.execute(
                "INSERT INTO message SELECT inbox_id, thread_id, MAX(sent_at) + ?, ? || message_id, sender_id, "
                "epoch_id, version, encrypted_message_data FROM message GROUP BY inbox_id, thread_id",
                (moved, name),
            )
    result = verified(spec)
    assert result.ok, result.mismatches


def test_messages_that_the_source_lost_since_are_no_mismatch(tmp_path: Path) -> None:
    """What users delete in the source can't be compared any more; the root is not provable then, and says so."""
    spec = executed(tmp_path)
    tamper(
        spec,
        "DELETE FROM message WHERE (inbox_id, thread_id, sent_at) IN "
        "(SELECT inbox_id, thread_id, MAX(sent_at) FROM message GROUP BY inbox_id, thread_id)",
        name="store.db",
    )
    result = verified(spec)
    assert result.ok, result.mismatches
    assert result.checked["items_roots_unprovable"] > 0


def test_changed_source_is_found_by_the_root(tmp_path: Path) -> None:
    """A ciphertext that was altered in the source after the run is not what the audit log's root covers."""
    spec = executed(tmp_path)
    tamper(
        spec,
        "UPDATE message SET encrypted_message_data = encrypted_message_data || x'00'",
        name="store.db",
    )
    kinds = {m.kind for m in verified(spec).mismatches}
    assert kinds == {MismatchKind.ITEMS_ROOT}


def test_withdrawn_since_is_verified_without_opening_the_source(tmp_path: Path) -> None:
    """Nothing sealed is opened without authorisation, not even to compare (G1); the rest is still proved."""
    spec = executed(tmp_path)
    tamper(spec, "UPDATE migrator_authorization SET answer = 'withdraw'")
    result = verified(spec)
    assert result.ok
    assert result.checked["not_compared"] == result.checked["contents"] == result.checked["items_roots"]
    assert "compared_with_source" not in result.checked


def test_destroyed_recipient_key_costs_the_comparison_only(tmp_path: Path) -> None:
    """When the exports can't be opened any more, the server history still proves itself."""
    spec = executed(tmp_path)
    tamper(spec, "UPDATE migrator_recipient_key SET wrapped_private_key = NULL")
    result = verified(spec)
    assert result.ok
    assert result.checked["not_compared"] == result.checked["contents"]


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_a_source_that_is_gone_costs_the_comparison_only(tmp_path: Path) -> None:
    """Finalised or moved: keys, rows, counts and events still prove the run, and the result says what they do not."""
    spec = executed(tmp_path)
    (spec.directory / "store.db").unlink()
    result = verified(spec)
    assert result.ok
    assert result.checked["without_source"] == result.checked["not_compared"] == result.checked["contents"] > 0
    assert result.checked["items_roots_unprovable"] == result.checked["contents"]
    assert "compared_with_source" not in result.checked
    assert any("the source is gone" in line for line in views.verified(result).lines)
    tamper(
        spec,
        "UPDATE migrator_message SET ciphertext = x'00' "
        "WHERE conversation_no = (SELECT MIN(conversation_no) FROM migrator_message)",
    )
    assert {m.kind for m in verified(spec).mismatches} == {MismatchKind.DOES_NOT_OPEN}


def test_a_source_without_its_tables_is_gone_too(tmp_path: Path) -> None:
    """What is there but is no store of messages any more has nothing to be compared with."""
    spec = executed(tmp_path)
    with database(spec, "store.db") as connection:
        connection.execute("DROP TABLE message")
    result = verified(spec)
    assert result.ok
    assert result.checked["without_source"] == result.checked["contents"]


def test_nothing_is_opened_before_the_cutover(tmp_path: Path) -> None:
    """A verification under a clock before the cutover opens nothing of the source (G2)."""
    spec = executed(tmp_path)
    early = at(spec, spec.settings.campaign.cutover_at.replace(year=2025))
    result = verified(early)
    assert result.ok
    assert result.checked["not_compared"] == result.checked["contents"]


# --- samples, limits, the log ---


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_sample_opens_a_part_and_counts_everything(tmp_path: Path) -> None:
    """A sample saves opening, not reconciling, and picks the same conversations each time."""
    spec = executed(tmp_path)
    everything, some, again = verified(spec), verified(spec, sample=40), verified(spec, sample=40)
    assert some.ok
    assert 0 < some.checked["contents"] < everything.checked["contents"]
    assert some.checked["contents"] == again.checked["contents"]
    assert some.checked["conversations"] == everything.checked["conversations"]


@given(st.text(), st.floats(min_value=0.001, max_value=100), st.floats(min_value=0.001, max_value=100))
def test_larger_sample_contains_the_smaller(identifier: str, one: float, other: float) -> None:
    """What a sample looks at, every larger one looks at as well; 100 % is all."""
    small, large = sorted((one, other))
    assert not sampled(identifier, small) or sampled(identifier, large)
    assert sampled(identifier, 100)
    assert sampled(identifier, None)


def test_impossible_sample_is_refused(tmp_path: Path) -> None:
    """A sample is more than nothing and at most everything."""
    with open_campaign(executed(tmp_path)) as campaign:
        for sample in (0, -1, 100.5, float("nan")):
            with pytest.raises(UsageError):
                verify(campaign, None, sample=sample, progress=NoProgress())


def test_unknown_run_is_refused(tmp_path: Path) -> None:
    """There is nothing to verify of a run that does not exist."""
    with open_campaign(executed(tmp_path)) as campaign, pytest.raises(UsageError):
        verify(campaign, "run-of-somebody-else", sample=None, progress=NoProgress())


def test_altered_log_file_ends_the_verification(tmp_path: Path) -> None:
    """Without the log that the database remembers nothing could be proved: exit status 41, no result."""
    spec = executed(tmp_path)
    wal = spec.directory / "audit" / "wal.jsonl"
    wal.write_bytes(wal.read_bytes()[:-20])
    with open_campaign(spec) as campaign, pytest.raises(AuditLogError):
        verify(campaign, None, sample=None, progress=NoProgress())
    assert not rows(spec, "SELECT 1 FROM migrator_verification")


def test_altered_line_inside_the_log_is_found(tmp_path: Path) -> None:
    """A line far from the end that says something else than the database's event is a mismatch."""
    spec = executed(tmp_path)
    wal = spec.directory / "audit" / "wal.jsonl"
    lines = wal.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"operator@test", b"operator@tset")
    wal.write_bytes(b"".join(lines))
    result = verified(spec)
    assert [m.kind for m in result.mismatches] == [MismatchKind.AUDIT_LOG]


def test_mismatches_over_the_limit_are_counted_but_not_listed() -> None:
    """A store that is wrong everywhere does not fill memory or the database (G11)."""
    findings = Findings()
    for number in range(MAX_LISTED + 500):
        findings.add(MismatchKind.CONTENT, number, "differs")
    assert findings.mismatch_count == MAX_LISTED + 500
    assert [number for number, _ in findings.unsaved] == list(range(1, MAX_LISTED + 1))


def test_verification_of_a_later_moment_is_the_same(tmp_path: Path) -> None:
    """Time that passes changes nothing while the authorisations hold."""
    spec = executed(tmp_path)
    assert verified(at(spec, LATE)).checked["compared_with_source"] == verified(spec).checked["compared_with_source"]
