"""Attachments as files beside an archive.

A file's name is never its sender's: a number that the folder gives, what is harmless of the stem, and a suffix out of a
short list of kinds that no program runs. Everything else ends in `.bin`, so that nobody opens a page or a program by a
click. The sender's words stand in the archive and its manifest.
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from migrator.archiving.interface import Attachment, Files
from migrator.reading import ReadMessage

FOLDER: Final = "attachments"
_HARMLESS: Final = frozenset(
    ("aac", "csv", "docx", "flac", "gif", "heic", "jpeg", "jpg", "json", "m4a", "mov", "mp3", "mp4", "odp", "ods",
     "odt", "ogg", "opus", "pdf", "png", "pptx", "txt", "wav", "webm", "webp", "xlsx", "zip")
)  # fmt: skip
_PICTURES: Final = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp"}
"""Thumbnails have no names."""
_ODD: Final = re.compile(r"[^A-Za-z0-9_-]+")
_MAX_STEM: Final = 60


def save_all(files: Files, message: ReadMessage, attachments: Sequence[Attachment]) -> list[dict[str, Any]]:
    """Save what is attached to a message; what became of each: the name of its file, or why there is none."""
    return [_saved(files, message, attachment) for attachment in attachments]


def _saved(files: Files, message: ReadMessage, attachment: Attachment) -> dict[str, Any]:
    about: dict[str, Any] = {
        "event_id": message.message_id,
        "kind": attachment.kind,
        "name": attachment.name,
        "mimetype": attachment.mimetype,
    }
    if attachment.gap is not None:
        return {**about, "file": None, "size": attachment.size, "gap": attachment.gap}
    name = f"{FOLDER}/{files.count() + 1:06}-{harmless(attachment.name, attachment.mimetype)}"
    size = files.save(name, attachment.chunks(), about)
    return {**about, "file": name, "size": size, "gap": None}


def harmless(name: str | None, mimetype: str | None = None) -> str:
    """A name for a file out of what somebody sent: no path, no dots but one, no kind that is run or interpreted."""
    path = PurePosixPath((name or "").replace("\\", "/").replace("\0", "")).name
    stem, dot, suffix = path.rpartition(".")
    if not dot:
        stem, suffix = path, ""
    stem = _ODD.sub("-", stem).strip("-")[:_MAX_STEM] or "attachment"
    if suffix.lower() in _HARMLESS:
        return f"{stem}.{suffix.lower()}"
    return f"{stem}.{_PICTURES.get(mimetype or '', 'bin')}"
