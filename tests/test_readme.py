"""The README is held to the code: its commands exist, its tables are the program's."""

import re
import tomllib
from pathlib import Path

import click

from migrator.cli.command import MEANINGS, Group
from tests.cli.running import every_command

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = dict(every_command())


def _command_of(line: str) -> tuple[click.Command, str]:
    """The command that a line of a console block names, and what follows its name."""
    words = line.split("#")[0].split()
    name = words.pop(0)
    while words and isinstance(COMMANDS[name], Group) and f"{name} {words[0]}" in COMMANDS:
        name = f"{name} {words.pop(0)}"
    return COMMANDS[name], " ".join(words)


def test_the_table_of_commands_is_complete() -> None:
    """Every command that does something stands in it, and nothing else."""
    rows = re.findall(r"^\| `(migrator [^`]*)` \|", README, re.MULTILINE)
    named = [re.sub(r" [\[A-Z].*", "", row) for row in rows]
    assert sorted(named) == sorted(name for name, command in COMMANDS.items() if not isinstance(command, Group))


def test_the_table_of_exit_statuses_is_the_programs() -> None:
    """Number by number, word by word."""
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", README, re.MULTILINE)
    assert dict(rows) == {str(int(status)): meaning for status, meaning in MEANINGS.items()}


def test_the_commands_of_the_tour_parse() -> None:
    """Their names and options exist."""
    lines = [line for line in README.splitlines() if line.startswith("migrator ")]
    assert len(lines) > 10
    for line in lines:
        command, rest = _command_of(line)
        assert not isinstance(command, Group), line
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, line


def test_two_commands_are_enough() -> None:
    """One for the demo and one for the tests; each makes its own environment, and `.ci/run` finds the second."""
    lines = [line for line in README.splitlines() if line.startswith("python3 ")]
    assert len(lines) == 2
    assert lines[0].endswith("migrator demo")
    assert "pytest" in lines[1]
    assert all(line.startswith("python3 -m venv .venv && ") for line in lines)


def test_the_versions_of_python_are_those_of_the_package() -> None:
    """What the README says is what pip checks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11,<3.14"
    assert "Python 3.11 to 3.13" in README
