"""audit verify and audit consistency on the command line."""

import base64
from pathlib import Path

import pytest

from tests.cli import campaigns
from tests.cli.campaigns import Templates
from tests.cli.running import Program

pytestmark = pytest.mark.usefixtures("today")


@pytest.fixture
def campaign(folder: Path, templates: Templates) -> Path:
    """A folder with a campaign that was executed, which is the current one."""
    return templates.copy(campaigns.executed, folder)


def flip(path: Path) -> None:
    """Change a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_verify(campaign: Path, program: Program) -> None:
    """A whole log: status 0, the document of the contract, nothing written."""
    before = {path: path.read_bytes() for path in (campaign / "audit").rglob("*") if path.is_file()}
    done = program("audit", "verify", "-o", "json")
    assert done.status == 0, done.err
    lines = before[campaign / "audit/wal.jsonl"].count(b"\n")
    assert {"schema", "ok", "size", "root", "checkpoints", "findings"} <= done.json.keys()
    assert (done.json["schema"], done.json["ok"]) == ("migrator.audit_verification/1", True)
    assert (done.json["size"], done.json["checked"]["leaves"]) == (lines, lines)
    assert len(base64.b64decode(done.json["root"])) == 32
    assert not [finding for finding in done.json["findings"] if not finding["note"]]
    assert "ok everything agrees" in program("audit", "verify").out
    assert program("audit", "verify", "--from", 2, "--to", 5, "-o", "json").json["checked"]["leaves"] == 3
    assert {path: path.read_bytes() for path in (campaign / "audit").rglob("*") if path.is_file()} == before


def test_verify_finds_what_was_altered(campaign: Path, program: Program) -> None:
    """Status 41, and what was found, for programs and for people."""
    kept = campaign / "kept"
    kept.write_bytes((campaign / "audit/checkpoint").read_bytes())
    assert program("audit", "verify", "--trusted-checkpoint", kept).status == 0
    flip(kept)
    done = program("audit", "verify", "--trusted-checkpoint", kept, "-o", "json")
    assert done.status == 41
    assert "trusted_checkpoint" in [finding["kind"] for finding in done.json["findings"]]
    flip(campaign / "audit/wal.jsonl")
    done = program("audit", "verify")
    assert done.status == 41
    assert "fail lines: line" in done.out


def test_consistency(campaign: Path, program: Program) -> None:
    """Between sizes and files; an altered file is status 41, what is no state is usage."""
    size = program("audit", "verify", "-o", "json").json["size"]
    done = program("audit", "consistency", 3, "audit/checkpoint", "-o", "json")
    assert (done.status, done.json["schema"]) == (0, "migrator.audit_consistency/1")
    assert (done.json["old"]["size"], done.json["new"]["size"]) == (3, size)
    assert all(len(base64.b64decode(node)) == 32 for node in done.json["proof"])
    assert "ok the new state begins with all of the old one" in program("audit", "consistency", 3, size).out
    flip(campaign / "audit/checkpoint")
    assert program("audit", "consistency", 3, size).status == 41


@pytest.mark.usefixtures("campaign")
@pytest.mark.parametrize(
    "arguments",
    [("verify", "--from", 5, "--to", 2), ("verify", "--from", -1), ("verify", "--trusted-checkpoint", "missing"),
     ("consistency", 1), ("consistency", 1, 10**9), ("consistency", 2, 1), ("consistency", "missing", 2)],
)  # fmt: skip
def test_usage(program: Program, arguments: tuple[object, ...]) -> None:
    """What makes no sense is status 2."""
    assert program("audit", *arguments).status == 2


def test_show_by_subject(campaign: Path, program: Program) -> None:
    """By a run's id, or a reference that an entry was found with; not together with a name."""
    assert (campaign / "audit").is_dir()
    started = program("audit", "show", "--type", "run.started", "-o", "json").json["entries"][0]
    found = program("audit", "show", "--subject", started["subject"], "-o", "json").json["entries"]
    assert started in found
    assert {entry["subject"] for entry in found} == {started["subject"]}
    assert program("audit", "show", "--subject", "nobody", "-o", "json").json["entries"] == []
    assert program("audit", "show", "--subject", "x", "--account", "y").status == 2
