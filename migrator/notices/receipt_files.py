"""Reads what comes back from files: a Maildir, an mbox, JSON Lines; in bounded memory, whatever they hold.

A file's kind is told from what it is: a folder with `cur` and `new` is a Maildir, a file that ends in `.jsonl` JSON
Lines, one that begins with `From ` an mbox (RFC 4155), any other a single message. Other folders are read file by file.

A line of JSON is `{"webhook_id": "…", "event": "seen", "at": "2026-05-01T10:00:00Z"}`; the events are `seen`, `failed`,
`complained`, `reminders_off` and `reminders_on`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from migrator.core.clock import parse_utc
from migrator.core.encoding import strict_json
from migrator.core.errors import UsageError
from migrator.notices import bounces, verp
from migrator.notices.marks import Kind, Mark

MAX_LINE_BYTES: Final = 16 * 1024
_EVENTS: Final = {
    "seen": Kind.SEEN,
    "failed": Kind.BOUNCED,
    "complained": Kind.COMPLAINED,
    "reminders_off": Kind.REMINDERS_OFF,
    "reminders_on": Kind.REMINDERS_ON,
}
_MEMBERS: Final = {"webhook_id", "event", "at"}


def marks(paths: Sequence[Path]) -> Iterator[Mark | None]:
    """What the files say, one for each message or line; None for one that says nothing of a notice.

    Raises `UsageError` for a path that can't be read.
    """
    for path in paths:
        try:
            yield from _of(path)
        except OSError as error:
            raise UsageError(f"{path} can't be read: {error.strerror}", hint="a Maildir, an mbox, or .jsonl") from None


def _of(path: Path) -> Iterator[Mark | None]:
    if not path.is_dir():
        yield from _of_file(path)
    elif (path / "cur").is_dir() and (path / "new").is_dir():
        for folder in ("new", "cur"):
            for file in _files(path / folder):
                yield _of_message(file)
    else:
        for file in _files(path):
            yield from _of_file(file)


def _files(folder: Path) -> Iterator[Path]:
    """Regular files only, one at a time: a bounce folder can hold a million."""
    for path in folder.iterdir():
        if path.is_file() and not path.name.startswith("."):
            yield path


def _of_file(path: Path) -> Iterator[Mark | None]:
    with path.open("rb") as file:
        if path.suffix == ".jsonl":
            yield from map(_of_line, _lines(file))
        elif file.read(5) == b"From ":
            file.seek(0)
            yield from map(bounces.read, _messages(file))
        else:
            yield _of_message(path)


def _of_message(path: Path) -> Mark | None:
    with path.open("rb") as file:
        return bounces.read(file.read(bounces.MAX_MESSAGE_BYTES + 1))


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines that say something; one that is too long comes cut off, and so says nothing."""
    while line := file.readline(MAX_LINE_BYTES):
        whole = line
        while not whole.endswith(b"\n") and (whole := file.readline(MAX_LINE_BYTES)):
            line = b"{"
        if line.strip():
            yield line


def _messages(file: BinaryIO) -> Iterator[bytes]:
    """The messages of an mbox; what is over the limit of one is passed over, never gathered."""
    gathered: list[bytes] = []
    size, blank = 0, True
    while line := file.readline(MAX_LINE_BYTES):
        if blank and line.startswith(b"From "):
            if gathered:
                yield b"".join(gathered)
            gathered, size = [], 0
        elif size <= bounces.MAX_MESSAGE_BYTES:
            gathered.append(line)
            size += len(line)
        blank = line in (b"\n", b"\r\n")
    if gathered:
        yield b"".join(gathered)


def _of_line(line: bytes) -> Mark | None:
    try:
        document = strict_json(line, max_depth=2)
        if not isinstance(document, dict) or not {"webhook_id", "event"} <= document.keys() <= _MEMBERS:
            return None
        key, event, at = document["webhook_id"], document["event"], document.get("at")
        kind = _EVENTS.get(event) if isinstance(event, str) else None
        if kind is None or not isinstance(key, str) or verp.key_of(f"+{key}@") is None:
            return None
        moment = parse_utc(at) if isinstance(at, str) else None
        return Mark(key=key, kind=kind, detail="in the app" if kind is Kind.BOUNCED else "", at=moment)
    except ValueError:
        return None
