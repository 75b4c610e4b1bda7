"""Which hooks there are, and whether nobody but the operator can have put them there.

1. A hook is an executable file in `hooks.directory` that bears one of the known names. What else is executable there is
   a mistake that is told: a misspelt `before-cutover` would be a gate that stands open. So is a known name that is not
   executable. Other files and folders are the operator's.
2. Hooks run with everything that migrator may do. So nobody else may be able to change one: each file, its folder, and
   every folder above them belong to this user or root, and nobody else may write there, but in folders with the sticky
   bit. Links are followed, and what they lead to is held to the same.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from migrator.config.keys import nearest, show
from migrator.core.errors import ConfigError

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_ANYBODY_EXECUTES: Final = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


class Hook(StrEnum):
    """When a hook is called (closed)."""

    BEFORE_CUTOVER = "before-cutover"
    ON_START = "on-start"
    ON_THROTTLED = "on-throttled"
    ON_FAILURE = "on-failure"
    ON_COMPLETE = "on-complete"

    @property
    def may_refuse(self) -> bool:
        """Whether nothing goes on unless it ends well."""
        return self.value.startswith("before-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """The hooks of a campaign, checked; `directory` None: it has no folder of hooks."""

    directory: Path | None
    paths: Mapping[Hook, Path]


def found(directory: Path | None) -> Hooks:
    """The hooks in a folder; `ConfigError` for what is missing, misspelt, or in somebody else's reach."""
    if directory is None:
        return Hooks(directory=None, paths={})
    try:
        _require_ours(directory, folder=True)
        paths = {}
        for entry in sorted(directory.iterdir()):
            hook = _hook_of(entry)
            if hook is not None:
                _require_ours(entry, folder=False)
                paths[hook] = entry
    except OSError as error:
        raise ConfigError(
            f"hooks.directory: {directory} can't be read: {error.strerror}",
            hint="make the folder, or take the setting out",
        ) from None
    except RuntimeError:  # a link that leads to itself
        raise ConfigError(f"hooks.directory: {directory} holds links that lead nowhere") from None
    return Hooks(directory=directory, paths=paths)


def _hook_of(entry: Path) -> Hook | None:
    known = entry.name in set(Hook)
    if not known and (entry.name.startswith(".") or not entry.is_file()):
        return None
    status = entry.stat()
    executable = bool(status.st_mode & _ANYBODY_EXECUTES) and os.access(entry, os.X_OK)
    if not known:
        if not executable:
            return None
        meant = nearest(entry.name, [hook.value for hook in Hook])
        raise ConfigError(
            f"{entry.parent} holds an executable {show(entry.name)}, which is no hook{meant}",
            hint=f"hooks are called {', '.join(Hook)}; helpers of theirs belong into a folder below",
        )
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"the hook {entry} is not a regular file")
    if not executable:
        raise ConfigError(f"the hook {entry} is not executable", hint=f"chmod u+x {entry}, or rename it")
    return Hook(entry.name)


def _require_ours(path: Path, *, folder: bool) -> None:
    """Raise `ConfigError` where somebody else could have made or changed what a path leads to, or the way to it."""
    real = path.resolve(strict=True)
    if folder and not real.is_dir():
        raise ConfigError(f"hooks.directory: {path} is not a folder")
    for place in dict.fromkeys((real, *real.parents, *path.absolute().parents)):
        status = place.stat()
        if status.st_uid not in (os.geteuid(), 0):
            raise ConfigError(
                f"{place} belongs to another user, who could change the hooks that migrator runs",
                hint="give it to the user that runs migrator, or to root",
            )
        shared = place != real and status.st_mode & stat.S_ISVTX
        if status.st_mode & _OTHERS_WRITE and not shared:
            raise ConfigError(
                f"others than its owner can write {place}, and so change the hooks that migrator runs",
                hint=f"chmod go-w {place}",
            )
