"""Writes results to standard output: for people, as one JSON document, or as JSON Lines.

A reader that goes away (a closed pipe) ends the writing, never the work. Text for people is made printable first:
identifiers come from outside and must not steer a terminal.
"""

import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

import click

from migrator import __version__
from migrator.cli.options import OutputFormat
from migrator.cli.streams import forget
from migrator.core.errors import UsageError

EVENTS_SCHEMA = "migrator.events/1"
_COLORS: dict[str, dict[str, Any]] = {
    "ok": {"fg": "green"},
    "warn": {"fg": "yellow"},
    "fail": {"fg": "red", "bold": True},
    "mismatch": {"fg": "red", "bold": True},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A result, ready to be shown: the document for programs, the lines for people."""

    document: dict[str, Any]
    lines: Sequence[str]


class TableLine(str):
    """A line of a table. It knows how wide the table is, and its cells by header (none: it is the line of headers)."""

    __slots__ = ("cells", "widest")
    widest: int
    cells: Sequence[tuple[str, str]]

    def __new__(cls, text: str, *, widest: int, cells: Sequence[tuple[str, str]]) -> "TableLine":
        """A text that remembers."""
        line = super().__new__(cls, text)
        line.widest = widest
        line.cells = cells
        return line

    def record(self) -> Iterator[str]:
        """The same below each other, for a terminal that is too narrow for the table."""
        width = max((len(header) for header, _ in self.cells), default=0)
        yield from (f"{header:{width}}  {cell}" for header, cell in self.cells if cell)
        if self.cells:
            yield ""


class Listing(Protocol):
    """Takes the entries of a long result one by one."""

    def add(self, entry: dict[str, Any], *lines: str) -> bool:
        """Show one more; False: nobody reads any more."""
        ...


class Output:
    """Standard output in one of three forms. `columns`: of the terminal, if it is one.

    A line for people is written as a line, however long: the terminal breaks it where it ends, and an id that is copied
    from there is whole. Only tables that are too wide are laid out anew.
    """

    def __init__(
        self, form: OutputFormat, *, color: bool, columns: int | None = None, stream: TextIO | None = None
    ) -> None:
        self.form = form
        self.color = color
        self._columns = columns
        self._stream = stream if stream is not None else sys.stdout
        self._open = True
        self._introduced = False

    def result(self, view: View) -> None:
        """The result of a command."""
        if self.form == "human":
            self._write_lines(view.lines)
        elif self.form == "json":
            self._write(_json(view.document))
        else:
            self.event("summary", view.document)

    def event(self, kind: str, document: dict[str, Any]) -> bool:
        """One line of JSON Lines; nothing in the other forms. False: nobody reads any more."""
        if self.form != "jsonl":
            return self._open
        if not self._introduced:
            self._introduced = True
            self._write(_json({"type": "version", "schema": EVENTS_SCHEMA, "migrator": __version__}))
        return self._write(_json({"type": kind, **document}))

    def text(self, *lines: str) -> bool:
        """Lines for people alone."""
        return self._write_lines(lines) if self.form == "human" else self._open

    def control(self, sequence: str) -> bool:
        """A control sequence for a terminal that text for people is shown on; never made of anything from outside."""
        return self._write(sequence, end="") if self.form == "human" else self._open

    def raw(self, pieces: Iterable[bytes]) -> None:
        """Bytes of a format of their own, exactly as they are, whatever form was asked for."""
        with self._contained():
            for piece in pieces:
                self._stream.buffer.write(piece)
            self._stream.flush()

    @contextmanager
    def listing(self, schema: str, member: str, kind: str) -> Iterator[Listing]:
        """A long result, entry by entry; never held in memory.

        In JSON: one document with the entries under `member`; in JSON Lines: events of that `kind`, then a summary.
        """
        listing = _Listing(self, f'{{"schema":{json.dumps(schema)},{json.dumps(member)}:[', kind)
        yield listing
        if self.form == "json":
            self._write("]}" if listing.count else f"{listing.opening}]}}")
        self.event("summary", {"schema": schema, "entries": listing.count})

    def entry(self, kind: str, document: dict[str, Any], lines: Sequence[str], *, before: str) -> bool:
        """One entry of a listing; `before`: what leads to it in a JSON document."""
        if self.form == "human":
            return self._write_lines(lines)
        if self.form == "json":
            return self._write(before + _json(document), end="")
        return self.event(kind, document)

    def _write_lines(self, lines: Sequence[str]) -> bool:
        return all(self._write(self._colored(printable(part))) for line in lines for part in self._fitting(line))

    def _fitting(self, line: str) -> Iterable[str]:
        narrow = self._columns is not None and isinstance(line, TableLine) and line.widest > self._columns
        return line.record() if narrow and isinstance(line, TableLine) else [line]

    def _colored(self, line: str) -> str:
        """A line's first word decides its colour, so that no colour codes pass through texts."""
        word = line.split(" ", 1)[0]
        return line.replace(word, click.style(word, **_COLORS[word]), 1) if self.color and word in _COLORS else line

    def _write(self, text: str, end: str = "\n") -> bool:
        if self._open:
            with self._contained():
                self._stream.write(text + end)
                self._stream.flush()
        return self._open

    @contextmanager
    def _contained(self) -> Iterator[None]:
        """A reader that is gone ends the writing; a full disk is an error that says what was done."""
        try:
            yield
        except BrokenPipeError:
            self._open = False
            forget(self._stream)
        except OSError as error:
            self._open = False
            forget(self._stream)
            raise UsageError(
                f"the result can't be written to standard output: {error.strerror}",
                hint="give it somewhere to go, and ask again",
                changed="what the command does was done",
            ) from None


class _Listing:
    """The document is opened with its first entry: what fails before that leaves no half of one."""

    def __init__(self, output: Output, opening: str, kind: str) -> None:
        self._output = output
        self._kind = kind
        self.opening = opening
        self.count = 0

    def add(self, entry: dict[str, Any], *lines: str) -> bool:
        """Show one more; False: nobody reads any more."""
        self.count += 1
        return self._output.entry(self._kind, entry, lines, before=self.opening if self.count == 1 else ",\n")


def printable(text: str) -> str:
    """Text that a terminal shows as it is: control characters and lone surrogates become escapes.

    Spaces of any width stay, and the joiners that scripts are written with; what turns the direction of text does not.
    """
    if text.isprintable():
        return text
    return "".join(c if _shown(c) else c.encode("unicode_escape").decode() for c in text)


def _shown(character: str) -> bool:
    return character.isprintable() or character in "\u200c\u200d" or unicodedata.category(character) == "Zs"


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)
