"""Draws a block of lines again and again: in place on a terminal, one below the other elsewhere."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Final

from migrator.cli.output import Output, printable

_UP: Final = "\x1b[{}A\x1b[J"
"""So many lines up, and everything from there on gone (ECMA-48: CUU, ED)."""


class Screen:
    """Where the same block is shown many times. `size` of the terminal is asked each time: windows change."""

    def __init__(self, output: Output, size: Callable[[], os.terminal_size | None]) -> None:
        self._output = output
        self._size = size
        self._shown: list[str] = []

    @property
    def in_place(self) -> bool:
        """Whether there is a terminal to draw on."""
        return self._size() is not None

    def show(self, lines: Sequence[str]) -> bool:
        """Show the block in the place of the one before; False: nobody reads any more."""
        size = self._size()
        if size is None:
            return self._output.text(*lines, "")
        self.clear()
        fitting: list[str] = []
        for line in lines:  # what is pushed out of the window can't be drawn over
            if _rows([*fitting, line], size.columns) >= size.lines:
                break
            fitting.append(line)
        self._shown = fitting
        return self._output.text(*fitting)

    def clear(self) -> None:
        """Take away what is shown, so that something else can take its place."""
        size = self._size()
        if size is not None and self._shown:
            self._output.control(_UP.format(min(_rows(self._shown, size.columns), size.lines)))
        self._shown = []


def _rows(lines: Sequence[str], columns: int) -> int:
    """Rows of the terminal that lines take, long ones more than one."""
    return sum(max(1, math.ceil(len(printable(line)) / max(1, columns))) for line in lines)
