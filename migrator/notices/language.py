"""The language of notice templates: text, `{{ variable }}` and `{% if %}`. Nothing else of Jinja2.

No loops, calls, filters, attributes or arithmetic: a template can neither run on nor grow, whoever wrote it. What is
left runs in Jinja2's sandbox, and a variable that does not exist is an error when the template is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jinja2 import StrictUndefined, Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from migrator.core.errors import ConfigError

Value = str | bool | None

VARIABLES: Final = frozenset(
    {
        "platform", "cutover_at", "opens_at", "sealed_until", "quorum", "minor", "help_url",
        "notice_id", "version", "locale", "template_sha256",
    }
)  # fmt: skip
"""What a template may name; `migrator.notices.templates` gives the values."""

MAX_TEMPLATE_BYTES: Final = 64 * 1024
MAX_RENDERED_CHARACTERS: Final = 128 * 1024
MAX_SUBJECT_CHARACTERS: Final = 200
_SUBJECT: Final = "Subject: "
_LINE_BREAKS: Final = frozenset("\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_ALLOWED: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If, nodes.Compare, nodes.Operand,
    nodes.And, nodes.Or, nodes.Not,
)  # fmt: skip
_ENVIRONMENT: Final = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined,
    autoescape=False,  # plain text, never HTML
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    cache_size=0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedTemplate:
    """A template that can be rendered: `file` is what errors name."""

    subject: Template
    body: Template
    file: str

    def render(self, values: Mapping[str, Value]) -> tuple[str, str]:
        """Subject and body. Raises `ConfigError` for a result that is too long or no subject line."""
        try:
            subject, body = self.subject.render(values), self.body.render(values)
        except TemplateError as error:
            raise ConfigError(f"{self.file} can't be rendered: {error.message}") from None
        if not subject.strip() or len(subject) > MAX_SUBJECT_CHARACTERS or _LINE_BREAKS.intersection(subject):
            raise ConfigError(f"{self.file}: its subject is empty, over {MAX_SUBJECT_CHARACTERS} characters or no line")
        if len(body) > MAX_RENDERED_CHARACTERS:
            raise ConfigError(f"{self.file}: rendered, it is over {MAX_RENDERED_CHARACTERS} characters")
        return subject, body


def check(source: bytes, file: str) -> CheckedTemplate:
    """Read a template: a `Subject:` line, a blank line, the body. Raises `ConfigError` naming the file."""
    text = _text(source, file)
    head, _, body = text.partition("\n\n")
    if not head.startswith(_SUBJECT) or "\n" in head or not body.strip():
        raise ConfigError(f"{file} must be a line `Subject: …`, a blank line, and the text")
    try:
        _check_nodes(head, file)
        _check_nodes(body, file)
        subject = _ENVIRONMENT.from_string(head.removeprefix(_SUBJECT))
        return CheckedTemplate(subject=subject, body=_ENVIRONMENT.from_string(body), file=file)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f" (line {line} of its part)" if line else ""
        raise ConfigError(f"{file} is not a template{where}: {error.message}") from None
    except (RecursionError, SyntaxError, MemoryError):
        raise ConfigError(f"{file} is nested too deeply") from None


def _text(source: bytes, file: str) -> str:
    if len(source) > MAX_TEMPLATE_BYTES:
        raise ConfigError(f"{file} is over {MAX_TEMPLATE_BYTES // 1024} KiB")
    try:
        text = source.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8") from None
    if any(ord(character) < 32 and character not in "\n\t" for character in text) or text.startswith("\ufeff"):
        raise ConfigError(f"{file} has control characters or a byte order mark in it")
    return text


def _check_nodes(part: str, file: str) -> None:
    """Look at every node before anything is compiled: the compiler would already evaluate constants."""
    waiting: list[nodes.Node] = [_ENVIRONMENT.parse(part)]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, _ALLOWED):
            raise ConfigError(
                f"{file}: line {node.lineno} of its part uses {type(node).__name__}, which notices can't",
                hint="they have text, {{ variable }} and {% if %}",
            )
        if isinstance(node, nodes.Name) and node.name not in VARIABLES:
            raise ConfigError(
                f"{file}: there is no variable {node.name!r}", hint=f"there are: {', '.join(sorted(VARIABLES))}"
            )
        waiting.extend(node.iter_child_nodes())
