"""The language of templates: what it has, and that nobody can make it run on or read what it should not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.errors import ConfigError
from migrator.notices import language

VALUES: dict[str, language.Value] = dict.fromkeys(language.VARIABLES, "value") | {"minor": True, "help_url": None}


def _render(text: str) -> tuple[str, str]:
    return language.check(text.encode(), "some-file").render(VALUES)


def test_variables_and_conditions() -> None:
    """Subject and body are filled in; branches that don't apply leave no line behind."""
    text = "Subject: On {{ platform }}\n\nA\n{% if minor %}\nB\n{% endif %}\n"
    text += "{% if help_url %}\nC\n{% elif not minor and quorum == 'x' %}\nD\n{% else %}\nE\n{% endif %}\n"
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
        "{{ minor if minor else minor }}",
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
        "{% if minor %}",
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
        b"Subject: S\n\n" + b"{% if minor %}" * 3000 + b"A" + b"{% endif %}" * 3000,
        b"Subject: S\n\n{{ " + b"(" * 20000 + b"platform" + b")" * 20000 + b" }}",
        b"Subject: S\n\n{{ " + b"not " * 10000 + b"platform }}",
    ],
)
def test_malformed_sources_are_refused(source: bytes) -> None:
    """Whatever else stands in the file: an error that names it, never a traceback."""
    with pytest.raises(ConfigError, match="some-file"):
        language.check(source, "some-file")


@pytest.mark.parametrize("platform", ["a\nBcc: x@example.org", "a\u2028b", "x" * 300, ""])
def test_a_subject_is_one_line(platform: str) -> None:
    """A value can't break out of the subject, nor make it empty or endless."""
    checked = language.check(b"Subject: {{ platform }}\n\nA\n", "some-file")
    with pytest.raises(ConfigError, match="subject"):
        checked.render({**VALUES, "platform": platform})


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
