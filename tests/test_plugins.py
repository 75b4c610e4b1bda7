"""Implementations are found by name, ours and those of installed plug-ins alike; what is missing is said."""

import sys
from importlib.metadata import EntryPoint

import pytest

from migrator import plugins
from migrator.channels.interface import ChannelAddress
from migrator.channels.maildir import MaildirChannel
from migrator.channels.smtp import SmtpChannel
from migrator.channels.webhook import WebhookChannel
from migrator.core.errors import ConfigError
from migrator.engines.dask import DaskEngine
from migrator.engines.local import LocalEngine
from migrator.keyservices.local import LocalKeyService
from migrator.schemes.labyrinth import LabyrinthScheme
from migrator.stores.labyrinth import LabyrinthStore


def test_what_migrator_brings() -> None:
    """Each by the name that settings use."""
    assert plugins.store_class("labyrinth") is LabyrinthStore
    assert isinstance(plugins.scheme("labyrinth"), LabyrinthScheme)
    assert plugins.key_service_class("local:keys#a:b") == (LocalKeyService, "keys#a:b")
    assert plugins.channel_class(ChannelAddress.parse("maildir:outbox")) is MaildirChannel
    assert plugins.channel_class(ChannelAddress.parse("smtps://mail.example.org")) is SmtpChannel
    assert plugins.channel_class(ChannelAddress.parse("webhook:https://example.org/")) is WebhookChannel
    engine = plugins.engine("local", 3)
    assert isinstance(engine, LocalEngine)
    assert engine.workers == 3


@pytest.mark.parametrize("name", ["", "Labyrinth", "labyrinth ", "../labyrinth", "os"])
def test_a_name_that_nobody_has(name: str) -> None:
    """The setting is named, and what is installed."""
    with pytest.raises(ConfigError, match=r"source\.kind") as caught:
        plugins.store_class(name)
    assert "labyrinth" in caught.value.hint


@pytest.mark.parametrize("address", ["gcpkms:projects/p/locations/l", "local", "", ":", "LOCAL:keys"])
def test_an_address_of_another_kind(address: str) -> None:
    """`local` without a colon names the kind and no place, which the service refuses itself."""
    if address == "local":
        assert plugins.key_service_class(address) == (LocalKeyService, "")
        return
    with pytest.raises(ConfigError, match=r"keys\.service") as caught:
        plugins.key_service_class(address)
    assert "local" in caught.value.hint


@pytest.mark.parametrize("address", ["sms:localhost", "", "maildir2:x"])
def test_a_channel_that_nobody_has(address: str) -> None:
    """Named by its setting."""
    with pytest.raises(ConfigError, match=r"notify\.channel"):
        plugins.channel_class(ChannelAddress(kind=address.partition(":")[0], rest="", name="x", options={}))


def test_a_cluster_by_its_schedulers_address() -> None:
    """Not connected to before it is asked for workers."""
    assert isinstance(plugins.engine("dask:tcp://host:8786", 0), DaskEngine)


@pytest.mark.parametrize("address", ["dask", "dask:host", "ray:tcp://host:8786", "", "LOCAL", "local:"])
def test_an_engine_that_is_not_here(address: str) -> None:
    """Said with what there is."""
    with pytest.raises(ConfigError, match=r"execution\.engine") as caught:
        plugins.engine(address, 1)
    assert "dask:tcp://" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "missing"),
    [("migrator_plugin_that_is_not_installed:Store", "migrator_plugin_that_is_not_installed"),
     ("migrator.stores.labyrinth:NoSuchStore", "NoSuchStore")],
)  # fmt: skip
def test_a_plug_in_that_can_not_be_loaded(monkeypatch: pytest.MonkeyPatch, value: str, missing: str) -> None:
    """Its package, or the thing in it, is not there: which, in one sentence; never a traceback."""
    broken = EntryPoint(name="broken", value=value, group="migrator.stores")
    monkeypatch.setattr(plugins, "entry_points", lambda **_: [broken])
    with pytest.raises(ConfigError, match=missing) as caught:
        plugins.store_class("broken")
    assert "install" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [("awskms", "boto3", "aws"), ("vault", "hvac", "vault"), ("pkcs11", "pkcs11", "pkcs11")],
)
def test_an_extra_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: str, module: str, extra: str
) -> None:
    """With the command that installs it."""
    plugins._load.cache_clear()
    for name in [name for name in sys.modules if name.startswith(f"migrator.keyservices.{kind.removesuffix('kms')}")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=module) as caught:
        plugins.key_service_class(f"{kind}:x")
    assert caught.value.hint == f"pip install 'migrator[{extra}]'"
