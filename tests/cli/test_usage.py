"""Errors of the command line itself, and that every error of the tree has what an operator needs."""

import pytest

from migrator.core.errors import ConfigError, MigratorError
from tests.cli.running import Program

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        ("plann", "`migrator` has no command 'plann'; the nearest known one is plan"),
        ("notify stats", "`migrator notify` has no command 'stats'; the nearest known one is status"),
        ("xyzzy", "`migrator` has no command 'xyzzy'"),
        ("plan --sav p", "`migrator plan` has no option --sav; the nearest known one is --save"),
        ("notify", "`migrator notify` needs a command"),
        ("execute", "`migrator execute` needs PLAN"),
        ("read x", "`migrator read` needs --reason"),
        ("status -o xml", "--output: 'xml' is not one of 'human', 'json', 'jsonl'"),
        ("exports import nowhere", "PATH: path 'nowhere' does not exist"),
        ("plan --save", "option '--save' requires an argument"),
        ("config show extra", "got unexpected extra argument (extra)"),
        ("verify --sample 0%", "--sample: '0%' is not a percentage such as 5%"),
    ],
)
def test_usage_errors_are_said_like_all_others(typed: str, error: str, program: Program) -> None:
    """In our words, with a hint, and what was changed; the help of a group comes before."""
    done = program(*typed.split())
    first, hint, changed = done.err.splitlines()[-3:]
    assert (done.status, done.out, first, changed) == (2, "", f"migrator: error: {error}", "nothing was changed")
    assert hint.startswith("hint: ")
    assert "--help" in hint


def test_a_key_of_the_configuration_that_is_misspelt(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest known one is named, wherever the key stands."""
    program("init")
    monkeypatch.setenv("MIGRATOR_EXECUTION_WORKER", "2")
    done = program("status")
    assert (done.status, "the nearest known one is 'MIGRATOR_EXECUTION_WORKERS'" in done.err) == (2, True)


def test_every_error_has_a_hint() -> None:
    """Its own, or the usual one of its kind."""

    def tree(kind: type[MigratorError]) -> list[type[MigratorError]]:
        return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]

    for kind in tree(MigratorError):
        assert kind.usual_hint, kind
    assert ConfigError("what").hint == ConfigError.usual_hint
    assert ConfigError("what", hint="do this").hint == "do this"
    assert ConfigError("what").changed
