"""`html`: pages for people. No script, nothing from a network, everything escaped.

Messages stand in their order with what they refer to: an edit with what it replaced, a message with its edits,
reactions and thread. A gap stands where its message was, with the reason. Times are UTC. Attachments are links to the
files that were saved beside the pages; what is in Matrix's media repository is never fetched.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from migrator.archiving.gap_words import ATTACHMENT_GAP_WORDS, GAP_WORDS, in_words
from migrator.archiving.html import sanitising
from migrator.archiving.html.index import Index
from migrator.archiving.html.rows import rows
from migrator.archiving.interface import About, AttachmentOpener, Files, History
from migrator.archiving.plain_text import moment_of, visible
from migrator.archiving.saved_files import save_all
from migrator.reading import ReadMessage, place_of

MAIN: Final = "index.html"
_QUOTED: Final = 300
"""Characters of a message that another one answers."""


def write(history: History, about: About, attachments: AttachmentOpener, files: Files, scratch: Path) -> None:
    """Write all pages; `scratch`: where a file of ids may lie meanwhile. Walks the history twice."""
    sanitising.require()
    with closing(sqlite3.connect(scratch, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=OFF")  # nobody reads it after a crash
        index = Index(connection)
        index.build(history.entries())
        pages = list(index.pages())
        templates = _templates(about)
        entries = history.entries()
        for page in pages:
            shown = list(islice(entries, page.last - page.first + 1))
            found = attachments.of([entry for entry in shown if isinstance(entry, ReadMessage)])
            saved = [
                save_all(files, entry, found.get(place_of(entry), ())) if isinstance(entry, ReadMessage) else []
                for entry in shown
            ]
            values = {"page": page, "pages": len(pages), "rows": rows(history, index, page.first, shown, saved)}
            files.save(page_name(page.number), _pieces(templates, "page.html.j2", values), {})
        for _ in entries:  # to its end, where the numbers are compared
            raise AssertionError("the history grew within one transaction")
        values = {"pages": pages, "gaps": index.gaps()}
        files.save(MAIN, _pieces(templates, "index.html.j2", values), {})


def page_name(number: int) -> str:
    """The file of a page."""
    return f"messages-{number:05}.html"


def _templates(about: About) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda number: f"{number:,}"
    environment.filters["moment"] = _moment
    environment.filters["visible"] = visible
    environment.filters["shortened"] = lambda text: text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"
    environment.filters["gap_words"] = partial(in_words, GAP_WORDS)
    environment.filters["attachment_gap_words"] = partial(in_words, ATTACHMENT_GAP_WORDS)
    environment.globals.update(about=about, page_name=page_name)
    return environment


def _moment(milliseconds: int) -> str:
    moment = moment_of(milliseconds)
    return f"time {milliseconds}" if moment is None else moment.replace(tzinfo=None).isoformat(" ", "seconds")


def _pieces(templates: Environment, name: str, values: dict[str, Any]) -> Iterator[bytes]:
    for piece in templates.get_template(name).generate(**values):
        yield piece.encode("utf-8", "backslashreplace")
