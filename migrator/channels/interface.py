"""The port to a notice channel."""

from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """A rendered notice on its way: the message, and the key that makes a second delivery of it the same one."""

    idempotency_key: str
    message: EmailMessage


@dataclass(frozen=True, slots=True)
class Accepted:
    """The channel took the notice."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The channel refused this one notice for good."""

    detail: str


class NoticeChannel(Protocol):
    """Delivers notices. A dispatch with a key that was delivered before is accepted without a second message.

    Raises `MigratorError` where the channel as a whole fails; a refusal of one notice is a `Rejected`.
    """

    @classmethod
    def open(cls, address: str, *, directory: Path) -> "NoticeChannel":
        """Open by what follows `kind:` in its address; relative paths are below `directory`."""
        ...

    def send(self, dispatch: Dispatch) -> Accepted | Rejected:
        """Deliver one notice; returns when it would survive a crash of this machine."""
        ...
