"""The port to a notice channel, and the addresses that settings name channels by."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import ClassVar, Final, Protocol
from urllib.parse import unquote

from migrator.core.errors import ConfigError
from migrator.core.secret import Secret

_OPTIONS: Final = re.compile(r"#((?:[a-z_]+=[^#&]*)(?:&[a-z_]+=[^#&]*)*)\Z")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z")
LONGEST_TIMEOUT: Final = 600
"""Seconds; a batch of notices does not wait longer for one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelAddress:
    """`kind:rest#option=value&…` as settings have it.

    `name` is what notices are recorded under: the option `name`, else the kind. Other options are the channel's own;
    they stand behind `#`, the part of a URL that is never sent to anybody (RFC 3986, section 3.5).
    """

    kind: str
    rest: str
    name: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> "ChannelAddress":
        """Read an address; `ConfigError` for options given twice and for a name that is none."""
        kind, _, rest = text.partition(":")
        match = _OPTIONS.search(rest)
        options: dict[str, str] = {}
        for option in match[1].split("&") if match else ():
            key, _, value = option.partition("=")
            if key in options:
                raise ConfigError(f"notify.channel: option {key!r} of {kind!r} stands there twice")
            options[key] = unquote(value)
        name = options.pop("name", kind)
        if not _NAME.match(name):
            raise ConfigError("notify.channel: a channel's name has 1 to 32 of a-z, 0-9, '_' and '-'")
        return cls(kind=kind, rest=rest[: match.start()] if match else rest, name=name, options=options)

    def timeout(self, usual: float) -> float:
        """The option `timeout` in seconds, `usual` where it is left out; `ConfigError` for what is none."""
        try:
            seconds = float(self.options.get("timeout", usual))
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= LONGEST_TIMEOUT:
            raise ConfigError(f"notify.channel: the option timeout is a number of seconds, at most {LONGEST_TIMEOUT}")
        return seconds

    def refuse_options(self, known: frozenset[str]) -> None:
        """Raise `ConfigError` for an option that the channel does not have."""
        for option in self.options:
            if option not in known:
                raise ConfigError(
                    f"notify.channel: {self.kind!r} has no option {option!r}",
                    hint=f"it has {', '.join(sorted(known | {'name'}))}",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """A rendered notice on its way: the message, and the key that makes a second delivery of it the same one.

    A key is of ASCII letters, digits and `-`. `return_path`: the address that bounces of this very notice go to; None:
    the sender's. `facts`: what programs on the way may want to know of the notice beside its text, none of it personal.
    """

    idempotency_key: str
    account_id: str
    message: EmailMessage
    return_path: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The channel took the notice."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The channel refused this one notice for good. `detail` names no address."""

    detail: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """The channel does not take this one notice now; the same again may succeed.

    `after`: seconds that it asks to wait. `throttled`: it asks that for all notices, not for this one.
    """

    detail: str
    after: float | None = None
    throttled: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """The channel's receiver wants nothing more, ever: the channel is not to be used until an operator says so."""

    detail: str


Resolve = Callable[[str], Secret]
Answer = Accepted | Rejected | Deferred | Gone


class NoticeChannel(Protocol):
    """Delivers notices. Raises `MigratorError` where the channel as a whole fails; else says what became of one."""

    by_mail: ClassVar[bool]
    """Whether it reaches accounts by their mail address; others know accounts by their id."""
    remembers: ClassVar[bool]
    """Whether the channel itself never makes a second message of a key that it delivered before."""

    @classmethod
    def open(cls, address: ChannelAddress, *, directory: Path, resolve: Resolve) -> "NoticeChannel":
        """Open by its address, without any traffic; relative paths are below `directory`.

        `resolve` fetches the secret that an option refers to.
        """
        ...

    def send(self, dispatch: Dispatch) -> Answer:
        """Deliver one notice; `Accepted` when it would survive a crash of this machine."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
