"""Calls the program in this process, as a shell would."""

import json
from dataclasses import dataclass
from typing import Any

import click
import pytest

from migrator.cli.command import Group
from migrator.cli.main import cli, run


@dataclass(frozen=True, slots=True)
class Done:
    """What a call left: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Standard output as JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Program:
    """The program at a fixed place; every call's exit status must be one that the command's help names."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Done:
        texts = [str(argument) for argument in arguments]
        self._capsys.readouterr()
        status = run(texts)
        captured = self._capsys.readouterr()
        assert status in documented(texts), f"{texts} ended with {status}, which its --help does not name"
        assert "Traceback" not in captured.err
        return Done(status, captured.out, captured.err)


def documented(arguments: list[str]) -> set[int]:
    """The exit statuses in the help of the command that these arguments name."""
    command: click.Command = cli
    for word in arguments:
        if isinstance(command, click.Group) and word in command.commands:
            command = command.commands[word]
    return {int(status) for status in getattr(command, "statuses", ())}


def every_command() -> list[tuple[str, click.Command]]:
    """Each command by its full name, groups too."""
    found: list[tuple[str, click.Command]] = []

    def walk(name: str, command: click.Command) -> None:
        found.append((name, command))
        if isinstance(command, Group):
            for child, below in sorted(command.commands.items()):
                walk(f"{name} {child}", below)

    walk("migrator", cli)
    return found
