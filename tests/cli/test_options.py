"""Tests of migrator.cli.options."""

from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from migrator.cli.options import DURATION, MOMENT, NUMBER_OR_PERCENT, PERCENT
from migrator.cli.session import Session
from tests.cli.running import Program


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("8h", 28800), ("2d", 172800)])
def test_durations(text: str, seconds: float) -> None:
    """Seconds unless a unit says otherwise."""
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "1.5h", "1 h", "1w", "٣", "9" * 10, "999999999d0"])
def test_no_durations(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(click.BadParameter):
        DURATION.convert(text, None, None)


def test_moments_are_in_utc() -> None:
    """Whatever their offset."""
    assert MOMENT.convert("2026-05-08T02:00:00+02:00", None, None) == datetime(2026, 5, 8, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-05-08", "2026-05-08T00:00:00", "now", "1778198400"])
def test_no_moments(text: str) -> None:
    """A time without its offset is several times."""
    with pytest.raises(click.BadParameter):
        MOMENT.convert(text, None, None)


@pytest.mark.parametrize(("text", "number"), [("5%", 5), ("100%", 100), ("0.01%", 0.01)])
def test_percentages(text: str, number: float) -> None:
    """Over nothing, up to all."""
    assert PERCENT.convert(text, None, None) == number


@pytest.mark.parametrize("text", ["0%", "101%", "5", "-5%", "%", "1e1%"])
def test_no_percentages(text: str) -> None:
    """A sample of nothing proves nothing."""
    with pytest.raises(click.BadParameter):
        PERCENT.convert(text, None, None)


@pytest.mark.parametrize("text", ["25", "1%", "0"])
def test_numbers_or_percentages(text: str) -> None:
    """They stay text: what they are a share of is known later."""
    assert NUMBER_OR_PERCENT.convert(text, None, None) == text


def test_no_number_or_percentage() -> None:
    """A share of what?"""
    with pytest.raises(click.BadParameter):
        NUMBER_OR_PERCENT.convert("some", None, None)


def test_global_options_work_before_and_after_the_command(program: Program, folder: Path) -> None:
    """And in between, for a command in a group."""
    program("init", folder / "a")
    config = str(folder / "a" / "migrator.toml")
    calls = [
        ("--config", config, "-o", "json", "config", "show"),
        ("config", "--config", config, "-o", "json", "show"),
        ("config", "show", "--config", config, "-o", "json"),
        ("-o", "jsonl", "config", "show", "-o", "json", "--config", config),
    ]
    documents = [program(*call).json for call in calls]
    assert all(document == documents[0] for document in documents)


def test_a_flag_beats_the_environment(program: Program, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the flag stands."""
    program("init")
    monkeypatch.setenv("MIGRATOR_OUTPUT", "jsonl")
    assert program("config", "show").events[0]["type"] == "version"
    assert program("config", "show", "-o", "json").json["schema"] == "migrator.config/1"
    assert (folder / "migrator.toml").exists()


def test_no_color_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR counts unless colours are asked for outright."""
    session = Session()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert session.color(True)
    assert not session.color(False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not session.color(True)
    session.options.color = "always"
    assert session.color(False)
    session.options.color = "never"
    assert not session.color(True)


def test_the_version_is_told_before_anything_is_read(program: Program, folder: Path) -> None:
    """No configuration is needed for it."""
    done = program("--version")
    assert (done.status, done.out.split()[0]) == (0, "migrator")
    assert not list(folder.iterdir())
