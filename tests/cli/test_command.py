"""Tests of migrator.cli.command: global options everywhere, help that ends with exit statuses."""

import shlex
from pathlib import Path

import click
import pytest

from migrator.cli.command import MEANINGS, Command, Group
from migrator.cli.formatting import PageContext
from migrator.cli.session import Session
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


LEAVES = [name for name, command in COMMANDS.items() if not isinstance(command, click.Group)]


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_examples_that_parse(name: str, folder: Path) -> None:
    """Each is of this command, and click takes its arguments: an option that is renamed takes its examples along."""
    command = COMMANDS[name]
    assert isinstance(command, Command)
    assert command.examples, "give it examples=((command line, what it does), …)"
    for line, does in command.examples:
        assert does
        assert not does.endswith(".")
        words = shlex.split(line.removeprefix('eval "$(').removesuffix(')"').partition(" > ")[0])
        assert " ".join(words[: len(name.split())]) == name
        assert parsed(words[1:], folder).command is command


def parsed(words: list[str], folder: Path) -> click.Context:
    """The context of the command that the words name, arguments and options taken, nothing called."""
    ctx = COMMANDS["migrator"].make_context("migrator", list(words), obj=Session())
    while isinstance(ctx.command, click.Group):
        rest = [*ctx._protected_args, *ctx.args]
        name, command, rest = ctx.command.resolve_command(ctx, rest)
        assert command is not None
        make_files(command, rest, folder)
        ctx = command.make_context(name, rest, parent=ctx)
    return ctx


def make_files(command: click.Command, words: list[str], folder: Path) -> None:
    """What an example reads has to be there."""
    if any(isinstance(p.type, click.Path) and p.type.exists for p in command.params):
        for word in words:
            if not word.startswith("-"):
                (folder / word).mkdir(exist_ok=True) if word.endswith("/") else (folder / word).touch()


def test_an_example_that_does_not_parse_is_found(folder: Path) -> None:
    """The test above can fail."""
    with pytest.raises(click.NoSuchOption):
        parsed(["plan", "--sav", "p.json"], folder)


def test_the_help_groups_commands_by_what_somebody_wants_to_do(program: Program) -> None:
    """In the order of a campaign; each command once, whole, within 80 columns."""
    out = program("--help").out
    root = COMMANDS["migrator"]
    assert isinstance(root, Group)
    places = [out.index(f"\n{title}:\n") for title in root.sections]
    assert places == sorted(places)
    assert sorted(name for names in root.sections.values() for name in names) == sorted(root.commands)
    assert "..." not in out.split("Options:")[0].replace("[ARGS]...", "")


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_help_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what must stay whole: command lines, and words that are longer than the line."""
    monkeypatch.setenv("COLUMNS", str(columns))
    for name, command in COMMANDS.items():
        for line in command.get_help(PageContext(command, info_name=name)).splitlines():
            whole = line.startswith(("  migrator ", "  eval ")) or len(line.split()) <= 2
            assert whole or len(line) <= min(columns, 80), (name, line)
