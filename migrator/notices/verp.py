"""Variable envelope return paths (D. J. Bernstein, VERP): each notice has a bounce address of its own.

`bounces@example.org` becomes `bounces+<delivery key>@example.org`. The key can't be guessed, so that nobody can pretend
that somebody else's notice came back.
"""

import re
from typing import Final

from migrator.core.errors import ConfigError
from migrator.notices import messages

_KEY: Final = re.compile(r"[0-9a-f]{40}\Z")
_LONGEST_LOCAL: Final = 64


def return_path(base: str | None, key: str) -> str | None:
    """Where bounces of the notice with that key go; None where no return path is configured."""
    if base is None:
        return None
    local, _, domain = base.rpartition("@")
    return f"{local}+{key}@{domain}"


def check(base: str | None) -> None:
    """Raise `ConfigError` for a `notify.return_path` that no address can be made from."""
    if base is None:
        return
    made = return_path(base, "0" * 40)
    if made is None or len(made.rpartition("@")[0]) > _LONGEST_LOCAL or messages.parse_address(made) is None:
        raise ConfigError(
            f"notify.return_path can't be one: {base!r}",
            hint="an address like bounces@example.org, at most 23 characters before the @",
        )


def key_of(address: str) -> str | None:
    """The delivery key in an address; None where there is none."""
    key = address.rpartition("@")[0].rpartition("+")[2]
    return key if _KEY.match(key) else None
