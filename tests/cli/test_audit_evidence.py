"""audit prove, export, reconcile, anchor on the command line."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from migrator.cli.main import run
from migrator.core.notes import parse_vkey
from tests.audit.anchor_servers import Witness, serving
from tests.cli import campaigns
from tests.cli.campaigns import Templates
from tests.cli.running import Program

pytestmark = pytest.mark.usefixtures("today")


@pytest.fixture
def campaign(folder: Path, templates: Templates) -> Path:
    """A folder with a campaign that was executed, which is the current one."""
    return templates.copy(campaigns.executed, folder)


@pytest.fixture
def witness(campaign: Path) -> Iterator[Witness]:
    """A witness of the campaign's log that is running and configured."""
    key = parse_vkey((campaign / "audit" / "log.vkey").read_text())
    server = Witness(key.name, Ed25519PublicKey.from_public_bytes(key.public_key))
    with serving(server.answer) as url:
        path = campaign / "migrator.toml"
        path.write_text(f'{path.read_text()}\n[audit.witnesses]\n"{url}" = "{server.vkey}"\n')
        yield server


def test_prove_writes_what_its_own_verifier_accepts(campaign: Path, program: Program) -> None:
    """For a conversation with a message in it; the result names the folder and the entries."""
    conversation = campaigns.migrated(campaign)
    message = campaigns.ask(
        campaign,
        "SELECT message_id FROM migrator_message JOIN migrator_conversation USING (conversation_no) "
        f"WHERE conversation_id = '{conversation}'",
    )
    done = program("audit", "prove", "--conversation", conversation, "--message", message, "--out", "b", "-o", "json")
    assert done.status == 0, done.err
    assert done.json["schema"] == "migrator.audit_proof/1"
    assert done.json["path"] == "b"
    assert len(done.json["entries"]) >= 3
    checked = subprocess.run([sys.executable, "-I", "b/verify.py"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    again = program("audit", "prove", "--seq", 0, "--out", "b")
    assert again.status == 2
    assert "not empty" in again.err
    said = program("audit", "prove", "--seq", 0)
    assert said.status == 0
    assert "python3 proof/verify.py" in said.out


def test_prove_refuses_what_makes_no_sense(campaign: Path, program: Program) -> None:
    """Nobody named, two named, an entry that is not there: status 2, and no folder is made."""
    for arguments in ((), ("--seq", 1, "--account", "a"), ("--seq", 10**6), ("--seq", "-1")):
        assert program("audit", "prove", *arguments).status == 2
    assert not (campaign / "proof").exists()


def test_export_gives_the_exact_lines(campaign: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """On standard output, byte for byte, whatever form of output is asked for."""
    whole = (campaign / "audit" / "wal.jsonl").read_bytes()
    assert run(["audit", "export", "-o", "json"]) == 0
    assert capfdbinary.readouterr().out == whole
    assert run(["audit", "export", "--from", "5"]) == 0
    assert capfdbinary.readouterr().out == b"".join(line + b"\n" for line in whole.splitlines()[5:])


def test_export_as_ocsf(campaign: Path, program: Program) -> None:
    """Events one a line; with --save into a new file, and the result says so."""
    views = [json.loads(line) for line in program("audit", "export", "--format", "ocsf").out.splitlines()]
    assert {view["class_uid"] for view in views} == {6003}
    done = program("audit", "export", "--format", "ocsf", "--save", "siem.jsonl", "-o", "json")
    assert done.json == {
        "schema": "migrator.audit_export/1",
        "format": "ocsf",
        "path": "siem.jsonl",
        "entries": len(views),
    }
    assert [json.loads(line) for line in (campaign / "siem.jsonl").read_text().splitlines()] == views
    assert program("audit", "export", "--save", "siem.jsonl").status == 2


def test_reconcile(campaign: Path, program: Program) -> None:
    """0 where log and database agree, 41 where they don't; nothing is changed by asking."""
    done = program("audit", "reconcile", "-o", "json")
    assert done.status == 0
    assert done.json["schema"] == "migrator.audit_reconciliation/1"
    assert done.json["ok"] is True
    assert done.json["findings"] == []
    assert "ok the log and the database agree" in program("audit", "reconcile").out
    change(campaign, "UPDATE migrator_conversation SET message_count = message_count + 1")
    done = program("audit", "reconcile", "-o", "json")
    assert done.status == 41
    assert {finding["kind"] for finding in done.json["findings"]} == {"conversation"}
    assert program("audit", "reconcile").out.count("mismatch conversation ") <= 20


def change(folder: Path, statement: str) -> None:
    """Change the migrator database behind the program's back."""
    connection = sqlite3.connect(folder / "migrator.db", isolation_level=None)
    try:
        connection.execute(statement)
    finally:
        connection.close()


def test_anchor_without_anybody(campaign: Path, program: Program) -> None:
    """Nobody is configured: a configuration error that says what to set; verify notes it, preflight warns."""
    done = program("audit", "anchor")
    assert done.status == 2
    assert "audit.witnesses" in done.err
    found = program("audit", "verify", "-o", "json")
    assert found.status == 0
    assert "unanchored_tail" in {finding["kind"] for finding in found.json["findings"]}
    assert "warn audit anchors" in program("preflight").out
    assert campaign.is_dir()


def test_anchor_with_a_witness(campaign: Path, program: Program, witness: Witness) -> None:
    """Its cosignature is kept, and verification says that somebody vouches for everything."""
    done = program("audit", "anchor", "-o", "json")
    assert done.status == 0, done.err
    (result,) = done.json["anchors"]
    assert (result["name"], result["state"]) == (witness.name, "vouches")
    assert (campaign / "audit" / "checkpoints" / f"{result['size']}.witness").is_file()
    found = program("audit", "verify", "-o", "json")
    assert found.status == 0
    assert "unanchored_tail" not in {finding["kind"] for finding in found.json["findings"]}
    assert program("audit", "anchor").out.startswith(f"ok {witness.name}: ")


def test_anchors_that_are_away_or_have_seen_another_log(campaign: Path, program: Program, witness: Witness) -> None:
    """24 while one does not answer; 41 where the witness knows more entries than the log has."""
    witness.log_name = "another"
    done = program("audit", "anchor", "-o", "json")
    assert done.status == 24
    assert done.json["anchors"][0]["state"] == "unreached"
    witness.log_name = parse_vkey((campaign / "audit" / "log.vkey").read_text()).name
    witness.size = 10**6
    done = program("audit", "anchor")
    assert done.status == 41
    assert "has seen another log" in done.err


def test_show_as_a_site(campaign: Path, program: Program) -> None:
    """All of it, or what is about one account; not over what is there; 41 where the log is altered."""
    done = program("audit", "show", "--html", "site", "-o", "json")
    assert (done.status, done.json["schema"], done.json["ok"]) == (0, "migrator.audit_site/1", True)
    assert done.json["entries"] == done.json["size"] > 100
    assert (campaign / "site" / "index.html").is_file()
    assert program("audit", "show", "--html", "site").status == 2
    account = campaigns.ask(campaign, "SELECT account_id FROM migrator_notice WHERE state = 'sent'")
    theirs = program("audit", "show", "--html", "theirs", "--account", account, "-o", "json").json
    assert 0 < theirs["entries"] < 10
    for bundle in (campaign / "audit" / "tile" / "entries").rglob("*"):
        if bundle.is_file():
            bundle.write_bytes(bundle.read_bytes().replace(b'"actor":', b'"ector":', 1))
    wrong = program("audit", "show", "--html", "wrong")
    assert (wrong.status, "not right" in wrong.out) == (41, True)


def test_erase(campaign: Path, program: Program) -> None:
    """The campaign's name is asked for; a subject that nothing names has nothing to erase."""
    name = campaigns.spec_of(campaign).settings.campaign.name
    assert program("audit", "erase", "--account", "nobody").status == 12
    assert program("audit", "erase", "--confirm", name).status == 2
    done = program("audit", "erase", "--account", "nobody", "--confirm", name, "-o", "json")
    assert (done.status, done.json["schema"], done.json["erased"]) == (0, "migrator.audit_erasure/1", False)
    owner = campaigns.ask(campaign, "SELECT account_id FROM migrator_notice WHERE state = 'sent'")
    assert program("audit", "erase", "--account", owner, "--confirm", "another").status == 12
