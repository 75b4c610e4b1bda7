"""The log as a site: every entry with its proof's state, every link leads somewhere, everything can be found."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from migrator.audit.events import EventType
from migrator.audit.log import AuditLog
from migrator.audit.published import PublishedLog
from migrator.audit.query import Filters
from migrator.core.errors import AuditLogError, UsageError
from migrator.core.tiles import decode_entries, encode_entries
from migrator.evidence.site import Site, writing
from migrator.evidence.site.inclusion import Inclusion
from migrator.evidence.site.terms import MOST, shard
from tests.audit.support import NOW, entries, make_log, open_log, record
from tests.support.browser import chromium, needs_browser, width_on_a_phone

MADE = "2026-05-08T12:00:00.000000Z"
HOSTILE = '</script><script>alert(1)</script>"\u2028é'


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    """A log of 1,200 entries under two checkpoints."""
    log = make_log(tmp_path)
    for start in (0, 600):
        record(tmp_path, 599, start=start, subject=f"subject-{start}")
        record(tmp_path, 1, type=EventType.RUN_STARTED, run_id=f"run-{start}")
        log.flush()
    return log


def written(log: AuditLog, folder: Path, **filters: Any) -> Site:
    """The site of a log."""
    return writing.write_log(log, folder, Filters(**filters), made_at=MADE)


def rows(folder: Path) -> dict[int, str]:
    """Each entry's row of the pages, by its number."""
    found: dict[int, str] = {}
    for page in sorted((folder / "entries").iterdir()):
        text = page.read_text(encoding="utf-8")
        for seq, row in re.findall(r'<tr id="e(\d+)">(.*?)</tr>', text, re.DOTALL):
            assert int(seq) not in found
            found[int(seq)] = row
    return found


def searched(folder: Path, term: str) -> list[int]:
    """What the index knows of a term."""
    path = folder / "search" / f"{shard(term):02x}.js"
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    terms = json.loads(text.removeprefix("found(").removesuffix(");\n"))
    found: list[int] = terms.get(term, [])
    return found


def test_every_entry_is_there_once_and_proven(log: AuditLog, tmp_path: Path) -> None:
    """In order, with what it says, under the first checkpoint that covers it."""
    site = written(log, tmp_path / "site")
    assert (site.size, site.entries, site.unproven, site.faulty_checkpoints, site.ok) == (1200, 1200, 0, 0, True)
    found = rows(tmp_path / "site")
    assert list(found) == list(range(1200))
    for entry in entries(tmp_path):
        row = html.unescape(found[entry["seq"]])
        assert entry["id"] in row
        assert json.dumps(entry["data"], indent=1) in row
        assert f"in checkpoint {600 if entry['seq'] < 600 else 1200}" in row


def test_every_link_leads_somewhere(log: AuditLog, tmp_path: Path) -> None:
    """From every page, and nothing is there that no page leads to."""
    folder = tmp_path / "site"
    written(log, folder)
    reached = {folder / "index.html"}
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for address in re.findall(r'(?:href|src)="([^"]*)"', text):
            target = (page.parent / address.partition("#")[0]).resolve()
            assert target.is_file(), f"{page}: {address}"
            reached.add(target)
    index = {path for path in folder.rglob("*.js") if path.parent.name == "search"}
    assert {path for path in folder.rglob("*") if path.is_file()} == reached | index
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*")} == {0o600, 0o700}


def test_lists_add_up(log: AuditLog, tmp_path: Path) -> None:
    """By type, run, actor and day: each lists all of its entries, on the pages that have them."""
    written(log, tmp_path / "site")
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    counted = dict(re.findall(r'">([^<]*)</a> <span class="faint">([\d,]+)</span>', index))
    assert counted == {
        "key.created": "1,198", "run.started": "2", "run-0": "1", "run-600": "1", "tester": "1,200",
        NOW.date().isoformat(): "1,200",
    }  # fmt: skip
    (path,) = re.findall(r'href="(lists/[^"]*)">run-600<', index)
    assert re.findall(r"entries/(\d+)\.html", (tmp_path / "site" / path).read_text()) == ["000004"]


def test_the_index_knows_subjects_runs_and_events(log: AuditLog, tmp_path: Path) -> None:
    """As many as it names; and nothing of what is not there."""
    written(log, tmp_path / "site")
    assert searched(tmp_path / "site", "subject-600") == list(range(600, 600 + MOST))
    assert searched(tmp_path / "site", "run-600") == [1199]
    last = entries(tmp_path)[-1]
    assert searched(tmp_path / "site", last["id"]) == [1199]
    assert searched(tmp_path / "site", "nobody") == []


@needs_browser
def test_a_browser_searches_it(log: AuditLog, tmp_path: Path) -> None:
    """From a folder, without a server: the script finds what the index knows, by the same sums as here."""
    record(tmp_path, 2, subject="straße-東京-😀")
    log.flush()
    written(log, tmp_path / "site")
    address = (tmp_path / "site" / "index.html").as_uri() + "#find=stra%C3%9Fe-%E6%9D%B1%E4%BA%AC-%F0%9F%98%80"
    dom = chromium(tmp_path, "--virtual-time-budget=3000", "--dump-dom", address)
    (result,) = re.findall(r'<p id="result" aria-live="polite">(.*?)</p>', dom, re.DOTALL)
    assert re.findall(r'href="entries/000004\.html#e(\d+)"', result) == ["1200", "1201"]
    shot = tmp_path / "page.png"
    chromium(
        tmp_path, "--window-size=1200,900", f"--screenshot={shot}", (tmp_path / "site/entries/000000.html").as_uri()
    )
    assert shot.stat().st_size > 50_000
    for page in ("index.html", "entries/000000.html", "checkpoints/000000.html"):
        assert width_on_a_phone(tmp_path, tmp_path / "site" / page) <= 390, page


def test_filters(log: AuditLog, tmp_path: Path) -> None:
    """Fewer entries, the same proofs; the newest of them; none."""
    assert written(log, tmp_path / "one", run_id="run-0").entries == 1
    assert list(rows(tmp_path / "one")) == [599]
    assert "in checkpoint 600" in rows(tmp_path / "one")[599]
    written(log, tmp_path / "two", limit=3)
    assert list(rows(tmp_path / "two")) == [1197, 1198, 1199]
    assert written(log, tmp_path / "none", run_id="run-x").entries == 0
    assert "There are no entries." in (tmp_path / "none" / "index.html").read_text(encoding="utf-8")


def test_an_empty_log(tmp_path: Path) -> None:
    """A log whose first checkpoint is still to come can't be shown; the error says what is missing."""
    with pytest.raises(AuditLogError, match="there is no"):
        written(make_log(tmp_path), tmp_path / "site")


def test_entries_that_wait_for_a_checkpoint(log: AuditLog, tmp_path: Path) -> None:
    """They are shown as what they are: written, and not yet signed."""
    record(tmp_path, 5, subject="late")
    log.flush(checkpoint=False)
    site = written(log, tmp_path / "site")
    assert (site.size, site.entries, site.unproven, site.ok) == (1200, 1205, 5, True)
    assert "waits for a checkpoint" in rows(tmp_path / "site")[1204]


def test_an_entry_that_was_altered(log: AuditLog, tmp_path: Path) -> None:
    """A flipped letter in a bundle: the checkpoints over it are not those of these entries, and say so."""
    bundle = tmp_path / "audit" / "tile" / "entries" / "000"
    found = decode_entries(bundle.read_bytes())
    found[7] = found[7].replace(b'"tester"', b'"jester"')
    bundle.write_bytes(encode_entries(found))
    site = written(log, tmp_path / "site")
    assert (site.unproven, site.faulty_checkpoints, site.ok) == (1200, 2, False)
    assert "not proven" in rows(tmp_path / "site")[1199]
    assert "2 of 2 checkpoints are not" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


def test_a_checkpoint_that_was_altered(log: AuditLog, tmp_path: Path) -> None:
    """It proves nothing, the next one proves all the same."""
    path = tmp_path / "audit" / "checkpoints" / "600"
    path.write_bytes(path.read_bytes().replace(b"600", b"599"))
    site = written(log, tmp_path / "site")
    assert (site.unproven, site.faulty_checkpoints, site.ok) == (0, 1, False)
    assert "in checkpoint 1200" in rows(tmp_path / "site")[0]


def test_a_log_that_was_cut(log: AuditLog, tmp_path: Path) -> None:
    """An older checkpoint in the newest one's place: what was kept since is still there and tells."""
    folder = tmp_path / "audit"
    (folder / "checkpoint").write_bytes((folder / "checkpoints" / "600").read_bytes())
    site = written(log, tmp_path / "site")
    assert (site.size, site.faulty_checkpoints, site.ok) == (600, 1, False)
    page = (tmp_path / "site" / "checkpoints" / "000000.html").read_text(encoding="utf-8")
    assert "covers 600 entries only" in page


def test_a_newest_checkpoint_of_other_entries(log: AuditLog, tmp_path: Path) -> None:
    """Signed by the same key over another log of the same size: every kept one fits, and this one does not."""
    other = tmp_path / "other"
    other.mkdir()
    forked = make_log(other)
    record(other, 1200, subject="forked")
    forked.flush()
    (tmp_path / "audit" / "checkpoint").write_bytes((other / "audit" / "checkpoint").read_bytes())
    site = written(log, tmp_path / "site")
    assert (site.size, site.faulty_checkpoints, site.ok) == (1200, 1, False)
    assert "not proven" in rows(tmp_path / "site")[1199]


def test_kept_checkpoints_that_were_lost(log: AuditLog, tmp_path: Path) -> None:
    """The newest one proves all entries alone."""
    for path in (tmp_path / "audit" / "checkpoints").iterdir():
        path.unlink()
    site = written(log, tmp_path / "site")
    assert (site.unproven, site.ok) == (0, True)
    assert (tmp_path / "site" / "checkpoints" / "1200.txt").read_bytes() == (tmp_path / "audit/checkpoint").read_bytes()


def test_a_log_that_grows_meanwhile(log: AuditLog, tmp_path: Path) -> None:
    """Its later checkpoints are no fault of those entries that the site shows."""
    published = PublishedLog(tmp_path / "audit", origin=log.origin)
    record(tmp_path, 5, subject="late")
    log.flush()
    assert [(found.size, found.fault) for found in Inclusion(published).checkpoints] == [(600, ""), (1200, "")]


def test_what_an_entry_says_stays_text(log: AuditLog, tmp_path: Path) -> None:
    """Markup in an entry is neither script nor tag, on no page and in no index."""
    record(tmp_path, 1, subject=HOSTILE, data={"reason": HOSTILE}, run_id=HOSTILE)
    log.flush()
    folder = tmp_path / "site"
    written(log, folder)
    for path in folder.rglob("*"):
        if path.is_file():
            assert "alert(1)</script>" not in path.read_text(encoding="utf-8") or path.suffix == ".js"
    assert searched(folder, HOSTILE) == [1200]
    assert all(path.read_bytes().isascii() for path in (folder / "search").iterdir())


def test_a_line_that_is_no_entry(log: AuditLog, tmp_path: Path) -> None:
    """Nothing is shown for what it is not."""
    bundle = tmp_path / "audit" / "tile" / "entries" / "000"
    found = decode_entries(bundle.read_bytes())
    for odd in (b"", b"[]", b'{"seq":3}', b"[" * 5000, found[4]):
        found[3] = odd
        bundle.write_bytes(encode_entries(found))
        folder = tmp_path / f"site-{odd[:4].hex()}-{len(odd)}"
        with pytest.raises(AuditLogError, match="entry 3"):
            written(log, folder)
        assert not (folder / ".terms.sqlite").exists()


def test_only_into_a_new_folder(log: AuditLog, tmp_path: Path) -> None:
    """Whatever lies there is somebody's; a file in its place is none."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        written(log, tmp_path / "full")
    with pytest.raises(UsageError, match="can't be written"):
        written(log, tmp_path / "full" / "notes.txt")
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("log")
def test_reading_leaves_the_log_alone(tmp_path: Path) -> None:
    """No entry of its own, no file in the log's folder."""
    before = {path: path.read_bytes() for path in (tmp_path / "audit").rglob("*") if path.is_file()}
    written(open_log(tmp_path, read_only=True), tmp_path / "site")
    assert {path: path.read_bytes() for path in (tmp_path / "audit").rglob("*") if path.is_file()} == before
