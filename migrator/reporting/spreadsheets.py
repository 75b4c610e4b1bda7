"""Comma-separated values (RFC 4180) for those who open them in a spreadsheet.

A text that a spreadsheet would take for a formula gets an apostrophe in front: ids are other people's. Programs read
`conversations.jsonl`, where every id stands as it is.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What begins a formula; the last four are those signs in full width, which some programs take for the same."""
_ROWS: Final = 2_000


def lines(rows: Iterable[Sequence[object]]) -> Iterator[bytes]:
    """The rows in UTF-8, some thousand together."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    for number, row in enumerate(rows, start=1):
        writer.writerow([_harmless(str(value)) for value in row])
        if number % _ROWS == 0:
            yield _taken(text)
    if text.tell():
        yield _taken(text)


def _harmless(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULA) else value


def _taken(text: io.StringIO) -> bytes:
    data = text.getvalue().encode("utf-8", "backslashreplace")
    text.seek(0)
    text.truncate()
    return data
