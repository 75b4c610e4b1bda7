"""The commands for the words of notices."""

from pathlib import Path

import pytest

from migrator.notices.kinds import Audience
from tests.cli import campaigns
from tests.cli.campaigns import Templates
from tests.cli.running import Program
from tests.notices.support import PLAIN


@pytest.fixture
def campaign(templates: Templates, folder: Path) -> Path:
    """A campaign whose notices were sent."""
    return templates.copy(None, folder)


@pytest.mark.usefixtures("campaign", "today")
def test_templates_that_are_shipped_are_clean(program: Program) -> None:
    """`lint` says how many it looked at, and ends with 0."""
    done = program("notify", "lint", "-o", "json")
    assert (done.status, done.json["schema"], done.json["ok"]) == (0, "migrator.notice_lint/1", True)
    assert done.json["templates"] == len(program("notify", "templates", "-o", "json").json["templates"]) == 64


@pytest.mark.usefixtures("today")
def test_findings_name_file_and_line(program: Program, campaign: Path) -> None:
    """All of them, in all files, also in one that can't be read; nothing is sent meanwhile."""
    path = campaign / "migrator.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("[notify]\n", '[notify]\ntemplates = "own"\n'))
    own = campaign / "own"
    own.mkdir()
    (own / "cutover.3.en.txt").write_text(PLAIN + "\nGreat news!\nhttps://example.org/?token=1\n")
    (own / "cutover.3.de.txt").write_text("Subject: S\n\n{{ nothing }}\n")
    done = program("notify", "lint")
    assert done.status == 2
    assert "own/cutover.3.en.txt:23: promotion: " in done.out
    assert "own/cutover.3.en.txt:24: login_link: " in done.out
    assert "own/cutover.3.de.txt:3: template: there is no variable 'nothing'" in done.out
    found = program("notify", "lint", "-o", "json").json
    assert {(finding["line"], finding["rule"]) for finding in found["findings"]} >= {(23, "promotion"), (3, "template")}
    (own / "cutover.3.de.txt").unlink()
    sent = program("notify", "send")
    assert sent.status == 2
    assert "notify lint" in sent.err


@pytest.mark.usefixtures("today")
def test_copies_to_change(program: Program, campaign: Path) -> None:
    """One notice at a time, as its next version, in every language."""
    done = program("notify", "templates", "--notice", "reminder", "--save", campaign / "own")
    assert done.status == 0
    assert len(list((campaign / "own").glob("reminder.2.*.txt"))) == done.out.count("to be changed: ") == 8
    assert program("notify", "templates", "--notice", "reminder", "--save", campaign / "own").status == 2
    assert program("notify", "templates", "--save", campaign / "own").status == 2
    assert program("notify", "templates", "--notice", "nothing").status == 2


@pytest.mark.usefixtures("today")
def test_a_preview(program: Program, campaign: Path) -> None:
    """Any notice, audience or account; the HTML goes into a file, the text to standard output."""
    page = campaign / "page.html"
    done = program("notify", "preview", "--locale", "ar", "--timezone", "Asia/Riyadh", "--html", page, "-o", "json")
    assert (done.json["locale"], done.json["html"]) == ("ar", str(page))
    assert 'dir="rtl"' in page.read_text(encoding="utf-8")
    texts = {program("notify", "preview", "--audience", audience.value).out for audience in Audience}
    assert len(texts) == 3
    assert "Number of the record" in program("notify", "preview", "--notice", "received").out
    account = campaigns.ask(campaign, "SELECT account_id FROM migrator_notice WHERE state = 'sent'")
    assert program("notify", "preview", "--account", account).out.startswith("Subject: ")
    assert program("notify", "preview", "--account", account, "--locale", "en").status == 2
    assert program("notify", "preview", "--account", "nobody").status == 2
    assert program("notify", "preview", "--html", campaign).status == 2
