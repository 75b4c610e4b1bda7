"""A campaign on the command line, from plan to rollback: results for programs, exit statuses, refusals."""

import json
import sqlite3
from pathlib import Path

import pytest

from tests.cli import campaigns
from tests.cli.campaigns import Templates
from tests.cli.running import Program

pytestmark = pytest.mark.usefixtures("today", "campaign")
OUTCOME_PREFIXES = ("rewrapped", "already_server", "skipped:", "held:", "failed:")


@pytest.fixture
def campaign(templates: Templates, folder: Path) -> Path:
    """Everything was imported, nothing planned; the program works in that folder."""
    return templates.copy(None, folder)


def planned(program: Program) -> str:
    """A fresh plan's id."""
    return str(program("plan", "-o", "json").json["plan_id"])


def test_recipient_key(program: Program) -> None:
    """What clients seal to, as the contract has it."""
    document = program("recipient-key", "-o", "json").json
    assert set(document) == {"schema", "recipient_key_id", "kem", "public_key"}
    assert (document["schema"], document["kem"]) == ("migrator.recipient_key/1", "X25519")
    assert len(document["public_key"]) == 43


def test_notice_templates(program: Program) -> None:
    """What authorisations name, as the contract has it."""
    document = program("notify", "templates", "-o", "json").json
    assert document["schema"] == "migrator.notice_templates/1"
    assert all(set(t) == {"notice_id", "version", "locale", "sha256"} for t in document["templates"])
    assert {"en", "de"} <= {t["locale"] for t in document["templates"]}


def test_notices(program: Program) -> None:
    """Answers are confirmed, everything once; the preview and a test count as nobody's."""
    assert program("notify", "send", "-o", "json").json["sent"] > 0
    assert program("notify", "send", "-o", "json").json["sent"] == 0
    assert "Subject:" in program("notify", "preview", "--locale", "de").out
    assert program("notify", "send-test", "me@example.org", "-o", "json").json["address"] == "me@example.org"
    status = program("notify", "status", "-o", "json").json
    assert status["schema"] == "migrator.notice_status/1"
    assert program("notify", "preview", "--locale", "xx").status == 2
    assert program("notify", "send-test", "nobody").status == 2


def test_imports_say_what_they_refused(program: Program, campaign: Path) -> None:
    """A repeat is `already`; a refusal has file, line and reason, and the exit status 30."""
    again = program("authorizations", "import", "hand-in/authorizations", "-o", "json")
    assert (again.status, again.json["recorded"], again.json["refused"]) == (0, 0, [])
    assert again.json["already"] > 0
    (campaign / "bad.jsonl").write_text("\nnonsense\n", encoding="utf-8")
    bad = program("authorizations", "import", "bad.jsonl", "-o", "json")
    assert bad.status == 30
    assert bad.json["refused"] == [{"file": "bad.jsonl", "line": 2, "record_id": None, "reason": "malformed"}]
    (campaign / "bad.export.tar").write_bytes(b"nonsense")
    bad = program("exports", "import", "bad.export.tar", "-o", "json")
    assert (bad.status, bad.json["schema"]) == (30, "migrator.import/1")
    assert "refused bad.export.tar: " in program("exports", "import", "bad.export.tar").out
    assert program("exports", "import", "missing").status == 2


def test_counts_of_what_was_handed_in(program: Program) -> None:
    """For programs and for people."""
    assert program("authorizations", "status", "-o", "json").json["records"]["grant"] > 0
    assert "grant" in program("authorizations", "status").out
    assert program("exports", "status", "-o", "json").json["exports"]["keys"] > 0
    assert "exports of keys" in program("exports", "status").out
    assert program("exports", "coverage", "-o", "json").json["kinds"]["keys"]["conversations"] > 0
    assert "keys" in program("exports", "coverage").out


def test_a_plan(program: Program, campaign: Path) -> None:
    """Its summary, its file, and the exit status that says that there is work."""
    done = program("plan", "--save", "p.json", "--detailed-exitcode", "-o", "json")
    assert done.status == 3
    assert set(done.json) == {"schema", "plan_id", "path", "counts"}
    assert (done.json["schema"], done.json["path"]) == ("migrator.plan_summary/1", "p.json")
    assert set(done.json["counts"]["rewrap"]) == {"conversations", "messages"}
    shown = program("show", "p.json", "-o", "json").json
    assert shown == json.loads((campaign / "p.json").read_text(encoding="utf-8"))
    assert done.json["plan_id"] in program("show", done.json["plan_id"]).out


def test_a_plan_file_edited_by_hand_is_refused(program: Program, campaign: Path) -> None:
    """With 10, and nothing changed."""
    program("plan", "--save", "p.json")
    path = campaign / "p.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"owner"', '"x"').replace("every", "any"), encoding="utf-8"
    )
    done = program("execute", "p.json")
    assert (done.status, done.out) == (10, "")
    assert "nothing was changed" in done.err


def test_a_changed_configuration_makes_a_plan_stale(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that comes from the environment."""
    plan = planned(program)
    monkeypatch.setenv("MIGRATOR_CAMPAIGN_NOTICE_PERIOD_DAYS", "1")
    assert program("execute", plan).status == 10


def test_execute_status_verify_report_rollback(program: Program, campaign: Path) -> None:
    """The road of a run, with the documents that other programs rely on."""
    plan = planned(program)
    done = program("execute", plan, "--workers", "1", "-o", "json")
    assert done.status == 0
    fields = {
        "schema",
        "run_id",
        "plan_id",
        "state",
        "dry_run",
        "counts",
        "messages_per_second",
        "elapsed_seconds",
        "max_rate",
        "limits",
        "stuck_since",
        "why",
        "phase",
        "progress",
        "rate",
        "eta",
        "waiting",
        "lease",
        "checkpoint",
        "next",
        "hook_trouble",
    }
    assert set(done.json) == fields
    assert (done.json["schema"], done.json["state"], done.json["dry_run"]) == ("migrator.run/1", "completed", False)
    for outcome, count in done.json["counts"].items():
        assert outcome.startswith(OUTCOME_PREFIXES)
        assert set(count) == {"conversations", "messages", "gaps"}
    run = done.json["run_id"]
    assert program("status", "-o", "json").json["counts"] == done.json["counts"]
    assert program("execute", plan).status == 10
    assert program("resume", run, "-o", "json").json["state"] == "completed"
    verified = program("verify", run, "-o", "json")
    assert (verified.status, set(verified.json)) == (0, {"schema", "run_id", "ok", "checked", "mismatches"})
    assert verified.json["ok"] is True
    assert program("verify", "--sample", "50%", "-o", "json").json["ok"] is True
    report = program("report", "--save", "report", "-o", "json").json
    assert (report["schema"], report["reconciles"]) == ("migrator.report/1", True)
    lines = (campaign / "report" / "conversations.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == sum(count["conversations"] for count in done.json["counts"].values())
    assert set(json.loads(lines[0])) == {"conversation_id", "outcome", "messages", "gaps"}
    rolled = program("rollback", "-o", "json").json
    assert (rolled["schema"], rolled["already"]) == ("migrator.rollback/1", False)
    again = program("rollback", "-o", "json")
    assert (again.status, again.json["already"]) == (0, True)
    assert program("resume", run).status == 12


def test_a_dry_run_writes_nothing(program: Program, campaign: Path) -> None:
    """Not a byte of any file of the campaign but an empty journal; its counts are those of the real run."""
    plan = planned(program)

    def files() -> dict[str, bytes]:
        found = {p.name: p.read_bytes() for p in campaign.rglob("*") if p.is_file() and not p.name.endswith("-shm")}
        return {name: data for name, data in found.items() if data or not name.endswith("-wal")}

    before = files()
    dry = program("execute", plan, "--dry-run", "--workers", "1", "-o", "json")
    after = files()
    assert (dry.status, dry.json["dry_run"]) == (0, True)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == set()
    assert program("execute", plan, "--workers", "1", "-o", "json").json["counts"] == dry.json["counts"]


def test_json_lines_of_a_run(program: Program) -> None:
    """A version first, a summary last, progress between; nothing on standard error that is not a log."""
    done = program("execute", planned(program), "--workers", "1", "-o", "jsonl", "--stats", "1s")
    assert [done.events[0]["type"], done.events[-1]["type"]] == ["version", "summary"]
    assert done.events[-1]["schema"] == "migrator.run/1"
    assert "progress" in {event["type"] for event in done.events}
    refused = program("execute", "no-such-plan", "-o", "jsonl")
    last = refused.events[-1]
    assert (last["type"], last["exit_status"]) == ("exit_error", refused.status)
    assert {"code", "message", "hint"} <= set(last)


def test_before_the_cutover_only_a_dry_run_goes(program: Program) -> None:
    """12 for the real one."""
    early = ("--now", "2026-05-07T23:59:59Z")
    plan = program("plan", "-o", "json", *early).json["plan_id"]
    refused = program("execute", plan, *early)
    assert (refused.status, "nothing was changed" in refused.err) == (12, True)
    assert program("execute", plan, "--dry-run", "--workers", "1", *early).status == 0


def test_an_error_has_a_hint_and_says_what_was_changed(program: Program) -> None:
    """Three lines on standard error, nothing on standard output."""
    done = program("status", "run-that-is-not")
    assert (done.status, done.out) == (2, "")
    first, second, third = done.err.splitlines()
    assert first.startswith("migrator: error: ")
    assert second.startswith("hint: ")
    assert third == "nothing was changed"


def test_reading_is_recorded(program: Program, campaign: Path) -> None:
    """Content for people and programs, and an entry of the log with the reason."""
    campaigns.executed(campaign)
    conversation = campaigns.migrated(campaign)
    done = program("read", conversation, "--reason", "ticket 12", "-o", "json").json
    assert done["schema"] == "migrator.history/1"
    assert set(done["messages"][0]) == {"sent_at", "message_id", "sender_id", "content_type", "content"}
    assert len(program("read", conversation, "--reason", "ticket 13").out.splitlines()) == len(done["messages"])
    entries = program("audit", "show", "--type", "history.read", "-o", "json").json["entries"]
    assert [entry["data"]["reason"] for entry in entries] == ["ticket 12", "ticket 13"]
    assert program("read", conversation).status == 2
    sealed = campaigns.ask(campaign, "SELECT conversation_id FROM migrator_conversation WHERE mode = 'sealed' LIMIT 1")
    assert program("read", sealed, "--reason", "x").status == 12


def test_a_mismatch_ends_with_40(program: Program, campaign: Path) -> None:
    """And says what does not agree."""
    campaigns.damaged(campaign)
    done = program("verify", "-o", "json")
    assert (done.status, done.json["ok"]) == (40, False)
    assert set(done.json["mismatches"][0]) == {"conversation_no", "kind", "detail"}
    people = program("verify")
    assert (people.status, "mismatch does_not_open" in people.out) == (40, True)


def test_a_log_that_is_not_the_databases_ends_with_41(program: Program, campaign: Path) -> None:
    """Nothing is executed on top of an altered log."""
    plan = planned(program)
    wal = campaign / "audit" / "wal.jsonl"
    wal.write_bytes(wal.read_bytes()[:-10])
    assert program("execute", plan).status == 41


def test_a_database_from_the_future_is_refused(program: Program, campaign: Path) -> None:
    """Every command says so, and touches nothing."""
    with sqlite3.connect(campaign / "migrator.db") as connection:
        connection.execute("UPDATE migrator_schema_version SET version_num = '9999'")
    connection.close()
    done = program("status")
    assert (done.status, "newer" in done.err) == (2, True)


def test_a_command_makes_no_database(program: Program, campaign: Path) -> None:
    """Only `init` does: a wrong database.url must not pass for an empty campaign."""
    for path in campaign.glob("migrator.db*"):
        path.unlink()
    for command in (("status",), ("plan",), ("verify",), ("recipient-key",), ("audit", "show")):
        assert program(*command).status in (2, 24)
    assert not list(campaign.glob("migrator.db*"))


def test_the_clock_moves_in_staging_only(program: Program, campaign: Path) -> None:
    """In production `--now` and its variable are refused."""
    text = (campaign / "migrator.toml").read_text(encoding="utf-8")
    text = text.replace('environment = "staging"', 'environment = "production"')
    text = text.replace("# allow_local_keys = true ", "allow_local_keys = true ")
    (campaign / "migrator.toml").write_text(text, encoding="utf-8")
    done = program("status")
    assert (done.status, "staging only" in done.err) == (2, True)


def test_an_interrupted_run_is_resumed(program: Program, campaign: Path) -> None:
    """What a stop leaves is taken up."""
    campaigns.stopped(campaign)
    status = program("status", "-o", "json").json
    assert status["state"] == "stopped"
    done = program("resume", "-o", "json")
    assert (done.status, done.json["state"]) == (0, "completed")
    assert program("verify").status == 0
