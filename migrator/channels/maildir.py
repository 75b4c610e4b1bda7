"""Notices into a Maildir: the embedded default, for rehearsals and for platforms whose own mailer picks mail up.

The Maildir convention (D. J. Bernstein, https://cr.yp.to/proto/maildir.html), except that a message's name comes
from its idempotency key. So a notice that a killed process had delivered is recognised, also once a mail reader has
moved it from `new` to `cur` and given it flags. The names of all that was delivered are held in memory: this is a
local outbox, not a mail server.
"""

import hashlib
import os
import secrets
from email import policy
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final

from migrator.channels.interface import Accepted, Answer, ChannelAddress, Dispatch, Resolve
from migrator.core.errors import ChannelError

_SUFFIX: Final = ".migrator"
_FOLDERS: Final = ("tmp", "new", "cur")
_POLICY: Final = policy.default.clone(linesep="\n")


class MaildirChannel:
    """`maildir:PATH`. The folder is made with the first notice."""

    by_mail: ClassVar[bool] = True
    remembers: ClassVar[bool] = True

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def open(cls, address: ChannelAddress, *, directory: Path, resolve: Resolve) -> "MaildirChannel":  # noqa: ARG003 - no secrets
        """Open the Maildir at a path; raises `ChannelError` for what is there and is none."""
        address.refuse_options(frozenset())
        if not address.rest or "\0" in address.rest:
            raise ChannelError("notify.channel: maildir has no path", hint="for example maildir:outbox")
        root = directory / address.rest
        try:
            there = sorted(entry.name for entry in root.iterdir()) if root.exists() or root.is_symlink() else []
        except OSError as error:
            raise _explained(root, error) from None
        if there and not set(_FOLDERS) <= set(there):
            raise ChannelError(f"{root} is a folder, but no Maildir", hint="name one that is empty or does not exist")
        return cls(root)

    def send(self, dispatch: Dispatch) -> Answer:
        """Deliver one notice; accepted without a second message if it was delivered before."""
        name = hashlib.sha256(dispatch.idempotency_key.encode("utf-8", "surrogateescape")).hexdigest() + _SUFFIX
        try:
            if name not in self._delivered:
                self._deliver(name, _return_path(dispatch) + dispatch.message.as_bytes(policy=_POLICY))
                self._delivered.add(name)
        except OSError as error:
            raise _explained(self._root, error) from None
        return Accepted()

    def close(self) -> None:
        """Nothing is kept open."""

    @cached_property
    def _delivered(self) -> set[str]:
        """Names of what is there; `new` is listed before `cur`, because readers move mail in that direction."""
        for folder in _FOLDERS:
            (self._root / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        _sync(self._root / "new")  # what a killed process delivered may not be durable yet
        names = (entry.name.split(":")[0] for folder in ("new", "cur") for entry in (self._root / folder).iterdir())
        return {name for name in names if name.endswith(_SUFFIX)}

    def _deliver(self, name: str, data: bytes) -> None:
        """Whole under `tmp` first; `link` then gives it its name, and fails where another process was faster."""
        unfinished = self._root / "tmp" / f"{name}.{secrets.token_hex(8)}"
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new = self._root / "new"
            try:
                os.link(unfinished, new / name)
            except FileExistsError:
                return
            _sync(new)
        finally:
            unfinished.unlink(missing_ok=True)


def _return_path(dispatch: Dispatch) -> bytes:
    """The header that whoever delivers for good puts first (RFC 5321, section 4.4)."""
    return b"" if dispatch.return_path is None else f"Return-Path: <{dispatch.return_path}>\n".encode("ascii")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explained(root: Path, error: OSError) -> ChannelError:
    return ChannelError(
        f"the Maildir {root} can't be used: {error.strerror}", hint="check free space and the folder's permissions"
    )
