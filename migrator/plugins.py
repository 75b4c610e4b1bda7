"""Finds implementations of the ports by name: entry points, ours and those of installed plug-ins alike."""

from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from migrator.channels.interface import ChannelAddress, NoticeChannel
from migrator.core.errors import ConfigError
from migrator.engines.interface import Engine
from migrator.engines.local import LocalEngine
from migrator.keyservices.interface import KeyService, OffersSigners, Signer
from migrator.schemes.interface import Scheme
from migrator.stores.interface import MessageStore

_EXTRAS: Final = {"boto3": "aws", "botocore": "aws", "hvac": "vault", "pkcs11": "pkcs11", "vodozemac": "matrix"}
"""Which extra of ours brings a module that is missing."""


def _installs(missing: str) -> str:
    extra = _EXTRAS.get(missing)
    return f"pip install 'migrator[{extra}]'" if extra else "install the package that it needs"


@cache
def _load(group: str, name: str, setting: str) -> Any:
    found = {point.name: point for point in entry_points(group=group)}
    if name not in found:
        raise ConfigError(
            f"{setting}: there is no {name!r}", hint=f"installed are: {', '.join(sorted(found)) or 'none'}"
        )
    try:
        return found[name].load()
    except (ImportError, AttributeError) as error:
        missing = getattr(error, "name", None) or type(error).__name__
        raise ConfigError(f"{setting}: {name!r} can't be loaded ({missing})", hint=_installs(missing)) from None


def store_class(kind: str) -> type[MessageStore]:
    """The message store of a source kind."""
    loaded: type[MessageStore] = _load("migrator.stores", kind, "source.kind")
    return loaded


def scheme(name: str) -> Scheme:
    """The scheme of that name."""
    loaded: type[Scheme] = _load("migrator.schemes", name, "scheme")
    return loaded()


def key_service_class(address: str) -> tuple[type[KeyService], str]:
    """The key service that an address (`kind:rest`) names, and the rest."""
    kind, _, rest = address.partition(":")
    loaded: type[KeyService] = _load("migrator.key_services", kind, "keys.service")
    return loaded, rest


def open_signer(address: str, directory: Path) -> Signer:
    """The signing key that an address (`kind:rest`) names, in a key service that offers signers."""
    kind, _, rest = address.partition(":")
    loaded: object = _load("migrator.key_services", kind, "audit.signing_key")
    if not isinstance(loaded, OffersSigners):
        raise ConfigError(
            f"audit.signing_key: the key service {kind!r} has no keys that sign", hint="file:PATH names a key in a file"
        )
    return loaded.open_signer(rest, directory=directory)


def channel_class(address: ChannelAddress) -> type[NoticeChannel]:
    """The notice channel of an address's kind."""
    loaded: type[NoticeChannel] = _load("migrator.channels", address.kind, "notify.channel")
    return loaded


def engine(address: str, workers: int) -> Engine:
    """The engine that an address names."""
    if address == "local":
        return LocalEngine(workers)
    kind, _, rest = address.partition(":")
    if kind != "dask":
        raise ConfigError(f"execution.engine: there is no {address!r}", hint="there are local and dask:tcp://host:port")
    try:
        from migrator.engines.dask import DaskEngine
    except ImportError as error:
        raise ConfigError(
            f"execution.engine: 'dask' can't be loaded ({error.name})", hint="pip install 'migrator[dask]'"
        ) from None
    return DaskEngine(rest, workers)
