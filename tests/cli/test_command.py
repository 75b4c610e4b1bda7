"""Tests of migrator.cli.command: global options everywhere, help that ends with exit statuses."""

import click
import pytest

from migrator.cli.command import MEANINGS
from migrator.core.errors import ExitStatus, MigratorError
from tests.cli.running import Program, every_command

COMMANDS = dict(every_command())


def test_every_exit_status_has_its_meaning() -> None:
    """None is left out, none is invented."""
    assert set(MEANINGS) == set(ExitStatus)


def test_every_status_of_the_program_is_some_commands() -> None:
    """The root's help lists what its commands may end with, and that is all there is."""
    below = {status for name, c in COMMANDS.items() if name != "migrator" for status in getattr(c, "statuses", ())}
    assert set(getattr(COMMANDS["migrator"], "statuses", ())) == set(ExitStatus) == below


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_its_exit_statuses(name: str, program: Program) -> None:
    """Each with its number and meaning, and nothing after."""
    done = program(*name.split()[1:], "--help")
    assert done.status == 0
    _, found, tail = done.out.partition("Exit status:")
    assert found
    statuses = sorted(set(getattr(COMMANDS[name], "statuses", ())))
    assert [int(line.split()[0]) for line in tail.splitlines() if line.strip()[:1].isdigit()] == statuses
    assert all(MEANINGS[status].split(":")[0] in tail for status in statuses)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_global_options_once(name: str, program: Program) -> None:
    """And says so in its help."""
    out = program(*name.split()[1:], "--help").out
    assert out.count("Global options:") == 1
    for option in (
        "--config",
        "--output",
        "--log-format",
        "--log-level",
        "--color",
        "--no-input",
        "--now",
        "--version",
    ):
        assert option in out.split("Global options:")[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_in_a_sentence(name: str) -> None:
    """The first sentence of the help fits into the list of commands."""
    text = COMMANDS[name].get_short_help_str(limit=200)
    assert text.rstrip(".")
    assert len(text) < 120


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help(name: str) -> None:
    """Also the obvious ones."""
    silent = [p.name for p in COMMANDS[name].params if isinstance(p, click.Option) and not p.help]
    assert not silent


def test_every_error_ends_in_a_documented_status() -> None:
    """The tree of errors knows no other statuses than the table."""

    def tree(kind: type[MigratorError]) -> list[type[MigratorError]]:
        return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]

    assert {kind.exit_status for kind in tree(MigratorError)} <= set(MEANINGS)
