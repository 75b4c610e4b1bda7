"""Finds what would make a template no neutral notice, before anybody is sent it.

Three looks at each template: the words of its source line by line, so that a finding has a line; its tree, for plural
forms; and what it says in every case that its conditions tell apart, with marks for values, so that what a notice must
say is looked for in the branch of every reader.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Final

from jinja2 import nodes

from migrator.core.errors import ConfigError
from migrator.core.limits import MIB
from migrator.core.model import Quorum
from migrator.core.policy import Answer
from migrator.notices import language, layout, markup, wording
from migrator.notices.kinds import Audience, NoticeKind, kind_of
from migrator.notices.language import COUNTS, CheckedTemplate, FaultyTemplateError, Value
from migrator.notices.templates import Template, checked
from migrator.notices.values import plural_forms
from migrator.notices.wording import Fault, Rule

MAX_CASES: Final = 3000
"""Readers that one template's conditions may tell apart; the shipped ones have below 300."""
MAX_WORK: Final = 16 * MIB
"""Characters that all of these are told together."""
_ROLES: Final[Mapping[NoticeKind, frozenset[str]]] = {
    NoticeKind.FIRST: frozenset({"what", "default", "choices", "whose", "genuine"}),
    NoticeKind.REMINDER: frozenset({"what", "default", "choices", "genuine"}),
    NoticeKind.LAST_CALL: frozenset({"what", "default", "choices", "genuine"}),
    NoticeKind.CORRECTION: frozenset({"what", "default", "choices", "genuine"}),
    NoticeKind.DONE: frozenset({"what", "default", "choices", "genuine"}),
    NoticeKind.KEPT_SEALED: frozenset({"what", "default", "choices", "genuine"}),
    NoticeKind.DESTROYED: frozenset({"what", "genuine"}),
    NoticeKind.RECEIVED: frozenset({"what", "choices", "genuine"}),
}
_UNTIL: Final = frozenset({"sealed_until"})
_DATES: Final[Mapping[NoticeKind, frozenset[str]]] = {
    NoticeKind.FIRST: frozenset({"cutover_at", "opens_at", "sealed_until"}),
    NoticeKind.REMINDER: frozenset({"cutover_at", "sealed_until"}),
    NoticeKind.LAST_CALL: frozenset({"cutover_at", "sealed_until"}),
    NoticeKind.CORRECTION: frozenset({"cutover_at", "sealed_until"}),
    NoticeKind.DONE: _UNTIL,
    NoticeKind.KEPT_SEALED: _UNTIL,
    NoticeKind.DESTROYED: frozenset(),
    NoticeKind.RECEIVED: frozenset({"recorded_at"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Why a template is refused, and where."""

    template: Template
    line: int
    rule: Rule
    reason: str


def lint(templates: Iterable[Template]) -> list[Finding]:
    """Everything that is wrong with these templates: first what is in a line, then what is of a whole template."""
    return [
        Finding(template=template, line=fault.line, rule=fault.rule, reason=fault.reason)
        for template in templates
        for fault in _faults(template)
    ]


def require_clean(templates: Iterable[Template]) -> None:
    """Raise `ConfigError` with the first finding; nothing goes out with one."""
    found = lint(templates)
    if found:
        first = found[0]
        where = f"{first.template.file}{f', line {first.line}' if first.line else ''}"
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ConfigError(f"{where}: {first.reason}{more}", hint="`migrator notify lint` lists everything")


@lru_cache(maxsize=1024)
def _faults(template: Template) -> tuple[Fault, ...]:
    try:
        readable = checked(template)
    except FaultyTemplateError as fault:
        return (Fault(fault.line, Rule.TEMPLATE, fault.reason),)
    in_lines = {*_source(template), *_plurals(template)}
    known = {(fault.rule, fault.reason) for fault in in_lines}
    whole = {fault for fault in _cases(template, readable) if (fault.rule, fault.reason) not in known}
    return (
        *sorted(in_lines, key=lambda fault: (fault.line, fault.rule, fault.reason)),
        *sorted(whole, key=lambda fault: (fault.rule, fault.reason)),
    )


def _source(template: Template) -> Iterator[Fault]:
    """Line by line."""
    subject, body, html, html_line = language.parts(template.source, template.file)
    for number, text in enumerate([subject, "", *body.split("\n")], 1):
        yield from wording.of_line(text, number, template.locale)
        yield from wording.of_tags(text, number)
        heading = layout.heading(text)
        if heading and heading[1] not in {None, *layout.ROLES}:
            roles = ", ".join(sorted(layout.ROLES))
            yield Fault(number, Rule.SECTION, f"no section is marked [{heading[1]}]; there are {roles}")
    if html is not None:
        yield from markup.check(html, template.locale, above=html_line - 1).faults


def _plurals(template: Template) -> Iterator[Fault]:
    """Every plural form of the language has its words, and no other is asked for."""
    forms = plural_forms(template.locale)
    for tree, above in language.trees(template.source, template.file):
        for test in tree.find_all(nodes.Compare):
            name, value = _asked(test)
            if name and value not in forms:
                reason = f"{template.locale} has no plural form {value!r}; it has {', '.join(sorted(forms))}"
                yield Fault(above + test.lineno, Rule.PLURAL, reason)
        branches = {id(branch) for choice in tree.find_all(nodes.If) for branch in choice.elif_}
        for choice in (found for found in tree.find_all(nodes.If) if id(found) not in branches):
            asked = [_asked(test) for test in (choice.test, *(branch.test for branch in choice.elif_))]
            missing = forms - {value for _, value in asked}
            if asked[0][0] and missing and not choice.else_:
                reason = f"nothing is said for the plural forms {', '.join(sorted(missing))}; end with an {{% else %}}"
                yield Fault(above + choice.lineno, Rule.PLURAL, reason)


def _asked(test: nodes.Node) -> tuple[str | None, str | None]:
    """Of `moved_form == "one"` the variable and the form; of other tests nothing."""
    if isinstance(test, nodes.Compare) and isinstance(test.expr, nodes.Name) and test.expr.name.endswith("_form"):
        constants = [operand.expr.value for operand in test.ops if isinstance(operand.expr, nodes.Const)]
        if len(constants) == 1:
            return test.expr.name, str(constants[0])
    return None, None


def _cases(template: Template, readable: CheckedTemplate) -> Iterator[Fault]:
    """What each reader is told."""
    kind = kind_of(template.notice_id)
    domains = _domains(readable.names, template.locale, kind)
    number = 1
    for domain in domains.values():
        number *= len(domain)
    if number > MAX_CASES or number * len(template.source) > MAX_WORK:
        yield Fault(0, Rule.TEMPLATE, f"its conditions tell {number:,} cases apart: too many for its length")
        return
    looked_at: set[str] = set()
    for chosen in product(*domains.values()):
        case = dict(zip(domains, chosen, strict=True))
        try:
            filled = readable.render(_marks(template, case))
        except FaultyTemplateError as fault:
            yield Fault(fault.line, Rule.TEMPLATE, fault.reason)
            continue
        yield from _said(template, kind, filled, looked_at)


def _said(template: Template, kind: NoticeKind | None, filled: language.Filled, looked_at: set[str]) -> Iterator[Fault]:
    """What one reader is told; `looked_at`: lines that others were told as well."""
    parts = layout.sections(filled.body)
    text = layout.as_text(parts, template.locale)
    documents = [(text, {part.role for part in parts if part.blocks and part.role})]
    if filled.html is not None:
        page = markup.check(filled.html, template.locale, help_address=_mark("help_url"))
        yield from page.faults
        if page.language != template.locale or page.direction != layout.direction(template.locale):
            reason = f'<html> must have lang="{template.locale}" and dir="{layout.direction(template.locale)}"'
            yield Fault(0, Rule.LANGUAGE, reason)
        documents.append(("".join(page.words), page.ids & layout.ROLES))
    lines = {filled.subject, *(line for words, _ in documents for line in words.split("\n"))}
    for line in lines - looked_at:
        yield from wording.of_line(line, 0, template.locale)
    looked_at |= lines
    if kind is None:
        return
    for (words, roles), what in zip(documents, ("the text", "the HTML"), strict=False):
        for role in sorted(_ROLES[kind] - roles):
            rule = Rule.DEFAULT_OUTCOME if role == "default" else Rule.SECTION
            yield Fault(0, rule, f"{what} has no section [{role}] with words in it, at least for some readers")
        for name in sorted(_DATES[kind]):
            if _mark(name) not in words:
                yield Fault(0, Rule.DEADLINE, f"{what} does not show {{{{ {name} }}}} to all of its readers")


def _domains(names: frozenset[str], locale: str, kind: NoticeKind | None) -> dict[str, list[Value]]:
    """The values of each variable that a condition may ask for, as far as the template names it."""
    answers: list[Value] = [answer.value for answer in Answer]
    known = kind is NoticeKind.RECEIVED
    unknown: list[Value] = [] if known else [None]
    every: dict[str, list[Value]] = {
        "quorum": [quorum.value for quorum in Quorum],
        "audience": [audience.value for audience in Audience],
        "answer": [*answers, *unknown],
        "all_conversations": [True, False],
        "help_url": [_mark("help_url"), None],
        "valid_until": [_mark("valid_until"), None],
        "recorded_at": [_mark("recorded_at"), *unknown],
        "record_id": [_mark("record_id"), *unknown],
    }
    for name in COUNTS:
        unsaid: list[Value] = [] if name == "days_left" else [None]
        every[name] = [*sorted(plural_forms(locale)), *unsaid]
    asked = {name.removesuffix("_form") for name in names}
    return {name: domain for name, domain in every.items() if name in asked}


def _marks(template: Template, case: Mapping[str, Value]) -> dict[str, Value]:
    """Values that are found again: a mark for each variable, but for what a condition asks for."""
    found: dict[str, Value] = {name: _mark(name) for name in language.VARIABLES - language.CHOICES}
    found |= dict.fromkeys(language.CHOICES) | {"locale": template.locale} | dict(case)
    for name in COUNTS:
        form = case.get(name)
        found[name], found[f"{name}_form"] = (None, None) if form is None else (_mark(name), form)
    return found


def _mark(name: str) -> str:
    return f"⟪{name}⟫"
