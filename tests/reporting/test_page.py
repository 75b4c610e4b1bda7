"""The report's page as a browser shows it, and in every state that a run can be in."""

import re
from pathlib import Path

from migrator.campaign import open_campaign
from migrator.reporting import page, summary
from migrator.reporting.timeline import Point
from tests.execution.bench import Bench
from tests.reporting.test_saving import saved
from tests.support.browser import chromium, needs_browser, width_on_a_phone
from tests.verification.support import database, executed


@needs_browser
def test_a_browser_shows_it(tmp_path: Path) -> None:
    """Drawn from the file alone, which has no script, and no blank; a phone shows it without moving it sideways."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    saved(spec, folder)
    address = (folder / "report.html").as_uri()
    shot = tmp_path / "page.png"
    chromium(tmp_path, "--window-size=1100,3000", f"--screenshot={shot}", address)
    assert shot.stat().st_size > 50_000  # a blank page of this size has 6,000
    assert width_on_a_phone(tmp_path, folder / "report.html") <= 390


def test_every_picture_has_its_table(tmp_path: Path) -> None:
    """What a bar shows stands as a number in a table, and each picture names what it is."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    saved(spec, folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    for figure in re.findall(r"<figure>.*?</figure>", text, re.DOTALL):
        (label,) = re.findall(r'role="img" aria-labelledby="([a-z-]+)"', figure)
        assert f'<figcaption id="{label}">' in figure
    with open_campaign(spec) as campaign:
        found = summary(campaign, None)
    for outcome, count in found["outcomes"].items():
        assert f'<th scope="row">{outcome}</th><td class="n">{count["conversations"]}</td>' in text
    for reason, number in found["gaps"].items():
        assert f'<th scope="row">{reason}</th><td class="n">{number}</td>' in text


def test_a_run_that_stopped(tmp_path: Path) -> None:
    """The page says so before anything else, and counts what there is."""
    spec, folder = executed(tmp_path), tmp_path / "report"
    with database(spec) as connection:
        connection.execute("DELETE FROM migrator_item WHERE conversation_no > 20")
        connection.execute("UPDATE migrator_run SET state = 'stopped', stop_reason = 'interrupted', finished_at = NULL")
    saved(spec, folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "The run is stopped (interrupted): these numbers are those of this moment." in text
    assert "<b>20</b> conversations with an outcome, of 41 planned" in text
    assert "<b>21</b> conversations without an outcome yet" in text


def test_a_run_with_nothing_done(tmp_path: Path) -> None:
    """No outcome, no key, no gap, nobody known: words in place of pictures."""
    bench = Bench(tmp_path / "campaign")
    bench.run()
    with bench.open() as campaign:
        text = page.render(summary(campaign, None), [], None, []).decode()
    assert "No conversation has an outcome yet." in text
    assert "Nothing is done yet." in text
    assert "No data key was made." in text
    assert "<figure>" not in text


def test_the_line_ends_at_the_top_right(tmp_path: Path) -> None:
    """All that is done is the height of the picture; stretches are of equal width."""
    bench = Bench(tmp_path / "campaign")
    bench.run()
    points = [Point(f"2026-05-09T00:00:0{n}Z", done, 0) for n, done in enumerate([25, 50, 100])]
    with bench.open() as campaign:
        text = page.render(summary(campaign, None), points, None, []).decode()
    assert 'points="0.0,240.0 333.3,180.0 666.7,120.0 1000.0,0.0"' in text
