"""Writes a bundle: leaves, proofs, the log's key, the verifier and what they say, listed with digests in `bundle.json`.

`bundle.json` comes last, so that a bundle whose writer was interrupted does not verify.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Final

from migrator.audit.anchors import kept
from migrator.audit.published import PublishedLog
from migrator.core.errors import UsageError

SCHEMA: Final = "migrator.audit_bundle/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageProof:
    """That a page of a conversation is under the `items_root` of an entry, and the message that it is asked about.

    `rows`: (message id, E2EE ciphertext, server ciphertext) of the page as JSON lines, in order.
    """

    seq: int
    ref: str
    message_id: str
    page_no: int
    pages: int
    path: tuple[str, ...]
    rows: Iterable[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What was written."""

    folder: Path
    size: int
    entries: tuple[int, ...]


class BundleWriter:
    """One bundle in a new folder; `UsageError` where it can't be written."""

    def __init__(self, folder: Path, log: PublishedLog) -> None:
        self._folder = folder
        self._log = log
        self._digests: dict[str, str] = {}
        self._entries: list[dict[str, Any]] = []
        with self._explained():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise UsageError(f"{folder} is not empty", hint="name a new folder: --out DIR")

    def add(self, seq: int) -> None:
        """Put in one entry and its proof."""
        entry = self._log.entry(seq)
        leaf, proof = f"leaves/{seq:09}.json", f"proofs/{seq:09}.tlog-proof"
        self._write(leaf, [entry])
        self._write(proof, [self._log.prove(seq, entry).to_bytes()])
        self._entries.append({"seq": seq, "leaf": leaf, "proof": proof})

    def finish(self, about: Mapping[str, str | list[str]], page: PageProof | None) -> Bundle:
        """The rest: key, page, timestamp, verifier, README, and the list of all of it."""
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "origin": self._log.checkpoint.origin,
            "size": self._log.size,
            "about": dict(about),
            "entries": self._entries,
        }
        self._write("log.vkey", [self._log.vkey_text])
        stamp = kept.timestamp(self._log.folder, self._log.size)
        if stamp is not None:
            self._write("checkpoint", [self._log.note])
            self._write("checkpoint.tsr", [stamp])
        if page is not None:
            self._write("page.jsonl", page.rows)
            document["message"] = {
                name: getattr(page, name) for name in ("seq", "ref", "message_id", "page_no", "pages", "path")
            } | {"page": "page.jsonl"}
        self._write("verify.py", [_shipped("verify.py")])
        self._write("README.md", [self._readme(about)])
        self._write_list(document)
        return Bundle(folder=self._folder, size=self._log.size, entries=tuple(e["seq"] for e in self._entries))

    def _write_list(self, document: dict[str, Any]) -> None:
        listed = {**document, "files": dict(sorted(self._digests.items()))}
        compact = json.dumps(listed, sort_keys=True, separators=(",", ":")).encode()
        whole = {**listed, "digest": hashlib.sha256(compact).hexdigest()}
        self._write("bundle.json", [(json.dumps(whole, sort_keys=True, indent=1) + "\n").encode()])

    def _readme(self, about: Mapping[str, str | list[str]]) -> bytes:
        text = Template(_shipped("readme.md").decode()).substitute(
            origin=self._log.checkpoint.origin,
            size=self._log.size,
            about=", ".join(f"{name} `{value}`" for name, value in sorted(about.items()) if isinstance(value, str)),
        )
        return text.encode()

    def _write(self, name: str, pieces: Iterable[bytes]) -> None:
        path = self._folder / name
        digest = hashlib.sha256()
        with self._explained():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                for piece in pieces:
                    digest.update(piece)
                    file.write(piece)
        self._digests[name] = digest.hexdigest()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"the bundle can't be written to {self._folder}: {error.strerror}",
                hint="check free space and permissions, or name another folder",
            ) from None


def _shipped(name: str) -> bytes:
    return resources.files("migrator.audit.bundle").joinpath(name).read_bytes()
