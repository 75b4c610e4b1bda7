"""approve, show: what operators type, and what they read."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from migrator.cli.session import Session, operator
from tests.cli import campaigns
from tests.cli.campaigns import Templates
from tests.cli.running import Program
from tests.support import operators
from tests.support.operators import ALICE, BOB, CAROL, WAIVER

pytestmark = pytest.mark.usefixtures("today")
KEYGEN = shutil.which("ssh-keygen")


@pytest.fixture
def plan(templates: Templates, folder: Path) -> str:
    """A plan that waits for Alice and Bob."""
    templates.copy(campaigns.planned_by_operators, folder)
    return campaigns.newest_plan(folder)


def test_two_operators_approve(program: Program, plan: str) -> None:
    """Human and JSON results name signer, key and rehearsal; `show` lists them; twice is said to be so."""
    first = program("approve", plan, "--key", "alice-key", "--waive-rehearsal", WAIVER, "-o", "json").json
    assert (first["schema"], first["already"]) == ("migrator.approvals/1", False)
    assert first["rehearsal"] == {"run_id": None, "waiver": WAIVER}
    assert [(a["signer"], a["objection"]) for a in first["approvals"]] == [("alice@example.org", "")]
    again = program("approve", plan, "--key", "alice-key")
    assert (again.status, again.out.splitlines()[0]) == (0, f"already approved: {plan}, alice@example.org")
    assert program("approve", plan, "--key", "bob-key").status == 0
    shown = program("show", plan).out
    assert f"rehearsal: waived by {operator()}: {WAIVER}" in shown
    assert shown.index("approved by alice@example.org (SHA256:") < shown.index("approved by bob@example.org (SHA256:")
    assert program("approve", plan, "--revoke", "bob@example.org").out.startswith("revoked: ")
    assert "bob@example.org" not in program("show", plan).out


def test_the_first_brings_the_rehearsal(program: Program, plan: str, tmp_path: Path) -> None:
    """Neither is refused with 12, both with 2; a summary that can't be read with 2."""
    assert program("approve", plan, "--key", "alice-key").status == 12
    both = program("approve", plan, "--key", "alice-key", "--waive-rehearsal", "x", "--rehearsal", "y")
    assert (both.status, "--rehearsal and --waive-rehearsal at once" in both.err) == (2, True)
    assert program("approve", plan, "--key", "alice-key", "--rehearsal", tmp_path / "none").status == 2


def test_usage(program: Program, plan: str, folder: Path) -> None:
    """One of key, signature and name; and files that are none."""
    for given in ([], ["--key", "alice-key", "--revoke", "bob"], ["--key", "alice-key", "--signature", "x"]):
        assert program("approve", plan, *given).status == 2
    assert program("approve", plan, "--key", "nothing", "--waive-rehearsal", WAIVER).status == 2
    assert program("approve", plan, "--signature", "nothing", "--waive-rehearsal", WAIVER).status == 2
    (folder / "alice-key").chmod(0o644)
    open_to_all = program("approve", plan, "--key", "alice-key", "--waive-rehearsal", WAIVER)
    assert (open_to_all.status, "open to other users" in open_to_all.err) == (2, True)
    assert program("approve", "plan-x", "--key", "bob-key", "--waive-rehearsal", WAIVER).status == 10


def test_a_foreign_key_is_refused(program: Program, plan: str, folder: Path) -> None:
    """With 12, and the file's name."""
    operators.key_file(folder / "carol-key", CAROL)
    refused = program("approve", plan, "--key", "carol-key", "--waive-rehearsal", WAIVER)
    assert (refused.status, "none of an allowed signer" in refused.err) == (12, True)
    assert "allowed_signers" in refused.err


def test_an_altered_plan_is_not_approved(program: Program, plan: str, folder: Path) -> None:
    """Edited after it was made: 10."""
    path = folder / "plans" / f"{plan}.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["counts"]["rewrap"]["messages"] += 1
    path.write_text(json.dumps(document), encoding="utf-8")
    assert program("approve", path, "--key", "alice-key", "--waive-rehearsal", WAIVER).status == 10


def test_a_passphrase_is_asked_for_unseen(
    program: Program, plan: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a person is there; the passphrase shows nowhere."""
    operators.key_file(folder / "alice-key", ALICE, passphrase=b"open sesame")
    arguments = ("approve", plan, "--key", "alice-key", "--waive-rehearsal", WAIVER)
    alone = program(*arguments)
    assert (alone.status, "nobody is there to type it" in alone.err) == (2, True)
    monkeypatch.setattr(Session, "may_ask", lambda _: True)
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _prompt: "open barley")
    wrong = program(*arguments)
    assert (wrong.status, "open barley" in wrong.err + wrong.out) == (2, False)
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _prompt: "open sesame")
    right = program(*arguments)
    assert (right.status, "open sesame" in right.err + right.out) == (0, False)


@pytest.mark.skipif(KEYGEN is None, reason="OpenSSH's ssh-keygen is not installed")
def test_openssh_signs_and_verifies(program: Program, plan: str, folder: Path) -> None:
    """As the runbook says: a signature made elsewhere counts, and what is kept is verified by OpenSSH alone."""
    assert KEYGEN is not None
    digest = json.loads((folder / "plans" / f"{plan}.json").read_text(encoding="utf-8"))["digest"]
    key = operators.key_file(folder / "bob-key", BOB)
    signed = subprocess.run(
        [KEYGEN, "-Y", "sign", "-f", key, "-n", "migrator-plan"], input=digest.encode(), capture_output=True, check=True
    )
    (folder / "plan.sig").write_bytes(signed.stdout)
    assert program("approve", plan, "--signature", "plan.sig", "--waive-rehearsal", WAIVER).status == 0
    assert program("approve", plan, "--key", "alice-key").status == 0
    for name in ("alice", "bob"):
        kept = campaigns.ask(folder, f"SELECT signature FROM migrator_approval WHERE signer = '{name}@example.org'")
        (folder / "kept.sig").write_text(kept, encoding="ascii")
        verified = subprocess.run(
            [KEYGEN, "-Y", "verify", "-f", "allowed_signers", "-I", f"{name}@example.org", "-n", "migrator-plan",
             "-s", "kept.sig"], input=digest.encode(), cwd=folder, capture_output=True, check=False,
        )  # fmt: skip
        assert verified.returncode == 0, verified.stderr
    assert base64.b64encode(b"openssh-key")[:8].decode() not in program("audit", "show").out
