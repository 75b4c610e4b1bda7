"""The linter: what is shipped passes, and each thing that a notice must not be is found in its line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.errors import ConfigError
from migrator.notices import lint, templates
from migrator.notices.templates import Template
from migrator.notices.wording import Rule
from tests.notices.support import PLAIN, make_spec, own_templates

LINES = PLAIN.count("\n")
PAGE = """<!doctype html>
<html lang="{{ locale }}" dir="ltr">
<head><meta charset="utf-8"><title>{{ platform }}</title><style>p { color: black; }</style></head>
<body>
<section id="what"><p>It changes at <bdi>{{ cutover_at }}</bdi>, and nothing opens before {{ opens_at }}.</p></section>
<section id="default"><p>It is kept sealed until {{ sealed_until }}.</p></section>
<section id="choices"><p>Say yes or no in the app.</p></section>
<section id="whose"><p>Everybody.</p></section>
<section id="genuine"><p>{% if help_url %}<a href="{{ help_url }}">{{ help_url }}</a>{% endif %}</p></section>
</body>
</html>
"""


def _template(source: str, locale: str = "en", notice_id: str = "cutover") -> Template:
    return Template(
        notice_id=notice_id, version="1", locale=locale, sha256="", source=source.encode(), file=f"{notice_id}.{locale}"
    )


def _found(source: str, locale: str = "en", notice_id: str = "cutover") -> set[tuple[int, Rule]]:
    return {(finding.line, finding.rule) for finding in lint.lint([_template(source, locale, notice_id)])}


def test_what_is_shipped_is_clean(tmp_path: Path) -> None:
    """Every notice, in every language, for every reader."""
    spec = make_spec(tmp_path)
    assert lint.lint(templates.catalogue(spec.settings, tmp_path)) == []


def test_the_shortest_notices_are_clean() -> None:
    """With and without HTML of its own; an operator's own notice needs no sections."""
    assert _found(PLAIN) == set()
    assert _found(PLAIN + PAGE) == set()
    assert _found("Subject: S\n\nA maintenance window.\n", notice_id="operators-own") == set()


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("Try our new app, it is better.", Rule.PROMOTION),
        ("Get 20% off until Friday", Rule.PROMOTION),
        ("Great news for you", Rule.PROMOTION),
        ("This is safe!", Rule.PROMOTION),
        ("This is safe 🎉", Rule.PROMOTION),
        ("More at https://example.org/more", Rule.LINK),
        ("More at www.example.org", Rule.LINK),
        ("More at example.org/more", Rule.LINK),
        ("Write to mailto:us@example.org", Rule.LINK),
        ("Sign in: https://example.org/?token=abc", Rule.LOGIN_LINK),
        ("Sign in: https://example.org/login/now", Rule.LOGIN_LINK),
        ("Sign in: https://example.org/{{ platform }}", Rule.LOGIN_LINK),
        ("Sign in: {{ help_url }}?user={{ platform }}", Rule.LOGIN_LINK),
        ("Sign in: {{ help_url }}/now", Rule.LOGIN_LINK),
        ('<img src="x" width="1">', Rule.TRACKING),
        ("<script>alert(1)</script>", Rule.SCRIPT),
        ("<form><input name='password'>", Rule.SCRIPT),
        ("<blink>now</blink>", Rule.MARKUP),
        ("It ends on 8 May 2026.", Rule.FIXED_DATE),
        ("ينتهي في ٨ مايو ٢٠٢٦", Rule.FIXED_DATE),
        ("It ends at midnight UTC.", Rule.FIXED_DATE),
        ("# More [more]", Rule.SECTION),
        ("{{ nothing }}", Rule.TEMPLATE),
        ("{% for x in platform %}x{% endfor %}", Rule.TEMPLATE),
        ("{{ moved }}", Rule.TEMPLATE),
        ('{% if days_left_form == "one" %}A{% endif %}', Rule.PLURAL),
        ('{% if days_left_form == "few" %}A{% else %}B{% endif %}', Rule.PLURAL),
    ],
)  # fmt: skip
def test_a_line_that_must_not_be(line: str, rule: Rule) -> None:
    """Found under its rule; in its line, where it is the line that is wrong."""
    found = _found(f"{PLAIN}\n{line}\n")
    assert (0 if "moved" in line else LINES + 2, rule) in found


@pytest.mark.parametrize(
    ("locale", "line"),
    [("de", "Jetzt testen und sparen"), ("fr", "Essayez notre nouvelle application"), ("es", "Suscríbase hoy"),
     ("pt", "Não perca esta mudança"), ("ja", "新しいアプリをお試しください"), ("hi", "आज ही अपग्रेड करें"),
     ("ar", "اشترك الآن"), ("de-AT", "Sonderangebot für Sie")],
)  # fmt: skip
def test_promotion_is_found_in_every_language(locale: str, line: str) -> None:
    """The phrases of the language that the template is in."""
    assert (LINES + 2, Rule.PROMOTION) in _found(f"{PLAIN}\n{line}\n", locale)


def test_words_that_only_conditions_put_together() -> None:
    """What no line of the source shows, the rendered notice does."""
    assert (0, Rule.LINK) in _found(PLAIN + "\nwww{% if platform %}.example{% endif %}.org\n")
    assert (0, Rule.TRACKING) in _found(
        PLAIN + PAGE.replace("<body>", '<body>{{ "<" }}<{% if platform %}{% endif %}img src="x">')
    )


def test_words_that_only_tags_take_apart() -> None:
    """Words are read as they are shown: without the tags between them, references resolved."""
    assert (0, Rule.PROMOTION) in _found(PLAIN + PAGE.replace("Everybody", "Try <b>our</b> new app"))
    assert (0, Rule.LINK) in _found(PLAIN + PAGE.replace("Everybody", "www.<b>example.org</b>"))
    assert Rule.LINK in {rule for _, rule in _found(PLAIN + PAGE.replace("Everybody", "&#104;ttps:&#47;/example.org"))}
    tricky = PAGE.replace("Everybody", '<a href="java&#115;cript:x()">here</a>')
    assert Rule.LINK in {rule for _, rule in _found(PLAIN + tricky)}


@pytest.mark.parametrize("section", ["what", "default", "choices", "whose", "genuine"])
def test_every_section_has_to_be_there_for_every_reader(section: str) -> None:
    """Not there, empty, or only for some readers; the outcome without an answer is a rule of its own."""
    expected = (0, Rule.DEFAULT_OUTCOME if section == "default" else Rule.SECTION)
    assert expected in _found(PLAIN.replace(f"[{section}]", ""))
    heading = next(line for line in PLAIN.splitlines() if f"[{section}]" in line)
    words = PLAIN.split(f"{heading}\n\n")[1].split("\n\n")[0].strip()
    assert expected in _found(PLAIN.replace(words, ""))
    assert expected in _found(PLAIN.replace(words, f'{{% if quorum == "owner" %}}\n{words}\n{{% endif %}}'))
    assert expected in _found(PLAIN + PAGE.replace(f'id="{section}"', ""))


@pytest.mark.parametrize("name", ["cutover_at", "opens_at", "sealed_until"])
def test_every_deadline_has_to_be_there(name: str) -> None:
    """In the text, and in HTML of its own; a variable shows both zones, so that is what has to be there."""
    assert (0, Rule.DEADLINE) in _found(PLAIN.replace(f"{{{{ {name} }}}}", "soon"))
    assert (0, Rule.DEADLINE) in _found(PLAIN + PAGE.replace(f"{{{{ {name} }}}}", "soon"))


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("<body>", '<body><img src="https://example.org/p.gif">', Rule.TRACKING),
        ("<body>", '<body><img src="cid:logo">', Rule.TRACKING),
        ("<body>", '<body background="x">', Rule.TRACKING),
        ("<body>", '<body style="background: url(https://example.org/p)">', Rule.TRACKING),
        ("<body>", '<body style="background: u\\72l(x)">', Rule.TRACKING),
        ("p { color: black; }", "@import 'x';", Rule.TRACKING),
        ("p { color: black; }", "p { background: image-set('x'); }", Rule.TRACKING),
        ("<head>", '<head><link rel="stylesheet" href="x">', Rule.TRACKING),
        ("<head>", '<head><base href="https://example.org/">', Rule.SCRIPT),
        ("<head>", '<head><meta http-equiv="refresh" content="0">', Rule.MARKUP),
        ("<head>", '<head><meta name="referrer" content="x">', Rule.MARKUP),
        ("<body>", "<body><script>1</script>", Rule.SCRIPT),
        ("<body>", '<body onload="x()">', Rule.SCRIPT),
        ("<body>", "<body><form><button>Yes</button></form>", Rule.SCRIPT),
        ("<body>", "<body><!--[if mso]><p>x</p><![endif]-->", Rule.MARKUP),
        ("<body>", "<body><!-- x -->", Rule.MARKUP),
        ("<body>", "<body><?php ?>", Rule.MARKUP),
        ("<body>", "<body><![<![<![", Rule.MARKUP),
        ("<body>", "<body><a x='<a x='", Rule.MARKUP),
        ("<body>", "<body>1 < 2", Rule.MARKUP),
        ("<body>", '<body><a href="https://example.org/">here</a>', Rule.LINK),
        ("<body>", '<body><a href="javascript:x()">here</a>', Rule.LINK),
        ("<body>", '<body><a href="https://example.org/?t=1">here</a>', Rule.LOGIN_LINK),
        ("<body>", '<body><a href="{{ help_url }}?t={{ platform }}">here</a>', Rule.LOGIN_LINK),
        ("<body>", "<body><p>Upgrade to premium</p>", Rule.PROMOTION),
        ("<body>", "<body><p>It ends on 8 May 2026</p>", Rule.FIXED_DATE),
        ("<body>", "<body><p>{{ nothing }}</p>", Rule.TEMPLATE),
    ],
)
def test_html_that_must_not_be(old: str, new: str, rule: Rule) -> None:
    """Found in the line where it stands."""
    source = PLAIN + PAGE.replace(old, new)
    line = 1 + source[: source.index(new)].count("\n")
    assert (line, rule) in _found(source)


@pytest.mark.parametrize(
    ("locale", "old", "new"), [("en", "{{ locale }}", "de"), ("ar", "x", "x"), ("en", '"ltr"', '"rtl"')]
)
def test_html_names_its_language_and_direction(locale: str, old: str, new: str) -> None:
    """A page that says another language is read out in it; Arabic runs from right to left."""
    assert (0, Rule.LANGUAGE) in _found(PLAIN + PAGE.replace(old, new), locale)


def test_too_many_cases_are_refused() -> None:
    """A template can't make the linter run on by telling everybody apart from everybody."""
    names = [
        "quorum",
        "audience",
        "help_url",
        "answer",
        "all_conversations",
        "valid_until",
        "moved",
        "sealed",
        "destroyed",
        "days_left",
    ]
    source = PLAIN + "".join(f"{{% if {name} %}}x{{% endif %}}" for name in names)
    assert _found(source, "ar") == {(0, Rule.TEMPLATE)}


def test_nothing_goes_out_with_a_finding(tmp_path: Path) -> None:
    """The error names file, line and reason."""
    settings = make_spec(tmp_path, notify=own_templates(tmp_path, cutover_1_en=PLAIN + "\nAct now!\n")).settings
    found = templates.current(templates.found(settings, tmp_path), "cutover")
    with pytest.raises(ConfigError, match=rf"cutover\.1\.en\.txt, line {LINES + 2}: .*more\)") as caught:
        lint.require_clean(found.values())
    assert "notify lint" in caught.value.hint


@given(st.text(max_size=120), st.text(max_size=120))
def test_any_text(words: str, page: str) -> None:
    """Arbitrary words and HTML have findings or none, never an error."""
    _found(f"{PLAIN}\n{words}\n<!doctype html>\n{page}\n")
