"""`migrator read` as archives: files where they were asked for, streams, and refusals that leave nothing."""

import json
from pathlib import Path

import pytest

from tests.cli import campaigns
from tests.cli.campaigns import Templates
from tests.cli.running import Program

pytestmark = pytest.mark.usefixtures("today", "campaign")
REASON = ("--reason", "ticket 12")


@pytest.fixture
def campaign(templates: Templates, folder: Path) -> Path:
    """A run was completed; the program works in that folder."""
    return templates.copy(campaigns.executed, folder)


def test_archives_are_saved_and_streamed(program: Program, campaign: Path) -> None:
    """The result has the counts; a stream is the file's bytes; each use is in the log with its format."""
    conversation = campaigns.migrated(campaign)
    count = len(program("read", conversation, *REASON, "-o", "json").json["messages"])
    pages = program("read", conversation, *REASON, "--format", "html", "--save", "pages", "-o", "json").json
    assert (pages["schema"], pages["conversation_id"]) == ("migrator.archive/1", conversation)
    assert (pages["format"], pages["path"], pages["messages"], pages["clear_text"]) == ("html", "pages", count, 0)
    assert pages["files"] == len(list((campaign / "pages").iterdir())) - 1
    assert (
        "mbox archive in m.mbox" in program("read", conversation, *REASON, "--format", "mbox", "--save", "m.mbox").out
    )
    streamed = program("read", conversation, *REASON, "--format", "mbox").out
    assert streamed == (campaign / "m.mbox").read_text(encoding="ascii")
    entries = program("audit", "show", "--type", "history.read", "-o", "json").json["entries"]
    assert [entry["data"]["format"] for entry in entries] == ["text", "html", "mbox", "mbox"]


REFUSED = [
    (("--save", "x"), "--save is for archives"),
    (("--format", "html"), "pages are files"),
    (("--format", "matrix-json"), "Matrix rooms"),
    (("--format", "html", "--save", "migrator.toml"), "no empty folder"),
    (("--format", "mbox", "--save", "there.mbox"), "there already"),
    (("--format", "HTML", "--save", "x"), "--format"),
]


def test_what_makes_no_sense_is_refused(program: Program, campaign: Path) -> None:
    """With a hint, and without a trace of an archive or of a reading."""
    (campaign / "there.mbox").touch()
    before = {path.name for path in campaign.iterdir()}
    for arguments, words in REFUSED:
        done = program("read", campaigns.migrated(campaign), *REASON, *arguments)
        assert done.status == 2
        assert words in done.err
    assert {path.name for path in campaign.iterdir()} - before <= {"migrator.db-wal", "migrator.db-shm"}
    assert json.loads(program("audit", "show", "--type", "history.read", "-o", "json").out)["entries"] == []
