"""The language of notice templates: text, `{{ variable }}` and `{% if %}`. Nothing else of Jinja2.

A template is a line `Subject: …`, a blank line, and the text. The text has headings (`# What changes [what]`, the role
of the section in brackets), paragraphs and lists (`- …`), apart by blank lines; `migrator.notices.layout` makes the
plain text and the HTML of it. What follows a line `<!doctype html>` is HTML of the template's own instead.

No loops, calls, filters, attributes or arithmetic: a template can neither run on nor grow, whoever wrote it. What is
left runs in Jinja2's sandbox, and a variable that does not exist is an error when the template is read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jinja2 import StrictUndefined, Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from migrator.core.errors import ConfigError

Value = str | bool | None

COUNTS: Final = ("days_left", "moved", "sealed", "destroyed")
"""Numbers; beside each is `<name>_form`, its CLDR plural category in the template's language."""
CHOICES: Final = frozenset({"quorum", "audience", "answer", "all_conversations", *(f"{name}_form" for name in COUNTS)})
"""What a template asks for with `{% if %}` and does not show."""
VARIABLES: Final = CHOICES | {
    "platform", "help_url", "cutover_at", "opens_at", "sealed_until", *COUNTS, "recorded_at", "valid_until",
    "record_id", "notice_id", "version", "locale", "template_sha256",
}  # fmt: skip
"""What a template may name; `migrator.notices.values` gives the values."""

MAX_TEMPLATE_BYTES: Final = 64 * 1024
MAX_RENDERED_CHARACTERS: Final = 128 * 1024
MAX_SUBJECT_CHARACTERS: Final = 200
VALUE_BEGINS, VALUE_ENDS = "\ue000", "\ue001"
"""Stand around each value in a rendered body (private use: no text has them), until a layout takes them off."""
_SUBJECT: Final = "Subject: "
_OWN_HTML: Final = re.compile(r"^<!doctype html>[ \t]*$", re.IGNORECASE | re.MULTILINE)
_ALLOWED: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If, nodes.Compare, nodes.Operand,
    nodes.And, nodes.Or, nodes.Not,
)  # fmt: skip


class FaultyTemplateError(ConfigError):
    """What is wrong with a template, and in which line of its file (0: in none of them)."""

    def __init__(self, file: str, line: int, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{file}{f', line {line}' if line else ''}: {reason}", hint=hint)
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A template with its values in it: `body` with marks around them, `html` if it has HTML of its own."""

    subject: str
    body: str
    html: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedTemplate:
    """A template that can be rendered: `file` is what errors name, `names` the variables in it."""

    subject: Template
    body: Template
    html: Template | None
    names: frozenset[str]
    file: str

    def render(self, values: Mapping[str, Value]) -> Filled:
        """Fill in the values, each as one line. Raises `FaultyTemplateError` for a result that is too long."""
        clean = {name: one_line(value) if isinstance(value, str) else value for name, value in values.items()}
        try:
            subject, body = self.subject.render(clean), self.body.render(clean)
            html = None if self.html is None else self.html.render(clean)
        except TemplateError as error:
            raise FaultyTemplateError(self.file, 0, f"it can't be rendered: {error.message}") from None
        if not subject.strip() or len(subject) > MAX_SUBJECT_CHARACTERS:
            raise FaultyTemplateError(self.file, 1, f"its subject is empty or over {MAX_SUBJECT_CHARACTERS} characters")
        if max(len(body), len(html or "")) > MAX_RENDERED_CHARACTERS:
            raise FaultyTemplateError(self.file, 0, f"rendered, it is over {MAX_RENDERED_CHARACTERS} characters")
        return Filled(subject=subject, body=body, html=None if html is None else html.rstrip() + "\n")


def one_line(value: str) -> str:
    """A value without line breaks, control characters, and what turns the direction of the text around it."""
    return _SPACES.sub(" ", _TURNS.sub("", _BREAKS.sub(" ", value))).strip(" ")


_BREAKS: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]")
_SPACES: Final = re.compile(" {2,}")
_TURNS: Final = re.compile(f"[\\u202a-\\u202e\\u2066-\\u2069{VALUE_BEGINS}{VALUE_ENDS}]")
"""Embeddings, overrides and isolates of the bidirectional algorithm, and our marks."""
_NO_TEXT: Final = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\ufeff]|" + _TURNS.pattern)


def _shown(value: object) -> object:
    """What an expression writes; a value that is not known in this case must not be written as "None"."""
    if isinstance(value, bool) or value is None:
        raise TemplateError("a value is shown that is not known in every case; put {% if … %} around it")
    return value


def _marked(value: object) -> str:
    return f"{VALUE_BEGINS}{_shown(value)}{VALUE_ENDS}"


_OPTIONS: Final = {
    "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True,
    "cache_size": 0,
}  # fmt: skip
_LINE: Final = ImmutableSandboxedEnvironment(autoescape=False, finalize=_shown, **_OPTIONS)
_BODY: Final = ImmutableSandboxedEnvironment(autoescape=False, finalize=_marked, **_OPTIONS)
_HTML: Final = ImmutableSandboxedEnvironment(autoescape=True, finalize=_shown, **_OPTIONS)


def check(source: bytes, file: str) -> CheckedTemplate:
    """Read a template. Raises `FaultyTemplateError` naming file and line."""
    head, body, html, html_line = parts(source, file)
    names: set[str] = set()
    return CheckedTemplate(
        subject=_compile(_LINE, head, file, 0, names),
        body=_compile(_BODY, body, file, 2, names),
        html=None if html is None else _compile(_HTML, html, file, html_line - 1, names),
        names=frozenset(names),
        file=file,
    )


def parts(source: bytes, file: str) -> tuple[str, str, str | None, int]:
    """Subject, text, HTML of its own if it has any, and the HTML's first line in the file."""
    text = _text(source, file)
    head, _, body = text.partition("\n\n")
    own = _OWN_HTML.search(body)
    html = body[own.start() :] if own else None
    body = body[: own.start()] if own else body
    if not head.startswith(_SUBJECT) or "\n" in head or not body.strip():
        raise FaultyTemplateError(file, 1, "it must be a line `Subject: …`, a blank line, and the text")
    return head.removeprefix(_SUBJECT), body, html, 3 + body.count("\n")


def trees(source: bytes, file: str) -> list[tuple[nodes.Template, int]]:
    """The parsed text, and HTML of its own, each with the number of lines above it."""
    _, body, html, html_line = parts(source, file)
    found = [(_BODY.parse(body), 2)]
    return found if html is None else [*found, (_HTML.parse(html), html_line - 1)]


def _text(source: bytes, file: str) -> str:
    if len(source) > MAX_TEMPLATE_BYTES:
        raise FaultyTemplateError(file, 0, f"it is over {MAX_TEMPLATE_BYTES // 1024} KiB")
    try:
        text = source.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise FaultyTemplateError(file, source[: error.start].count(b"\n") + 1, "it is not UTF-8") from None
    for number, line in enumerate(text.split("\n"), 1):
        if _NO_TEXT.search(line):
            raise FaultyTemplateError(file, number, "control characters, or a byte order mark")
    return text


def _compile(environment: ImmutableSandboxedEnvironment, part: str, file: str, above: int, names: set[str]) -> Template:
    """`above`: lines of the file above the part."""
    try:
        _check_nodes(environment, part, file, above, names)
        return environment.from_string(part)
    except TemplateError as error:
        line = above + int(getattr(error, "lineno", None) or 1)
        raise FaultyTemplateError(file, line, f"it is not a template: {error.message}") from None
    except (RecursionError, SyntaxError, MemoryError):
        raise FaultyTemplateError(file, above + 1, "it is nested too deeply") from None


def _check_nodes(environment: ImmutableSandboxedEnvironment, part: str, file: str, above: int, names: set[str]) -> None:
    """Look at every node before anything is compiled: the compiler would already evaluate constants."""
    waiting: list[nodes.Node] = [environment.parse(part)]
    while waiting:
        node = waiting.pop()
        line = above + int(node.lineno or 1)
        if not isinstance(node, _ALLOWED):
            raise FaultyTemplateError(
                file, line, f"it uses {type(node).__name__}, which notices can't",
                hint="they have text, {{ variable }} and {% if %}",
            )  # fmt: skip
        if isinstance(node, nodes.Name):
            if node.name not in VARIABLES:
                known = ", ".join(sorted(VARIABLES))
                raise FaultyTemplateError(file, line, f"there is no variable {node.name!r}", hint=f"there are: {known}")
            names.add(node.name)
        waiting.extend(node.iter_child_nodes())
