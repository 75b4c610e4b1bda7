"""Plain text and HTML of one rendered body: the same words, so that no reader gets fewer facts than another.

The text keeps one line for a paragraph: mail programs fold it to the width that they have. In languages that are
written from right to left, and around values that are, each value stands between FSI and PDI (Unicode UAX #9), so
that a name or a date in the other direction does not turn its surroundings around; in HTML that is `<bdi>`.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from typing import Final

from babel import Locale
from jinja2 import StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from migrator.notices.language import VALUE_BEGINS, VALUE_ENDS

ROLES: Final = frozenset({"what", "default", "choices", "whose", "genuine", "about"})
"""What a section may be marked as, so that the linter can ask for it in any language."""
_ROLE: Final = re.compile(r"\[([a-z]{1,20})\]\Z")
_VALUE: Final = re.compile(f"{VALUE_BEGINS}([^{VALUE_ENDS}]*){VALUE_ENDS}")
_NOTHING: Final = Markup("")  # what it joins, it escapes
_ISOLATED: Final = Markup("<bdi>{}</bdi>")
_ISOLATE, _END_ISOLATE = "\u2068", "\u2069"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of words: the template's, or a value."""

    text: str
    is_value: bool


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, or a list of items: spans of each."""

    is_list: bool
    texts: tuple[tuple[Span, ...], ...]


@dataclass(slots=True)
class Section:
    """What stands under a heading; the first section of a notice has none."""

    role: str | None = None
    title: str | None = None
    blocks: list[Block] = field(default_factory=list)


def sections(body: str) -> list[Section]:
    """The parts of a rendered body with marks around its values."""
    found = [Section()]
    for chunk in re.split(r"\n[ \t]*\n", body):
        together: list[str] = []
        for line in chunk.split("\n"):
            title = heading(line)
            if title:
                found[-1].blocks.extend(_blocks(together))
                found.append(Section(role=title[1], title=title[0]))
                together = []
            elif line.strip():
                together.append(line)
        found[-1].blocks.extend(_blocks(together))
    return [section for section in found if section.title or section.blocks]


def heading(line: str) -> tuple[str, str | None] | None:
    """Title and role of a line `# Title [role]`; None for another line."""
    if not line.startswith(("# ", "#\t")):
        return None
    title = line[1:].strip()
    role = _ROLE.search(title)
    if role and role.start():
        return title[: role.start()].rstrip(), role[1]
    return (title, None) if title else None


def as_text(parts: Iterable[Section], locale: str) -> str:
    """The plain text."""
    isolate = is_right_to_left(locale)
    lines: list[str] = []
    for section in parts:
        if section.title:
            lines += [f"== {_plain(_spans(section.title), isolate)} ==", ""]
        for block in section.blocks:
            plain = [_plain(spans, isolate) for spans in block.texts]
            lines += [f"- {text}" for text in plain] if block.is_list else plain
            lines.append("")
    return "\n".join(lines)


def as_html(subject: str, parts: Sequence[Section], locale: str) -> str:
    """The HTML document: no picture, no link, no script, nothing from elsewhere."""
    shown = [
        (
            section.role,
            _markup(_spans(section.title or "")),
            [(block.is_list, [_markup(spans) for spans in block.texts]) for block in section.blocks],
        )
        for section in parts
    ]
    return _layout().render(subject=subject, sections=shown, locale=locale, direction=direction(locale))


def direction(locale: str) -> str:
    """`rtl` or `ltr`, as HTML has it."""
    return "rtl" if is_right_to_left(locale) else "ltr"


@lru_cache(maxsize=256)
def is_right_to_left(locale: str) -> bool:
    """Whether a language is written from right to left."""
    return Locale.parse(locale, sep="-").text_direction == "rtl"


def isolated(value: str, *, always: bool) -> str:
    """A value between FSI and PDI where it, or what is around it, runs from right to left."""
    return f"{_ISOLATE}{value}{_END_ISOLATE}" if always or _has_right_to_left(value) else value


@lru_cache(maxsize=1024)
def _has_right_to_left(value: str) -> bool:
    return any(unicodedata.bidirectional(character) in ("R", "AL") for character in value)


def _blocks(lines: list[str]) -> list[Block]:
    """Paragraphs and lists of some lines without a blank one: an item begins with a dash, and goes on indented."""
    found: list[tuple[bool, list[list[str]]]] = []
    for line in lines:
        is_item = line.startswith("- ")
        words = line[2:].strip() if is_item else line.strip()
        if found and not is_item and (not found[-1][0] or line.startswith(" ")):
            found[-1][1][-1].append(words)
        elif is_item and found and found[-1][0]:
            found[-1][1].append([words])
        else:
            found.append((is_item, [[words]]))
    return [Block(is_list, tuple(_spans(_joined(text)) for text in texts)) for is_list, texts in found]


def _joined(lines: Sequence[str]) -> str:
    """The lines of a paragraph as one; characters that are written without spaces get none between them."""
    pieces = list(lines[:1])
    for before, after in pairwise(lines):
        ends = before.rstrip(VALUE_ENDS)[-1:], after.lstrip(VALUE_BEGINS)[:1]
        together = all(end and unicodedata.east_asian_width(end) in ("W", "F") for end in ends)
        pieces += [after] if together else [" ", after]
    return "".join(pieces)


def _spans(text: str) -> tuple[Span, ...]:
    pieces = _VALUE.split(text)  # words, value, words, value, …, words
    return tuple(Span(piece, bool(i % 2)) for i, piece in enumerate(pieces) if piece)


def _plain(spans: Iterable[Span], isolate: bool) -> str:
    return "".join(isolated(span.text, always=isolate) if span.is_value else span.text for span in spans)


def _markup(spans: Iterable[Span]) -> Markup:
    """Escaped words, and values in elements of their own."""
    return _NOTHING.join(_ISOLATED.format(span.text) if span.is_value else span.text for span in spans)


@lru_cache(maxsize=1)
def _layout() -> Template:
    source = (resources.files("migrator.notices") / "layout.html").read_text(encoding="utf-8")
    environment = ImmutableSandboxedEnvironment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(source)
