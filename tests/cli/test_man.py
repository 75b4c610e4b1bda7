"""Man pages: one for each command, from the texts of its help; troff takes them without a warning."""

import shutil
import subprocess
from datetime import date
from pathlib import Path

import click
import pytest

from migrator.cli.formatting import PageContext
from migrator.cli.main import cli
from migrator.cli.man import pages
from migrator.cli.man.troff import ManPage, escaped
from migrator.config.keys import Keys
from tests.cli.running import Program, every_command

SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "FILES", "ENVIRONMENT", "SEE ALSO"]
DAY = date(2026, 5, 9)


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """All pages by path."""
    return dict(pages(PageContext(cli, info_name="migrator"), DAY))


def test_every_command_has_a_page(made: dict[str, str]) -> None:
    """Groups too; and the configuration has one."""
    wanted = {f"man1/{name.replace(' ', '-')}.1" for name, _ in every_command()}
    assert set(made) == {*wanted, "man5/migrator.toml.5"}


def test_a_page_has_its_sections(made: dict[str, str]) -> None:
    """In the order that man-pages(7) asks for, with examples where the command has some."""
    for path, text in made.items():
        if path.startswith("man1/"):
            found = [line.split('"')[1] for line in text.splitlines() if line.startswith(".SH ")]
            assert [title for title in found if title not in ("EXAMPLES", "COMMANDS")] == SECTIONS, path
    assert '.SH "EXAMPLES"' in made["man1/migrator-plan.1"]
    assert "\\fB\\-\\-detailed\\-exitcode\\fR" in made["man1/migrator-plan.1"]


def test_the_configuration_has_every_setting(made: dict[str, str]) -> None:
    """With its default, and what the example says of it."""
    text = made["man5/migrator.toml.5"]
    for dotted in Keys().known():
        assert f".TP\n\\fB{dotted.partition('.')[2]}\\fR\n" in text, dotted
    assert "56 \\fR" not in text
    assert "history may be opened" in " ".join(text.split())


def test_references_lead_somewhere(made: dict[str, str]) -> None:
    """Each page that SEE ALSO names is there."""
    names = {Path(path).name for path in made}
    for path, text in made.items():
        for word in text.partition('.SH "SEE ALSO"')[2].replace("\\-", "-").replace("\\fB", " ").split():
            page, found, section = word.partition("(")
            if found:
                assert f"{page}.{section[0]}" in names, (path, word)


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff here")
def test_groff_has_nothing_to_say(made: dict[str, str]) -> None:
    """All warnings on; the lines are long enough for the longest address."""
    for path, text in made.items():
        done = subprocess.run(
            ["groff", "-man", "-ww", "-z", "-Tutf8", "-rLL=120n"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), path


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="no mandoc here")
def test_mandoc_has_nothing_to_say(made: dict[str, str], tmp_path: Path) -> None:
    """From warnings on: what is left are opinions about style."""
    for path, text in made.items():
        (tmp_path / path.replace("/", "-")).write_text(text, encoding="ascii")
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", *sorted(map(str, tmp_path.iterdir()))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == ""


def test_no_text_becomes_a_macro() -> None:
    """Backslashes, dots and quotes at the beginning of a line, and what is not ASCII."""
    page = ManPage("x", 1, source="x 1", made_on=DAY, does="y")
    page.paragraph(".TH is no macro, 'nor this, \\fBnor that …")
    page.listing(".so /etc/passwd\n'so x\n\\*x")
    text = page.text()
    assert text.isascii()
    assert "\n.so" not in text
    assert "\n'so" not in text
    assert "\\&.TH is" in text
    assert escaped("\\-`é") == "\\e\\-\\(ga\\[u00E9]"


def test_pages_are_for_everybody(program: Program, folder: Path) -> None:
    """Unlike all else that this program writes; a place that can't be written to is an error with a hint."""
    assert program("completion", "man", "share/man", "-o", "json").json["pages"]
    page = folder / "share" / "man" / "man1" / "migrator.1"
    assert page.stat().st_mode & 0o777 == 0o644
    assert page.parent.stat().st_mode & 0o005 == 0o005
    (folder / "file").touch()
    done = program("completion", "man", "file/man")
    assert (done.status, "hint: name a folder" in done.err) == (2, True)


def test_a_build_can_be_repeated(program: Program, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SOURCE_DATE_EPOCH is the day of the pages."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1778284800")
    program("completion", "man", "man")
    text = (folder / "man" / "man1" / "migrator.1").read_text(encoding="ascii")
    assert text.startswith('.TH "MIGRATOR" "1" "2026-05-09" ')


def test_the_commands_of_the_tree_are_all_ours() -> None:
    """Pages are made for Command and Group; others would have neither statuses nor examples."""
    for name, command in every_command():
        assert isinstance(command, click.Command)
        assert hasattr(command, "examples"), name
