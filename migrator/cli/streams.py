"""The standard streams as they have to be before anything else happens: all three open, and able to show any text."""

import os
import sys
from typing import Final, TextIO

_HELD: Final = {0: ("stdin", os.O_RDWR), 1: ("stdout", os.O_RDONLY), 2: ("stderr", os.O_WRONLY)}


def prepare() -> None:
    """Fill the places of closed streams, and let text that a terminal's encoding lacks show as escapes.

    A file that is opened later must not get the number of a standard stream: what is printed would go into it. Standard
    output is filled with something that can't be written to, so that a lost result is an error. UTF-8 is not assumed:
    with `LC_ALL=de_DE.ISO-8859-1` an ellipsis is no reason to fail.
    """
    for number, (name, mode) in _HELD.items():
        if getattr(sys, name) is None:
            _hold(number, mode)
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115 - a descriptor, for the life of the process
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _hold(number: int, mode: int) -> None:
    """Open `/dev/null` at a number that is free; the numbers below it are taken, as they are filled in order."""
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, mode)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)


def forget(stream: TextIO) -> None:
    """Let the interpreter's last flush go nowhere instead of complaining."""
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
    except (OSError, ValueError):
        return
