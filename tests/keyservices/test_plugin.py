"""A key service from outside: it passes the conformance suite, its entry point is found, a campaign begins on it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migrator import plugins
from migrator.campaign import open_campaign
from migrator.core.errors import KeyDelay, KeyProblem
from migrator.keyservices.interface import KeyService
from migrator.testing.keyservices import KeyServiceConformance
from tests.campaign_spec import campaign_spec
from tests.keyservices.example import inhouse_keys

EXAMPLE = Path(inhouse_keys.__file__)
KEY = bytes(range(32))


class TestConformance(KeyServiceConformance):
    """As its author runs it."""

    @pytest.fixture(autouse=True)
    def _key(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_bytes(KEY)
        self.directory = tmp_path

    def service(self) -> KeyService:
        """Opened anew."""
        return inhouse_keys.InHouseKeyService.open("key", directory=self.directory)

    @contextmanager
    def in_trouble(self, trouble: KeyProblem | KeyDelay) -> Iterator[Callable[[], KeyService]]:
        """Only a missing key."""
        if trouble is not KeyProblem.UNKNOWN_KEY:
            pytest.skip("a file is there, or it is not")
        yield lambda: inhouse_keys.InHouseKeyService.open("other", directory=self.directory)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example as a package that pip has installed, on this test's path alone."""
    site = tmp_path / "site"
    metadata = site / "inhouse_keys-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: inhouse-keys\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[migrator.key_services]\ninhouse = inhouse_keys:InHouseKeyService\n")
    shutil.copy(EXAMPLE, site / "inhouse_keys.py")
    monkeypatch.syspath_prepend(site)
    return tmp_path


def test_an_installed_key_service_is_found_and_used(installed: Path) -> None:
    """By its kind alone: a campaign begins on it, and its keys are recorded under its name."""
    from migrator import setup

    (installed / "key").write_bytes(KEY)
    kind, rest = plugins.key_service_class("inhouse:key")
    assert (kind.__module__, rest) == ("inhouse_keys", "key")
    spec = campaign_spec(installed, keys={"service": "inhouse:key"})
    setup.initialise(spec)
    with open_campaign(spec) as campaign:
        assert campaign.key_services.default().name == "inhouse:key"
        assert campaign.references is not None  # unwrapped by it
