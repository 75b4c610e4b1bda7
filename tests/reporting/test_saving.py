"""Saved reports: private, whole, digested, and never over somebody else's files."""

import hashlib
import json
import os
import re
import stat
from pathlib import Path

import pytest

from fixtures.expected import expect
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.errors import UsageError
from migrator.reporting import SavedReport, save, summary
from tests.verification.support import database, executed, rows, world
from tests.verification.test_verifying import verified

NAMES = {
    "summary.json", "conversations.jsonl", "conversations-0001.csv", "told.csv", "devices.csv", "coverage.json",
    "report.html", "manifest.json",
}  # fmt: skip


def saved(spec: CampaignSpec, folder: Path, only: str | None = None) -> SavedReport:
    """Save in a process of its own."""
    with open_campaign(spec) as campaign:
        return save(campaign, None, folder, only)


def lines(folder: Path) -> list[dict[str, object]]:
    """The conversations of a saved report."""
    return [json.loads(line) for line in (folder / "conversations.jsonl").read_bytes().splitlines()]


def test_files_are_whole_private_and_digested(tmp_path: Path) -> None:
    """Folder 0700, files 0600, every size and digest of the manifest holds, nothing else is left."""
    spec, folder = executed(tmp_path), tmp_path / "new" / "report"
    report = saved(spec, folder)
    assert {path.name for path in folder.iterdir()} == NAMES == {file.name for file in report.files}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert {entry["name"] for entry in manifest["files"]} == NAMES - {"manifest.json"}
    for entry in manifest["files"]:
        data = (folder / entry["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["size"], entry["sha256"])


def test_every_conversation_is_listed_once_with_its_outcome(tmp_path: Path) -> None:
    """`conversations.jsonl` is the world, line by line, and adds up to `summary.json` (G6)."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    report = saved(spec, folder)
    listed = lines(folder)
    assert report.conversations == len(listed)
    assert {line["conversation_id"]: (line["outcome"], line["messages"], line["gaps"]) for line in listed} == {
        identifier: tuple(expected) for identifier, expected in expect(world(), "every_participant").items()
    }
    totals = json.loads((folder / "summary.json").read_bytes())["totals"]
    assert totals == {
        "conversations": len(listed),
        "messages": sum(int(str(line["messages"])) for line in listed),
        "gaps": sum(int(str(line["gaps"])) for line in listed),
    }


def test_summary_is_that_of_the_service(tmp_path: Path) -> None:
    """The file and the command say the same."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    saved(spec, folder)
    with open_campaign(spec) as campaign:
        assert json.loads((folder / "summary.json").read_bytes()) == json.loads(json.dumps(summary(campaign, None)))


def test_only_lists_one_outcome(tmp_path: Path) -> None:
    """A filter shortens the list, never the summary."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    report = saved(spec, folder, "skipped:refused")
    expected = [i for i, e in expect(world(), "every_participant").items() if e.outcome == "skipped:refused"]
    assert sorted(str(line["conversation_id"]) for line in lines(folder)) == sorted(expected)
    assert report.conversations == len(expected) > 0
    assert json.loads((folder / "manifest.json").read_bytes())["only"] == "skipped:refused"
    assert len(json.loads((folder / "summary.json").read_bytes())["outcomes"]) > 1


@pytest.mark.parametrize("only", ["refused", "", "skipped:", "rewrapped' OR '1'='1"])
def test_unknown_outcome_is_refused(tmp_path: Path, only: str) -> None:
    """An outcome outside the closed set is a usage error, and nothing is made."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    with pytest.raises(UsageError):
        saved(spec, folder, only)
    assert not folder.exists()


def test_own_report_is_replaced(tmp_path: Path) -> None:
    """Saving again after a verification brings the files up to date."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    saved(spec, folder)
    verified(spec)
    saved(spec, folder)
    assert json.loads((folder / "summary.json").read_bytes())["verification"]["ok"]
    assert {path.name for path in folder.iterdir()} == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("content", [b"somebody's own", b'{"schema":"other/1","files":[]}', b"[]", b"\xff" * 10])
def test_files_of_others_are_kept(tmp_path: Path, name: str, content: bytes) -> None:
    """A file of the same name that no report wrote stops it, untouched."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    folder.mkdir()
    (folder / name).write_bytes(content)
    with pytest.raises(UsageError, match=re.escape(name)):
        saved(spec, folder)
    assert (folder / name).read_bytes() == content
    assert {path.name for path in folder.iterdir()} == {name}


def test_other_files_beside_a_report_are_kept(tmp_path: Path) -> None:
    """What has another name is nobody's business."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    saved(spec, folder)
    assert (folder / "notes.txt").read_text() == "mine"


def test_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    """A link that waits under a report's name is somebody else's file."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    folder.mkdir()
    target = tmp_path / "target"
    target.write_text("precious")
    (folder / "summary.json").symlink_to(target)
    with pytest.raises(UsageError):
        saved(spec, folder)
    assert target.read_text() == "precious"


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file where the folder should be is a usage error."""
    spec = executed(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError):
        saved(spec, tmp_path / "file" / "report")


def test_failed_save_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails in the middle, the old report stays as it was and no half file remains."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    saved(spec, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    calls = [0]

    def failing(descriptor: int, fsync: object = os.fsync) -> None:
        calls[0] += 1
        if calls[0] == 3:
            raise OSError(28, "No space left on device")
        assert callable(fsync)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(UsageError, match="No space left"):
        saved(spec, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


HOSTILE = 'x/"\n{"conversation_id":"forged"}\u2028</script><script>alert(1)</script>&é\x7f'


def test_hostile_ids_stay_inside_their_line(tmp_path: Path) -> None:
    """An id with quotes, newlines and markup is one JSON string on one ASCII line, and nowhere else."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    with database(spec) as connection:
        connection.execute("UPDATE migrator_conversation SET conversation_id = ? WHERE conversation_no = 1", (HOSTILE,))
    saved(spec, folder)
    data = (folder / "conversations.jsonl").read_bytes()
    assert data.isascii()
    listed = [json.loads(line) for line in data.split(b"\n") if line]
    assert len(listed) == rows(spec, "SELECT COUNT(*) FROM migrator_item")[0][0]
    assert HOSTILE in {line["conversation_id"] for line in listed}
    assert b"alert(1)" not in (folder / "report.html").read_bytes()


def test_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    """No script, no address to load from, and what comes from the database is text."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    with database(spec) as connection:
        connection.execute("UPDATE migrator_data_key SET key_service = ?", ("<script>alert(1)</script>",))
    saved(spec, folder)
    page = (folder / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"(src|href)\s*=|url\(|https?://", page)
    assert "default-src 'none'" in page
    for outcome, conversations in rows(spec, "SELECT outcome, COUNT(*) FROM migrator_item GROUP BY outcome"):
        assert re.search(rf"{outcome}</th><td class=\"n\">{conversations}</td>", page)
