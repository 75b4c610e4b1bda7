"""How a help page is laid out: it fits the terminal, from 40 columns up to 80, and never breaks a command line."""

import shutil
from collections.abc import Iterable, Sequence
from typing import Final

import click
from click.formatting import wrap_text

Example = tuple[str, str]
"""A command line, and what it does."""

WIDEST: Final = 80
_NARROWEST: Final = 38


class Page(click.HelpFormatter):
    """Click's formatter, for narrower terminals than it is made for."""

    def __init__(self, *_arguments: object, **_settings: object) -> None:
        columns = shutil.get_terminal_size().columns
        super().__init__(width=max(min(columns, WIDEST) - 1, _NARROWEST))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 24, col_spacing: int = 2) -> None:
        """A term takes a third of the line at most; a longer one gets a line of its own."""
        super().write_dl(rows, min(col_max, self.width // 3), col_spacing)

    def write_examples(self, examples: Sequence[Example]) -> None:
        """Each command line whole, so that it can be copied, and what it does below it."""
        for line, does in examples:
            self.write(f"{'':{self.current_indent}}{line}\n")
            indent = " " * (self.current_indent + 4)
            self.write(wrap_text(does, self.width, indent, indent) + "\n")


class PageContext(click.Context):
    """A context whose help pages are such pages."""

    formatter_class = Page
