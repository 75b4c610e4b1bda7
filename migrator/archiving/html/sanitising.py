"""HTML that somebody else wrote, made safe to show: an allow-list, by nh3 (the Rust library `ammonia`).

Allowed is what the Matrix specification lets clients show (client-server API, `m.room.message` msgtypes), without
pictures, colours and everything else that would fetch something or could imitate the page. Links lead out by http,
https and mailto only.
"""

from typing import Final

from migrator.archiving.plain_text import visible
from migrator.core.errors import ConfigError

try:
    import nh3
except ImportError:  # the extra `matrix` brings it; `require` says so before anything is written
    nh3 = None  # type: ignore[assignment] # a module that is not there

MAX_CHARS: Final = 64 * 1024
MAX_TAGS: Final = 1000
"""Above these the plain text is shown: an HTML parser takes quadratic time for elements that nest without end."""
_TAGS: Final = frozenset(
    ("a", "b", "blockquote", "br", "caption", "code", "del", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i",
     "li", "ol", "p", "pre", "s", "span", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "u",
     "ul")
)  # fmt: skip
_CONTENT_TOO: Final = frozenset(("script", "style", "mx-reply", "title", "template", "noscript", "iframe", "textarea"))
"""These go with all that is in them; `mx-reply` quotes what the page quotes itself."""


def require() -> None:
    """Raise `ConfigError` where the library is missing."""
    if nh3 is None:
        raise ConfigError("HTML of Matrix messages needs the Python package nh3", hint="pip install 'migrator[matrix]'")


def sanitised(html: str) -> str | None:
    """The allowed part of a formatted body; None where there is too much of it to be honest."""
    if len(html) > MAX_CHARS or html.count("<") > MAX_TAGS:
        return None
    clean = nh3.clean(
        html,
        tags=set(_TAGS),
        clean_content_tags=set(_CONTENT_TOO),
        attributes={"a": {"href"}, "ol": {"start"}},
        url_schemes={"http", "https", "mailto"},
        url_relative="deny",
        link_rel="noreferrer noopener nofollow",
    )
    return visible(clean)  # afterwards, as character references have become characters
