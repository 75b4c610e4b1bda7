"""Four eyes: which approvals are taken, which count later, and what the database and the log keep of them."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ed25519

from migrator import config
from migrator.approvals import recording, rehearsals, standing
from migrator.approvals.rehearsals import RehearsalReport
from migrator.approvals.signing import NAMESPACE
from migrator.campaign import Campaign
from migrator.core import sshsig
from migrator.core.errors import ConfigError, GateError, PlanError, UsageError
from migrator.core.progress import NoProgress
from migrator.execution import runs
from migrator.execution.gates import require_open
from migrator.planning import stored
from migrator.planning.making import make_plan
from migrator.planning.stored import StoredPlan
from migrator.reporting import saving
from tests.execution.bench import CUTOVER, Bench
from tests.support.operators import ALICE, BOB, CAROL, WAIVER, allow, approve, both_approve, line

DAY = timedelta(days=1)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A campaign in production the day after its cutover, where Alice and Bob may approve."""
    bench = Bench(
        tmp_path / "campaign",
        campaign={"name": "bench", "environment": "production", "cutover_at": CUTOVER},
        keys={"allow_local_keys": True},
    )
    allow(bench.folder)
    return bench


def planned(campaign: Campaign) -> StoredPlan:
    """A new plan."""
    return stored.load(campaign, make_plan(campaign, save=None, progress=NoProgress()).plan_id)


def require_approved(campaign: Campaign, plan: StoredPlan) -> None:
    """The gate, as the transaction that begins a run asks it."""
    with campaign.database.read() as connection:
        standing.require_approved(connection, campaign, plan.plan_id, plan.digest)


def events(campaign: Campaign, kind: str) -> list[dict[str, object]]:
    """What the log says of one type of event."""
    found = [json.loads(text) for text in campaign.audit.lines()]
    return [event for event in found if event["type"] == f"dev.migrator.{kind}"]


def test_two_operators_open_the_gate(bench: Bench) -> None:
    """Each approval is an event that names signer and key; the waiver of the rehearsal is one as well."""
    with bench.open() as campaign:
        plan = planned(campaign)
        first = approve(campaign, plan.plan_id, ALICE)
        assert ([a.name for a in first.approvals], first.already) == (["alice@example.org"], False)
        second = approve(campaign, plan.plan_id, BOB, waiver=None)
        assert [a.name for a in second.approvals] == ["alice@example.org", "bob@example.org"]
        assert second.rehearsal is not None
        assert (second.rehearsal.waiver, second.rehearsal.recorded_by) == (WAIVER, "tester")
        require_approved(campaign, plan)
        approved = events(campaign, "plan.approved")
        assert [event["subject"] for event in approved] == [plan.plan_id] * 2
        assert approved[0]["data"] == {
            "digest": plan.digest,
            "signer": "alice@example.org",
            "key": sshsig.fingerprint(sshsig.public_blob(ALICE)),
        }
        assert [event["data"] for event in events(campaign, "override.used")] == [
            {"override": "rehearsal", "reason": WAIVER}
        ]


def test_twice_is_once(bench: Bench) -> None:
    """The same operator again says so, and is still one."""
    with bench.open() as campaign:
        plan = planned(campaign)
        approve(campaign, plan.plan_id, ALICE)
        again = approve(campaign, plan.plan_id, ALICE)
        assert (again.already, len(again.approvals)) == (True, 1)
        assert len(events(campaign, "plan.approved")) == 1
        with pytest.raises(GateError, match="2 different operators"):
            require_approved(campaign, plan)


def test_two_keys_of_one_person_are_one_person(bench: Bench) -> None:
    """Whatever the keys are: who shares a name with the other is no second pair of eyes."""
    allow(bench.folder, line("alice@example.org,alice", ALICE) + line("laptop,alice", BOB))
    with bench.open() as campaign:
        plan = planned(campaign)
        approve(campaign, plan.plan_id, ALICE)
        assert len(approve(campaign, plan.plan_id, BOB).approvals) == 2
        with pytest.raises(GateError, match="2 different operators"):
            require_approved(campaign, plan)


def test_one_key_under_two_names_is_one_key(bench: Bench) -> None:
    """Renaming a key's owner in the file makes nobody else of them."""
    with bench.open() as campaign:
        plan = planned(campaign)
        approve(campaign, plan.plan_id, ALICE)
        allow(bench.folder, line("mallory", ALICE) + line("alice@example.org", ALICE))
        assert approve(campaign, plan.plan_id, ALICE).already
        with pytest.raises(GateError, match="2 different operators"):
            require_approved(campaign, plan)


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (lambda digest: sshsig.sign(CAROL, digest, NAMESPACE), "none of an allowed signer"),
        (lambda digest: sshsig.sign(ALICE, digest, "file"), "namespace 'file'"),
        (lambda digest: sshsig.sign(ALICE, digest + b"\n", NAMESPACE), "another text"),
        (lambda _: b"", "not an SSH signature"),
        (lambda _: b"\xff" * 100, "not an SSH signature"),
    ],
)
def test_what_approves_nothing(bench: Bench, signature: object, reason: str) -> None:
    """A foreign key, another purpose, another plan, no signature: refused, and nothing is kept."""
    assert callable(signature)
    with bench.open() as campaign:
        plan = planned(campaign)
        with pytest.raises(GateError, match=reason):
            recording.approve(campaign, plan, signature(plan.digest.encode()), waiver=WAIVER)
        overview = recording.overview(campaign, plan)
        assert (overview.approvals, overview.rehearsal) == ((), None)


def test_a_key_counts_in_its_time_only(bench: Bench) -> None:
    """Expired is refused; what expires after the approval no longer counts, and the refusal says why."""
    until = f'valid-before="{CUTOVER + 3 * DAY:%Y%m%d}Z"'
    allow(bench.folder, line("alice@example.org", ALICE, until) + line("bob@example.org", BOB))
    with bench.open() as campaign:
        plan = planned(campaign)
        approve(campaign, plan.plan_id, ALICE)
        approve(campaign, plan.plan_id, BOB)
        require_approved(campaign, plan)
    bench.at(CUTOVER + 3 * DAY)
    with bench.open() as campaign:
        with pytest.raises(GateError, match=r"alice@example.org's does not count.*not allowed to sign"):
            require_approved(campaign, plan)
        with pytest.raises(GateError, match="not allowed to sign"):
            approve(campaign, plan.plan_id, ALICE)


def test_who_is_taken_out_of_the_file_no_longer_counts(bench: Bench) -> None:
    """An operator who left; and a file that is gone or nonsense refuses instead of letting pass."""
    with bench.open() as campaign:
        plan = planned(campaign)
        approve(campaign, plan.plan_id, ALICE)
        approve(campaign, plan.plan_id, BOB)
        allow(bench.folder, line("alice@example.org", ALICE))
        with pytest.raises(GateError, match=r"has one; bob@example.org's does not count"):
            require_approved(campaign, plan)
        allow(bench.folder, "* cert-authority ssh-ed25519 AAAA\n")
        with pytest.raises(ConfigError, match="nobody in particular"):
            require_approved(campaign, plan)
        (bench.folder / "allowed_signers").write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigError, match="not UTF-8"):
            require_approved(campaign, plan)
        (bench.folder / "allowed_signers").unlink()
        with pytest.raises(ConfigError, match="can't be read"):
            require_approved(campaign, plan)


def test_a_row_written_by_hand_approves_nothing(bench: Bench) -> None:
    """Signatures are checked whenever they are to count."""
    with bench.open() as campaign:
        plan = planned(campaign)
        approve(campaign, plan.plan_id, ALICE)
        forged = sshsig.sign(ed25519.Ed25519PrivateKey.generate(), plan.digest.encode(), NAMESPACE).decode()
        with bench.database() as connection:
            connection.exec_driver_sql(
                "INSERT INTO migrator_approval (plan_id, signer, fingerprint, signature, approved_at, recorded_by) "
                "SELECT plan_id, 'bob@example.org', 'SHA256:x', ?, approved_at, 'x' FROM migrator_approval",
                (forged,),
            )
        with pytest.raises(GateError, match="does not count: the key is none"):
            require_approved(campaign, plan)


def test_two_signatures_written_by_hand_lack_a_rehearsal(bench: Bench) -> None:
    """Good ones as well: what the plan rests on is recorded with them, or nothing is executed."""
    with bench.open() as campaign:
        plan = planned(campaign)
        both_approve(bench.spec, plan.plan_id)
        require_approved(campaign, plan)
        with bench.database() as connection:
            connection.exec_driver_sql("DELETE FROM migrator_rehearsal")
        with pytest.raises(GateError, match="neither rehearsed"):
            require_approved(campaign, plan)


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_can_write(bench: Bench, mode: int) -> None:
    """It would let them approve."""
    with bench.open() as campaign:
        plan = planned(campaign)
        both_approve(bench.spec, plan.plan_id)
        (bench.folder / "allowed_signers").chmod(mode)
        with pytest.raises(ConfigError, match="others than its owner"):
            require_approved(campaign, plan)


def test_another_plan_needs_approvals_of_its_own(bench: Bench) -> None:
    """A signature is over one plan's digest: copied to another plan's row it is worth nothing."""
    with bench.open() as campaign:
        old = planned(campaign)
        both_approve(bench.spec, old.plan_id)
        new = planned(campaign)
        with bench.database() as connection:
            connection.exec_driver_sql("UPDATE migrator_approval SET plan_id = ?", (new.plan_id,))
        with pytest.raises(GateError, match="another text"):
            require_approved(campaign, new)


def test_revoked_until_it_is_executed(bench: Bench) -> None:
    """An approval can be taken back, and given again; of a plan that was executed neither."""
    with bench.open() as campaign:
        plan = planned(campaign)
        both_approve(bench.spec, plan.plan_id)
        with pytest.raises(UsageError, match="no approval by 'carol'"):
            recording.revoke(campaign, plan, "carol")
        assert not recording.revoke(campaign, plan, "bob@example.org").already
        assert recording.revoke(campaign, plan, "bob@example.org").already
        with pytest.raises(GateError, match="2 different operators"):
            require_open(campaign, plan, "bench")
        with pytest.raises(GateError, match="2 different operators"):
            runs.begin(campaign, plan)
        approve(campaign, plan.plan_id, BOB)
        assert [event["data"] for event in events(campaign, "approval.revoked")] == [
            {"digest": plan.digest, "signer": "bob@example.org"}
        ]
        runs.begin(campaign, plan)
        with pytest.raises(PlanError, match="was executed"):
            recording.revoke(campaign, plan, "bob@example.org")
        with pytest.raises(PlanError, match="was executed"):
            approve(campaign, plan.plan_id, BOB)


def test_neither_rehearsed_nor_waived(bench: Bench) -> None:
    """Nobody approves what nobody tried, and says nothing of why."""
    with bench.open() as campaign:
        plan = planned(campaign)
        for waiver in (None, "", "  "):
            with pytest.raises(GateError, match="neither rehearsed"):
                approve(campaign, plan.plan_id, ALICE, waiver=waiver)
        with pytest.raises(UsageError, match="2,000"):
            approve(campaign, plan.plan_id, ALICE, waiver="x" * 2001)
        assert recording.overview(campaign, plan).approvals == ()


def rehearsed(folder: Path, **sections: dict[str, object]) -> Path:
    """The summary that a completed run in staging saved."""
    staging = Bench(folder / "staging", campaign={"name": "rehearsal", "cutover_at": CUTOVER}, **sections)
    staging.run()
    with staging.open() as campaign:
        saving.save(campaign, None, folder / "report")
    return folder / "report" / "summary.json"


def test_a_rehearsal_in_staging(bench: Bench, tmp_path: Path) -> None:
    """Under the same rules, whatever its name, store and keys: the first approval brings its report."""
    summary = rehearsed(tmp_path)
    with bench.open() as campaign:
        plan = planned(campaign)
        report = rehearsals.read(campaign, summary)
        signature = sshsig.sign(ALICE, plan.digest.encode(), NAMESPACE)
        recording.approve(campaign, plan, signature, rehearsed=report)
        with pytest.raises(GateError, match=f"rests on the rehearsal {report.run_id}, recorded by tester"):
            approve(campaign, plan.plan_id, BOB, waiver="too late for that")
        assert len(recording.overview(campaign, plan).approvals) == 1
        done = recording.approve(campaign, plan, sshsig.sign(BOB, plan.digest.encode(), NAMESPACE), rehearsed=report)
        assert done.rehearsal == standing.Rehearsal(run_id=report.run_id, waiver=None, recorded_by="tester")
        require_approved(campaign, plan)
        assert events(campaign, "override.used") == []


def test_another_reason_than_the_one_that_stands(bench: Bench) -> None:
    """A second operator who brings a waiver or a rehearsal of their own is told what the plan rests on, and refused."""
    report = RehearsalReport(run_id="run-1", summary_sha256="0" * 64)
    with bench.open() as campaign:
        plan = planned(campaign)
        approve(campaign, plan.plan_id, ALICE)
        signature = sshsig.sign(BOB, plan.digest.encode(), NAMESPACE)
        for given in ({"waiver": "another"}, {"rehearsed": report}):
            with pytest.raises(GateError, match=rf"is waived \({WAIVER}\)"):
                recording.approve(campaign, plan, signature, **given)
        assert len(recording.approve(campaign, plan, signature, waiver=f" {WAIVER}\n").approvals) == 2
        assert len(events(campaign, "override.used")) == 1


def test_the_report_says_who_approved(bench: Bench, tmp_path: Path) -> None:
    """Names, keys and what the plan rests on, on the page and for programs; a signature that was swapped is told."""
    with bench.open() as campaign:
        plan = planned(campaign)
        approve(campaign, plan.plan_id, ALICE)
        approve(campaign, plan.plan_id, BOB)
        approve(campaign, planned(campaign).plan_id, BOB)
        runs.begin(campaign, plan)
        saving.save(campaign, None, tmp_path / "report")
        found = json.loads((tmp_path / "report" / "summary.json").read_bytes())["approvals"]
        assert [(one["signer"], one["signature_ok"]) for one in found["operators"]] == [
            ("alice@example.org", True), ("bob@example.org", True),
        ]  # fmt: skip
        assert found["rehearsal"] == {"run_id": None, "waiver": WAIVER, "recorded_by": "tester"}
        page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
        assert f"waived by tester: {WAIVER}" in page
        assert page.index("alice@example.org") < page.index("bob@example.org")
        (bench.folder / "allowed_signers").unlink()
        with bench.database() as connection:
            connection.execute(sa.text("UPDATE migrator_approval SET signature = 'x' WHERE signer LIKE 'bob%'"))
        saving.save(campaign, None, tmp_path / "report")
        assert "whose signature is wrong" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def test_a_rehearsal_under_other_rules(bench: Bench, tmp_path: Path) -> None:
    """Other rules prove nothing: the refusal names where to look."""
    summary = rehearsed(tmp_path, execution={"page_size": 999})
    with bench.open() as campaign, pytest.raises(GateError, match="other rules"):
        rehearsals.read(campaign, summary)


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        ({"environment": "production"}, GateError, "not of a rehearsal in staging"),
        ({"run": {"state": "stopped", "run_id": "run-1"}}, GateError, "not completed"),
        ({"rules_sha256": None}, GateError, "other rules"),
        ({"run": None}, UsageError, "not the summary"),
        ({"run": {"state": "completed"}}, UsageError, "not the summary"),
    ],
)
def test_summaries_that_prove_nothing(
    bench: Bench, tmp_path: Path, change: dict[str, object], kind: type[Exception], reason: str
) -> None:
    """Each with its reason."""
    with bench.open() as campaign:
        good = {
            "environment": "staging",
            "run": {"state": "completed", "run_id": "run-1"},
            "rules_sha256": config.rules_digest(campaign.settings),
        }
        path = tmp_path / "summary.json"
        path.write_text(json.dumps(good), encoding="utf-8")
        assert rehearsals.read(campaign, path).run_id == "run-1"
        path.write_text(json.dumps({**good, **change}), encoding="utf-8")
        with pytest.raises(kind, match=reason):
            rehearsals.read(campaign, path)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 100_000, b" " * (4 * 1024 * 1024 + 1)])
def test_files_that_are_no_summary(bench: Bench, tmp_path: Path, data: bytes) -> None:
    """Empty, nonsense, hostile, huge; and none at all."""
    with bench.open() as campaign:
        (tmp_path / "summary.json").write_bytes(data)
        with pytest.raises(UsageError, match="not the summary"):
            rehearsals.read(campaign, tmp_path / "summary.json")
        with pytest.raises(UsageError, match="can't be read"):
            rehearsals.read(campaign, tmp_path / "nothing")


def test_an_approval_takes_no_rehearsal_of_another_plan(bench: Bench) -> None:
    """What was recorded stays with its plan."""
    with bench.open() as campaign:
        old = planned(campaign)
        signature = sshsig.sign(ALICE, old.digest.encode(), NAMESPACE)
        recording.approve(campaign, old, signature, rehearsed=RehearsalReport(run_id="run-1", summary_sha256="0" * 64))
        new = planned(campaign)
        with pytest.raises(GateError, match="neither rehearsed"):
            approve(campaign, new.plan_id, ALICE, waiver=None)
