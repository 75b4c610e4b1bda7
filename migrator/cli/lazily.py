"""Lets modules load at their first use while a shell waits for completions: half of them never load then.

Loading all of migrator takes most of the time of a short command. A key press needs the commands and their options, not
the services behind them. It is not done for anything else: an import that fails should fail at once, in one place, and
modules that load in the middle of a run, in whatever thread, are nobody's wish.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

_PACKAGE: Final = "migrator."


class _Unloaded(ModuleType):
    """A module that is known and was not executed; what it has already, such as its spec, is no reason to."""

    def __getattr__(self, name: str) -> Any:
        """Something of it is wanted: from here on it is an ordinary module."""
        _load(self)
        return getattr(self, name)


class _Loader(Loader):
    """Puts the work of another loader off."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the other one does."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Not yet."""
        module.__class__ = _Unloaded


def _load(module: ModuleType) -> None:
    """Execute a module after the package that it is in, which may have done so in passing."""
    package = sys.modules.get(module.__name__.rpartition(".")[0])
    if isinstance(package, _Unloaded):
        _load(package)
    loader = module.__spec__.loader if module.__spec__ is not None else None
    if isinstance(module, _Unloaded) and isinstance(loader, _Loader):
        module.__class__ = ModuleType  # type: ignore[assignment] # as importlib's own LazyLoader does
        loader.loader.exec_module(module)


class _Finder(MetaPathFinder):
    """Finds what the others find, and wraps its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec of ours, lazy; None for everybody else's modules."""
        if not fullname.startswith(_PACKAGE):
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


def import_lazily() -> None:
    """From here on, and for the rest of this process, modules of ours are loaded when something of them is wanted."""
    sys.meta_path.insert(0, _Finder())
