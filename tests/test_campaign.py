"""An open campaign: its own database only, and nothing opened for nothing."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrator.campaign import Campaign, CampaignSpec, open_campaign
from migrator.core.errors import ConfigError, DatabaseError, SourceError
from migrator.core.settings import Settings
from migrator.database import tables
from tests.execution.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A campaign that was set up."""
    return Bench(tmp_path / "campaign")


def changed(spec: CampaignSpec, section: str, **values: Any) -> CampaignSpec:
    """The same with other settings."""
    members = spec.settings.model_dump()
    members[section] |= values
    return replace(spec, settings=Settings.model_validate(members))


def test_what_crosses_a_process_boundary_holds_no_key(bench: Bench) -> None:
    """The specification is settings, paths and a clock; a worker makes the rest of it by itself."""
    data = pickle.dumps(bench.spec)
    assert pickle.loads(data) == bench.spec  # noqa: S301 - our own bytes
    with bench.open() as campaign:
        with pytest.raises((TypeError, AttributeError)):
            pickle.dumps(campaign)
        assert "…" in repr(campaign.references)


@pytest.mark.parametrize(
    "other", [{"name": "another"}, {"environment": "production"}, {"name": "another", "environment": "production"}]
)
def test_the_database_of_another_campaign(bench: Bench, other: dict[str, str]) -> None:
    """G2: one edited word in the configuration does not open it."""
    spec = changed(bench.spec, "keys", allow_local_keys=True)
    with pytest.raises(ConfigError, match="bench") as caught, open_campaign(changed(spec, "campaign", **other)):
        pytest.fail("opened")
    assert "init" in caught.value.hint


def test_a_database_that_is_not_there(bench: Bench) -> None:
    """It is not made by looking for it."""
    spec = changed(bench.spec, "database", url="sqlite:///missing.db")
    with pytest.raises(DatabaseError, match="can't be opened"), open_campaign(spec):
        pytest.fail("opened")
    assert not (bench.folder / "missing.db").exists()


def test_a_database_without_a_campaign(bench: Bench) -> None:
    """Set up halfway: said so."""
    with bench.database() as connection:
        connection.execute(tables.campaign.delete())
    with pytest.raises(ConfigError, match="no campaign yet"), bench.open():
        pytest.fail("opened")


def test_the_source_is_opened_at_first_use(bench: Bench) -> None:
    """A campaign whose source is away can be looked at; what needs the source says what is wrong."""
    (bench.folder / "store.db").unlink()
    with bench.open() as campaign:
        assert campaign.key_services.default().name == "local:keys#migrator"
        with pytest.raises(SourceError, match="source"):
            _ = campaign.store


def test_a_quorum_that_the_source_does_not_have(bench: Bench) -> None:
    """A mailbox always names its owner: `any_participant` is a configuration error that names what there is."""
    spec = changed(bench.spec, "authorization", quorum="any_participant")
    with open_campaign(spec) as campaign, pytest.raises(ConfigError, match="any_participant") as caught:
        _ = campaign.store
    assert "every_participant, owner" in caught.value.hint


def test_read_only_writes_nothing(bench: Bench) -> None:
    """What a dry run has open."""
    with bench.open(read_only=True) as campaign, pytest.raises(DatabaseError), campaign.database.write("test"):
        pytest.fail("written")


def test_closing_twice_is_fine(bench: Bench) -> None:
    """Also where nothing was ever opened."""
    campaign = Campaign(bench.spec)
    campaign.close()
    campaign.close()
