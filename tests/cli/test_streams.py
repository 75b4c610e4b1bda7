"""The program among others: closed streams, pipes that end, terminals that know no Unicode or are narrow.

Each call is a child of the test's process, which has loaded everything: a new process would take seconds to.
"""

import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from migrator.cli.main import main
from tests.cli.transcripts.playing import Stages

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # children only run the program


@pytest.fixture
def campaign(folder: Path, stages: Stages, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A campaign that was begun, in the folder that is worked in."""
    assert folder.is_dir()
    monkeypatch.chdir(stages.enter("begun"))
    return stages.folder


def child(arguments: tuple[str, ...], streams: Callable[[], dict[str, Any]]) -> None:
    """Be the program: with the streams that Python would have made of its descriptors. Never returns."""
    status = 99
    try:
        for name, stream in streams().items():
            setattr(sys, name, stream)
        sys.argv = ["migrator", *arguments]
        main()
    except SystemExit as ended:
        status = int(ended.code or 0)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(status)


def call(
    *arguments: str, encoding: str = "utf-8", closed: tuple[int, ...] = (), deaf: bool = False
) -> tuple[int, str, str]:
    """The program with pipes, some of which may be closed, or (`deaf`) read by nobody. Status, output, errors."""
    pipes = {number: os.pipe() for number in (1, 2)}
    pid = os.fork()
    if pid == 0:
        for number, (_, write) in pipes.items():
            os.dup2(write, number)
        for number in closed:
            os.close(number)
        if deaf:
            os.close(pipes[1][0])
        names = {0: "stdin", 1: "stdout", 2: "stderr"}
        child(
            arguments,
            lambda: {
                name: None if number in closed else open(number, "r" if number == 0 else "w", encoding=encoding)  # noqa: PTH123, SIM115 - a descriptor
                for number, name in names.items()
            },
        )
    if deaf:
        os.close(pipes[1][0])
    for _, write in pipes.values():
        os.close(write)
    texts = dict.fromkeys(pipes, "")
    for number, (read, _) in pipes.items():
        if not (deaf and number == 1):
            with open(read, encoding=encoding) as stream:  # noqa: PTH123 - a descriptor
                texts[number] = stream.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), texts[1], texts[2]


def on_a_terminal(columns: int, *arguments: str, typed: bytes = b"", **environment: str) -> tuple[int, str]:
    """The program on a terminal of that width; its exit status and all that was on the screen."""
    pid, master = pty.fork()
    if pid == 0:
        for name in ("COLUMNS", "NO_COLOR"):
            os.environ.pop(name, None)
        os.environ.update({"TERM": "xterm", **environment})
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        child(arguments, lambda: {"stdin": open(0), "stdout": open(1, "w"), "stderr": open(2, "w")})  # noqa: SIM115 - descriptors
    if typed:
        os.write(master, typed)
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # the last one who had the terminal open is gone
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode().replace("\r\n", "\n")


@pytest.mark.usefixtures("campaign")
def test_closed_streams_are_no_bug() -> None:
    """Without input nothing is asked; a result that goes nowhere is an error; without any the status still tells."""
    assert call("config", "show", closed=(0,))[::2] == (0, "")
    status, _, errors = call("config", "show", closed=(1,))
    assert status == 2
    assert errors.startswith("migrator: error: the result can't be written to standard output")
    assert call("status", closed=(0, 1, 2)) == (2, "", "")


@pytest.mark.usefixtures("campaign")
@pytest.mark.parametrize("command", ["config show", "--help", "plan --help", "--version"])
def test_a_pipe_that_ends_is_no_bug(command: str) -> None:
    """Neither for results nor for help."""
    assert call(*command.split(), deaf=True) == (0, "", "")


@pytest.mark.usefixtures("campaign")
def test_any_text_can_be_shown_anywhere() -> None:
    """What an encoding lacks becomes an escape: Japanese in Latin-1."""
    status, shown, errors = call("notify", "preview", "--locale", "ja", encoding="latin-1")
    assert (status, errors) == (0, "")
    assert "\\u30a8" in shown


@pytest.mark.usefixtures("campaign")
@pytest.mark.parametrize("columns", [40, 60])
def test_tables_on_a_narrow_terminal(columns: int) -> None:
    """A table that does not fit becomes records; a long digest stays whole, so that it can be copied."""
    status, shown = on_a_terminal(columns, "notify", "templates", "--notice", "cutover")
    assert status == 0
    records = [record for record in shown.split("\n\n") if record]
    assert len(records) >= 8
    assert all(len(record.split("sha256     ")[1].strip()) == 64 for record in records)


VERIFY = ("audit", "verify", "-q")


@pytest.mark.usefixtures("campaign")
def test_colours_on_a_terminal() -> None:
    """Where it can and nobody minds: not with NO_COLOR, not on a dumb one."""
    assert "\x1b[" in on_a_terminal(80, *VERIFY)[1]
    assert "\x1b[" not in on_a_terminal(80, *VERIFY, NO_COLOR="1")[1]
    assert "\x1b[" not in on_a_terminal(80, *VERIFY, TERM="dumb")[1]


@pytest.mark.usefixtures("campaign")
def test_a_question_can_be_forbidden_and_left() -> None:
    """With --no-input none is asked; Ctrl-D at one interrupts."""
    command = ("audit", "erase", "--account", "u1")
    status, shown = on_a_terminal(80, *command, "--no-input")
    assert (status, "Type the campaign" in shown) == (12, False)
    status, shown = on_a_terminal(80, *command, typed=b"\x04")
    assert (status, "Type the campaign" in shown) == (130, True)
