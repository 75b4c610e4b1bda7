"""Text and HTML of one body."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.notices import layout, markup
from migrator.notices.language import VALUE_BEGINS, VALUE_ENDS


def _value(text: str) -> str:
    return f"{VALUE_BEGINS}{text}{VALUE_ENDS}"


BODY = f"""Hello
from {_value("Chatter <b>")}.
# What changes [what]
It ends
- one
- two,
  goes on
{_value("7")} days.


# Nothing here [default]

Last words
"""


def test_the_parts_of_a_body() -> None:
    """Headings with and without a blank line around them, paragraphs on several lines, items that go on."""
    parts = layout.sections(BODY)
    assert [(part.role, part.title) for part in parts] == [
        (None, None), ("what", "What changes"), ("default", "Nothing here"),
    ]  # fmt: skip
    assert layout.as_text(parts, "en") == (
        "Hello from Chatter <b>.\n\n== What changes ==\n\nIt ends\n\n- one\n- two, goes on\n\n7 days.\n\n"
        "== Nothing here ==\n\nLast words\n"
    )


def test_html_escapes_and_isolates() -> None:
    """A value is text in an element of its own; the language and its direction stand on the page."""
    page = layout.as_html("A & B", layout.sections(BODY), "ar")
    assert '<html lang="ar" dir="rtl">' in page
    assert "<p>Hello from <bdi>Chatter &lt;b&gt;</bdi>.</p>" in page
    assert "<title>A &amp; B</title>" in page
    assert '<section id="what">\n<h2>What changes</h2>' in page
    assert "<ul>\n<li>one</li>\n<li>two, goes on</li>\n</ul>" in page
    assert 'dir="ltr"' in layout.as_html("A", [], "ja")


def test_values_in_the_other_direction_are_isolated() -> None:
    """In right-to-left text each value; elsewhere those that run from right to left."""
    body = f"{_value('Chatter')} {_value('شخص')}"
    assert layout.as_text(layout.sections(body), "ar") == "\u2068Chatter\u2069 \u2068شخص\u2069\n"
    assert layout.as_text(layout.sections(body), "en") == "Chatter \u2068شخص\u2069\n"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [("会話を", "読む", "会話を読む"), ("one", "two", "one two"), ("サービス", "API", "サービス API"),
     (_value("会"), _value("話"), "会話")],
)  # fmt: skip
def test_lines_of_a_paragraph_are_joined(before: str, after: str, expected: str) -> None:
    """With a space, but not between characters that are written without one."""
    assert layout.as_text(layout.sections(f"{before}\n{after}"), "ja") == f"{expected}\n"


LINES = st.sampled_from(["# A [what]", "# B", "- item", "  more", "words", "", " ", "#", "-", "# [x]", _value("v <i>")])


@given(st.lists(LINES | st.text(st.characters(blacklist_categories=["Cs", "Co", "Cc"]), max_size=20), max_size=12))
def test_both_say_the_same(lines: list[str]) -> None:
    """Whatever the body: the words of the HTML are those of the text, and it is a page that notices may have."""
    parts = layout.sections("\n".join(lines))
    page = markup.check(layout.as_html("", parts, "en"), "en")
    assert {fault.rule for fault in page.faults} <= {"link", "login_link", "promotion", "fixed_date"}
    shown = [span.text for part in parts for block in part.blocks for spans in block.texts for span in spans]
    titles = [part.title or "" for part in parts]
    words = "".join("".join(page.words).split())
    assert sorted(words) == sorted("".join("".join([*shown, *titles]).split()))
