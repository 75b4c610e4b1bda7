"""An archive on disk: written under another name, then renamed as a whole. What was not finished never has its name.

Everything is readable by its owner only. `manifest.json` lists each file with its SHA-256 as it is finished, and is
itself the last one; so memory does not grow with the number of files.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from migrator.archiving.interface import About, Form
from migrator.core.errors import UsageError
from migrator.private_files import sync_folder

MANIFEST: Final = "manifest.json"
MANIFEST_SCHEMA: Final = "migrator.archive_manifest/1"


class Folder:
    """A folder that is being filled."""

    def __init__(self, path: Path, manifest: BinaryIO) -> None:
        self.path = path
        self._manifest = manifest
        self._count = 0

    def count(self) -> int:
        """How many files there are by now."""
        return self._count

    def save(self, name: str, pieces: Iterable[bytes], about: Mapping[str, str | int | None]) -> int:
        """Write a file, whole and durable, and list it; its size in bytes."""
        path = self.path / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        size, digest = _write(path, pieces)
        entry = {"name": name, "size": size, "sha256": digest}
        if about:
            entry["attachment"] = dict(about)
        self._manifest.write((b",\n" if self._count else b"\n") + _json(entry))
        self._count += 1
        return size


def require_new(target: Path, *, single: bool) -> None:
    """Raise `UsageError` where something stands already that an archive would have to replace."""
    if single and os.path.lexists(target):
        raise UsageError(f"{target} is there already", hint="name a new file with --save")
    if not single and os.path.lexists(target) and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is there and is no empty folder", hint="name a new folder with --save")


@contextmanager
def new_folder(target: Path, form: Form, about: About) -> Iterator[Folder]:
    """A folder to fill, which takes the name `target` at the end: of nothing, or of an empty folder."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = _beside(target)
    unfinished.mkdir(mode=0o700)
    try:
        with _private(unfinished / MANIFEST) as manifest:
            manifest.write(_head(form, about) + b',"files":[')
            folder = Folder(unfinished, manifest)
            yield folder
            manifest.write(b"\n]}\n")
            _sync(manifest)
        for path in {unfinished, *(entry for entry in unfinished.iterdir() if entry.is_dir())}:
            sync_folder(path)
        unfinished.replace(target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def new_file(target: Path, pieces: Iterable[bytes]) -> tuple[int, str]:
    """Write one file that takes its name at the end; size and SHA-256. `OSError` where there is one already."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = _beside(target)
    try:
        size, digest = _write(unfinished, pieces)
        os.link(unfinished, target)  # unlike a rename never over something else
        sync_folder(target.parent)
    finally:
        unfinished.unlink(missing_ok=True)
    return size, digest


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.unfinished")


def _write(path: Path, pieces: Iterable[bytes]) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with _private(path) as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        _sync(file)
    return size, digest.hexdigest()


def _private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _head(form: Form, about: About) -> bytes:
    members: dict[str, Any] = {
        "schema": MANIFEST_SCHEMA,
        "campaign": about.campaign,
        "conversation_id": about.conversation_id,
        "format": form.value,
        "created_at": about.created_at,
        "tool_version": about.tool_version,
        "messages": about.messages,
        "gaps": about.gaps,
        "clear_text": about.clear_text,
    }
    return _json(members)[:-1]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
