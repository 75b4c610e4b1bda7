"""What the HTML of a notice may be: words in a document, nothing that loads, runs, asks or reports.

A closed list of elements and attributes (HTML Living Standard); whatever is not on it is refused.
"""

import re
from html.parser import HTMLParser
from typing import Final

from migrator.notices.wording import Fault, Rule, of_line, rule_of_tag

_ELEMENTS: Final = frozenset(
    {
        "html", "head", "meta", "title", "style", "body", "main", "header", "footer", "section", "article", "div",
        "span", "h1", "h2", "h3", "p", "ul", "ol", "li", "strong", "em", "b", "i", "bdi", "time", "br", "hr", "a",
        "table", "thead", "tbody", "tr", "th", "td",
    }
)  # fmt: skip
_ATTRIBUTES: Final = frozenset({"lang", "dir", "id", "class", "role", "style", "scope", "title", "datetime"})
_OF_META: Final = frozenset({"charset", "name", "content"})
_META_NAMES: Final = frozenset({None, "viewport", "color-scheme"})
_CSS: Final = re.compile(r"url\s*\(|image|src\s*\(|expression|behavio|@(?!media\b)|\\|//", re.IGNORECASE)
_DOCTYPE: Final = "<!doctype html>"
_ODD: Final = re.compile(r"<[!?]|<[^<>]*(?=<|\Z)")
_HELP: Final = re.compile(r"\{\{-?\s*help_url\s*-?\}\}\Z")


class Checker(HTMLParser):
    """Feed it HTML, source or rendered; then look at `faults`, `words` and what the document says of itself.

    `above`: lines of the file above the HTML; None where lines mean nothing.
    """

    def __init__(self, locale: str, *, above: int | None, help_address: str | None = None) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[Fault] = []
        self.words: list[str] = []
        self.ids: set[str] = set()
        self.language: str | None = None
        self.direction: str | None = None
        self._locale = locale
        self._above = above
        self._help_address = help_address
        self._within_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        if tag not in _ELEMENTS:
            self._refuse(rule_of_tag(tag), f"<{tag}> is no element that a notice may have")
        for name, value in attrs:
            self._attribute(tag, name, value or "")
        given = dict(attrs)
        if tag == "html":
            self.language, self.direction = given.get("lang"), given.get("dir")
        if tag == "meta" and given.get("name") not in _META_NAMES:
            self._refuse(Rule.MARKUP, f"<meta name={given.get('name')!r}>")
        self.ids.update(value for name, value in attrs if name == "id" and value)
        self._within_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        if tag == "style":
            self._within_style = False

    def handle_data(self, data: str) -> None:
        """Words, or a style sheet."""
        if self._within_style:
            self._style(data)
            return
        first = self._line()
        for number, text in enumerate(data.split("\n")):
            self.faults.extend(of_line(text, first + number if first else 0, self._locale))
        self.words.append(data)

    def _attribute(self, tag: str, name: str, value: str) -> None:
        if name == "href" and tag == "a":
            if not (_HELP.match(value.strip()) or (self._help_address and value == self._help_address)):
                rule = Rule.LOGIN_LINK if re.search(r"[?&#]|\{\{", value) else Rule.LINK
                self._refuse(rule, "a link; the only address in a notice is {{ help_url }}")
        elif name == "style":
            self._style(value)
        elif tag == "meta" and name in _OF_META:
            return
        elif name not in _ATTRIBUTES:
            loads = name in ("src", "srcset", "background", "poster", "data", "ping")
            rule = Rule.TRACKING if loads else Rule.SCRIPT if name.startswith("on") else Rule.MARKUP
            self._refuse(rule, f"<{tag}> has an attribute {name!r}")

    def _style(self, css: str) -> None:
        match = _CSS.search(css)
        if match:
            self._refuse(Rule.TRACKING, f"a style sheet that may load something: {match[0]!r}")

    def _refuse(self, rule: Rule, reason: str) -> None:
        self.faults.append(Fault(self._line(), rule, reason))

    def _line(self) -> int:
        return 0 if self._above is None else self._above + self.getpos()[0]


def check(html: str, locale: str, *, above: int | None = None, help_address: str | None = None) -> Checker:
    """Look at a whole document. What programs read in different ways is not read any further."""
    checker = Checker(locale, above=above, help_address=help_address)
    odd = _ODD.search(html, len(_DOCTYPE) if html[: len(_DOCTYPE)].lower() == _DOCTYPE else 0)
    if odd:
        line = 0 if above is None else above + 1 + html.count("\n", 0, odd.start())
        reason = "a comment, declaration or instruction, or a tag without its end (`<` is written &lt;)"
        checker.faults.append(Fault(line, Rule.MARKUP, reason))
        return checker
    checker.feed(html)
    checker.close()
    return checker
