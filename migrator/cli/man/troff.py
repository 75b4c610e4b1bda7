"""The little of man(7) that pages need: ASCII alone, whatever text goes in. See groff_man(7) and groff_char(7)."""

import re
import textwrap
from collections.abc import Iterable
from datetime import date
from typing import Final

_SPECIAL: Final = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}
_CODE: Final = re.compile(r"`([^`]+)`")


def escaped(text: str) -> str:
    """Text that troff shows as it is: nothing in it is markup, a hyphen stays the one that shells know."""
    line = " ".join(text.split())
    return "".join(_SPECIAL.get(c) or (c if c.isascii() else f"\\[u{ord(c):04X}]") for c in line)


class ManPage:
    """The text of a page, macro by macro."""

    def __init__(self, name: str, section: int, *, source: str, made_on: date, does: str) -> None:
        self._lines = [
            f'.TH "{escaped(name.upper())}" "{section}" "{made_on}" "{escaped(source)}" "migrator"',
            ".nh",
            ".ad l",
        ]
        self.heading("Name")
        self._lines.append(f"{escaped(name)} \\- {escaped(does)}")

    def heading(self, title: str) -> None:
        """A section."""
        self._lines.append(f'.SH "{escaped(title.upper())}"')

    def subheading(self, title: str) -> None:
        """A section of a section."""
        self._lines.append(f'.SS "{escaped(title)}"')

    def paragraph(self, text: str) -> None:
        """Prose; what stands in backquotes is bold."""
        self._break()
        self._lines += _prose(text)

    def synopsis(self, command: str, pieces: Iterable[str]) -> None:
        """How a command is called."""
        self._lines.append(" ".join([f"\\fB{escaped(command)}\\fR", *(f"\\fI{escaped(p)}\\fR" for p in pieces)]))

    def definition(self, term: str, text: str) -> None:
        """A term, and what it means below it."""
        self._lines += [".TP", f"\\fB{escaped(term)}\\fR", *(_prose(text) or ["\\&"])]

    def example(self, line: str, does: str) -> None:
        """What a command line does, and the line."""
        self._break()
        self._lines += [*_prose(does), ".PP", ".RS 4", ".EX", _verbatim(line), ".EE", ".RE"]

    def listing(self, text: str) -> None:
        """Lines that stay as they are."""
        self._lines += [".PP", ".EX", *map(_verbatim, text.splitlines()), ".EE"]

    def text(self) -> str:
        """The page."""
        return "\n".join(self._lines) + "\n"

    def _break(self) -> None:
        """A new paragraph; a heading has begun one."""
        if not self._lines[-1].startswith((".SH", ".SS")):
            self._lines.append(".PP")


def _prose(text: str) -> list[str]:
    """Lines that troff fills again; none begins like a macro."""
    shown = "".join(
        f"\\fB{escaped(piece)}\\fR" if number % 2 else _spaced(piece) for number, piece in enumerate(_CODE.split(text))
    )
    lines = textwrap.wrap(shown, 78, break_long_words=False, break_on_hyphens=False)
    return [f"\\&{line}" if line.startswith(".") else line for line in lines]


def _spaced(piece: str) -> str:
    """Prose beside something bold keeps its space."""
    shown = escaped(piece)
    return (" " if piece[:1].isspace() else "") + shown + (" " if shown and piece[-1:].isspace() else "")


def _verbatim(line: str) -> str:
    shown = "".join(_SPECIAL.get(c) or (c if c.isascii() else f"\\[u{ord(c):04X}]") for c in line)
    return f"\\&{shown}"
