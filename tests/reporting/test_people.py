"""Whom a run concerns: counted against the source and the outcomes, by hand and without the code that is tested."""

import csv
import io
import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fixtures.expected import expect
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.errors import UsageError
from migrator.reporting import people, saving, spreadsheets
from tests.reporting.test_saving import NAMES, saved
from tests.verification.support import executed, rows, world


def source_rows(spec: CampaignSpec, query: str) -> list[tuple[str, str]]:
    """What the source says."""
    return [(first, second) for first, second in rows(spec, query, name="store.db")]


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a spreadsheet by the names of its columns."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_who_must_be_told(tmp_path: Path) -> None:
    """Every owner of a conversation once, with how many were migrated and how many were left; orphans are nobody's."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    saved(spec, folder)
    owners = dict(source_rows(spec, "SELECT inbox_id, account_id FROM inbox"))
    threads = {f"{inbox}/{thread}" for inbox, thread in source_rows(spec, "SELECT inbox_id, thread_id FROM thread")}
    migrated: Counter[str] = Counter()
    sealed: Counter[str] = Counter()
    for identifier, expected in expect(world(), "every_participant").items():
        owner = owners.get(identifier.partition("/")[0]) if identifier in threads else None
        if owner is not None:
            (migrated if expected.outcome.startswith("rewrapped") else sealed)[owner] += 1
    told = table(folder / "told.csv")
    assert {(row["account_id"], int(row["migrated"]), int(row["sealed"])) for row in told} == {
        (account, migrated[account], sealed[account]) for account in {*migrated, *sealed}
    }
    assert [row["account_id"] for row in told] == sorted(row["account_id"] for row in told)
    known = dict(source_rows(spec, "SELECT account_id, region FROM account"))
    assert all(row["region"] == known[row["account_id"]] for row in told)
    guardians = dict(source_rows(spec, "SELECT account_id, guardian_account_id FROM account WHERE age_band = 'minor'"))
    assert all(row["guardian_account_id"] == (guardians.get(row["account_id"]) or "") for row in told)


def test_coverage_adds_up(tmp_path: Path) -> None:
    """By region and by language: the same conversations, all of them that have an owner."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    saved(spec, folder)
    coverage = json.loads((folder / "coverage.json").read_bytes())
    told = table(folder / "told.csv")
    for by in ("by_region", "by_locale"):
        for what in ("migrated", "sealed"):
            assert sum(count[what] for count in coverage[by].values()) == sum(int(row[what]) for row in told) > 0


def test_devices_that_still_hold_state(tmp_path: Path) -> None:
    """Those that were not revoked, of everybody whom the run concerns."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    saved(spec, folder)
    told = {row["account_id"] for row in table(folder / "told.csv")}
    expected = {
        (device, account)
        for device, account in source_rows(spec, "SELECT device_id, account_id FROM device WHERE revoked_at IS NULL")
        if account in told
    }
    found = table(folder / "devices.csv")
    assert {(row["device_id"], row["account_id"]) for row in found} == expected
    assert len(found) == len(expected) > 0


def test_outcomes_as_spreadsheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts that together say what the lines say; a shorter report leaves no part of a longer one."""
    monkeypatch.setattr(saving, "PART_ROWS", 10)
    spec, folder = executed(tmp_path), tmp_path / "report"
    report = saved(spec, folder)
    parts = sorted(folder.glob("conversations-*.csv"))
    assert len(parts) == -(-report.conversations // 10)
    listed = [json.loads(line) for line in (folder / "conversations.jsonl").read_bytes().splitlines()]
    assert [row for part in parts for row in table(part)] == [
        {name: str(value) for name, value in line.items()} for line in listed
    ]
    monkeypatch.setattr(saving, "PART_ROWS", 100_000)
    saved(spec, folder)
    assert {path.name for path in folder.iterdir()} == NAMES


def test_exactly_full_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No empty part follows a full one; a report without a line has one part with a header."""
    spec = executed(tmp_path)
    whole = saved(spec, tmp_path / "whole").conversations
    monkeypatch.setattr(saving, "PART_ROWS", whole)
    saved(spec, tmp_path / "full")
    assert len(list((tmp_path / "full").glob("conversations-*.csv"))) == 1
    saved(spec, tmp_path / "none", "failed:integrity")
    assert (tmp_path / "none" / "conversations-0001.csv").read_bytes() == b"conversation_id,outcome,messages,gaps\r\n"


def gone(spec: CampaignSpec) -> None:
    """Take the source away."""
    (spec.directory / "store.db").rename(spec.directory / "elsewhere.db")


def test_a_source_that_is_gone(tmp_path: Path) -> None:
    """The report is made all the same and says what is missing; an earlier report's lists go."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    saved(spec, folder)
    gone(spec)
    saved(spec, folder)
    assert {path.name for path in folder.iterdir()} == NAMES - {"told.csv", "devices.csv", "coverage.json"}
    assert "The source could not be asked" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_killed_makers_counts_are_cleared(tmp_path: Path) -> None:
    """What a process left behind that was killed is not counted again, and goes."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    saved(spec, folder)
    before = (folder / "told.csv").read_bytes()
    with open_campaign(spec) as campaign, campaign.database.read() as connection:
        run_id = rows(spec, "SELECT run_id FROM migrator_run")[0][0]
        with people.people_of(campaign, connection, run_id, folder):
            (folder / ".people.sqlite").rename(folder / "kept")
    (folder / "kept").rename(folder / ".people.sqlite")
    saved(spec, folder)
    assert (folder / "told.csv").read_bytes() == before
    assert not (folder / ".people.sqlite").exists()


def test_many_names_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that names a region for every account does not make a page of regions."""
    monkeypatch.setattr(people, "_MOST_NAMES", 1)
    spec, folder = executed(tmp_path), tmp_path / "report"
    saved(spec, folder)
    by_region = json.loads((folder / "coverage.json").read_bytes())["by_region"]
    assert len(by_region) == 2
    assert people.OTHERS in by_region


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "\uff1d1+1"])
def test_no_formulas(text: str) -> None:
    """What a spreadsheet would work out is text; commas, quotes, newlines and lone surrogates stay in their cell."""
    (data,) = spreadsheets.lines([[text, 'a,"b"\nc', "\ud800"]])
    (cells,) = csv.reader(io.StringIO(data.decode(), newline=""))
    assert cells == [f"'{text}", 'a,"b"\nc', "\\ud800"]


def test_a_disk_that_is_full_while_people_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite finds it out and says it in its own way: the same clear error, and nothing is left behind."""

    def full(path: Path, **values: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = sqlite3.dbapi2.connect(path, **values)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    spec, folder = executed(tmp_path), tmp_path / "report"
    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(UsageError, match=r"can't be written .* is full"):
        saved(spec, folder)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cant_be_written_loses_nothing(tmp_path: Path) -> None:
    """The earlier report stays when a later one fails half way."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    saved(spec, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / ".people.sqlite").mkdir()
    with pytest.raises(UsageError, match="can't be written"):
        saved(spec, folder)
    (folder / ".people.sqlite").rmdir()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
