"""The language of templates: what it has, and that nobody can make it run on or read what it should not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.errors import ConfigError
from migrator.notices import language

VALUES: dict[str, language.Value] = {
    **dict.fromkeys(language.VARIABLES, "value"),
    "audience": "minor",
    "all_conversations": True,
    "help_url": None,
}


def _render(text: str) -> tuple[str, str]:
    filled = language.check(text.encode(), "some-file").render(VALUES)
    return filled.subject, filled.body


def test_variables_and_conditions() -> None:
    """Subject and body are filled in; branches that don't apply leave no line behind."""
    text = "Subject: On {{ platform }}\n\nA\n{% if audience == 'minor' %}\nB\n{% endif %}\n"
    text += "{% if help_url %}\nC\n{% elif not all_conversations and quorum == 'x' %}\nD\n{% else %}\nE\n{% endif %}\n"
    assert _render(text) == ("On value", "A\nB\nE\n")


def test_line_ends_of_other_systems() -> None:
    """CRLF is read like LF."""
    assert _render("Subject: S\r\n\r\nA\r\n") == ("S", "A\n")


@pytest.mark.parametrize(
    "expression",
    [
        "{{ platform.__class__ }}",
        "{{ platform['x'] }}",
        "{{ platform.upper() }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ range(10) }}",
        "{{ platform|upper }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ platform ~ platform }}",
        "{{ [platform] }}",
        "{{ answer if answer else answer }}",
        "{% for c in platform %}{{ c }}{% endfor %}",
        "{% set x = platform %}",
        "{% macro m() %}{% endmacro %}",
        "{% include '/etc/passwd' %}",
        "{% extends 'x' %}",
        "{% import 'x' as x %}",
        "{% raw %}{{ unknown }}{% endraw %}{{ unknown }}",
        "{{ account_id }}",
        "{{ self }}",
        "{{ platform is defined }}",
        "{% if %}",
        "{{ platform",
        "{% if answer %}",
        "{% endif %}",
    ],
)
def test_nothing_else_is_accepted(expression: str) -> None:
    """Loops, calls, attributes, filters, arithmetic and unknown variables are refused when the template is read."""
    with pytest.raises(ConfigError, match="some-file"):
        language.check(f"Subject: S\n\nA {expression}\n".encode(), "some-file")
    with pytest.raises(ConfigError, match="some-file"):
        language.check(f"Subject: S {expression}\n\nA\n".encode(), "some-file")


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"Subject: S",
        b"Subject: S\n",
        b"Subject: S\n\n  \n",
        b"subject: S\n\nA\n",
        b"S\n\nA\n",
        b"Subject: S\nBcc: x@example.org\n\nA\n",
        b"\xef\xbb\xbfSubject: S\n\nA\n",
        b"Subject: S\n\nA \x00\n",
        b"Subject: S\n\nA \x1b[2J\n",
        b"Subject: S\n\nA\rB\n",
        b"Subject: S\n\n\xff\n",
        b"Subject: S\n\n" + b"x" * language.MAX_TEMPLATE_BYTES,
        b"Subject: S\n\n" + b"{% if answer %}" * 3000 + b"A" + b"{% endif %}" * 3000,
        b"Subject: S\n\n{{ " + b"(" * 20000 + b"platform" + b")" * 20000 + b" }}",
        b"Subject: S\n\n{{ " + b"not " * 10000 + b"platform }}",
    ],
)
def test_malformed_sources_are_refused(source: bytes) -> None:
    """Whatever else stands in the file: an error that names it, never a traceback."""
    with pytest.raises(ConfigError, match="some-file"):
        language.check(source, "some-file")


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("a\nBcc: x@example.org", "a Bcc: x@example.org"), ("a\u2028b\x85c", "a b c"),
     ("a\r\n\r\n# B [default]", "a # B [default]"),
     ("\u202eevil\u2066", "evil"), ("\ue000x\ue001", "x")],
)  # fmt: skip
def test_a_value_is_one_line(platform: str, expected: str) -> None:
    """A value can't break out of the subject or its place in the body, nor turn the direction of what follows."""
    filled = language.check(b"Subject: {{ platform }}\n\nA {{ platform }}\n", "some-file").render(
        {**VALUES, "platform": platform}
    )
    assert filled.subject == expected
    assert filled.body == f"A {language.VALUE_BEGINS}{expected}{language.VALUE_ENDS}\n"


@pytest.mark.parametrize("platform", ["x" * 300, "", "\n"])
def test_a_subject_is_there_and_has_an_end(platform: str) -> None:
    """A value can't make the subject empty or endless."""
    checked = language.check(b"Subject: {{ platform }}\n\nA\n", "some-file")
    with pytest.raises(ConfigError, match="subject"):
        checked.render({**VALUES, "platform": platform})


@pytest.mark.parametrize("value", [None, True])
def test_what_is_not_known_is_not_shown(value: bool | None) -> None:
    """A value that is missing in this reader's case is an error, not the word "None"."""
    checked = language.check(b"Subject: S\n\nA {{ moved }}\n", "some-file")
    with pytest.raises(ConfigError, match="not known in every case"):
        checked.render({**VALUES, "moved": value})


@pytest.mark.parametrize(
    ("text", "line"),
    [("Subject: S\n\nA\n{{ nothing }}\n", 4), ("Subject: S\n\nA\n\n{% for x in platform %}\n{% endfor %}", 5),
     ("Subject: {{ nothing }}\n\nA\n", 1), ("Subject: S\n\nA\n<!doctype html>\n<p>\n{{ nothing }}", 6),
     ("Subject: S\n\nA\n{% if %}\n", 4), ("Subject: S\n\nA\n\x07", 4)],
)  # fmt: skip
def test_errors_name_the_line(text: str, line: int) -> None:
    """The line is that of the file, in subject, text and HTML."""
    with pytest.raises(language.FaultyTemplateError) as caught:
        language.check(text.encode(), "some-file")
    assert caught.value.line == line
    assert f"line {line}" in caught.value.message


def test_html_of_its_own_is_escaped() -> None:
    """In HTML values are text, whatever they hold."""
    source = b"Subject: S\n\nA\n\n<!DOCTYPE html>\n<p>{{ platform }}</p>\n"
    filled = language.check(source, "some-file").render({**VALUES, "platform": "<script>&"})
    assert filled.html == "<!DOCTYPE html>\n<p>&lt;script&gt;&amp;</p>\n"
    assert filled.body == "A\n\n"


def test_a_notice_has_an_end() -> None:
    """Large values are refused rather than sent."""
    checked = language.check(b"Subject: S\n\n" + b"{{ platform }}" * 100, "some-file")
    with pytest.raises(ConfigError, match="characters"):
        checked.render({**VALUES, "platform": "x" * 10_000})


@given(st.binary(max_size=200))
def test_any_bytes(source: bytes) -> None:
    """Arbitrary bytes either make a template or a `ConfigError`."""
    try:
        checked = language.check(b"Subject: S\n\n" + source, "some-file")
    except ConfigError:
        return
    checked.render(VALUES)
