"""Data keys: one call a service, a refusal for each conversation that has none, and unwrapped to go on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.campaign import Campaign
from migrator.core.envelope import DataKey
from migrator.core.errors import ConfigError, KeyProblem, KeyServiceError, KeyServiceUnavailableError
from migrator.core.model import Conversation
from migrator.core.outcomes import Outcome
from migrator.database import tables
from migrator.execution.keys import WrappedKey, insert_keys, load_key, make_keys
from migrator.execution.work import Work
from migrator.history import living_keys, unwrap
from migrator.keyservices.interface import KeyRefusal
from tests.execution.bench import Bench
from tests.support.key_services import SwitchedKeyService, switch

REGIONS = {"EU": "local:keys#migrator", "UK": "local:keys#migrator", "US": "switched:us#migrator"}


@pytest.fixture
def bench(tmp_path: Path, switched: None) -> Bench:  # noqa: ARG001 - its services can be found before they are made
    """Three regions have a service."""
    return Bench(tmp_path / "campaign", keys={"regions": REGIONS})


@pytest.fixture
def campaign(bench: Bench) -> Iterator[Campaign]:
    """The same, open."""
    with bench.open() as opened:
        yield opened


def work(number: int, region: str) -> Work:
    """A conversation of somebody in a region."""
    return Work(
        conversation_no=number, conversation=Conversation(f"in/{number}", "a", "k", ("a",), 1), ref=f"{number:032x}",
        regions=frozenset({region}), exporters=("a",), newest_export_no=1, visible=False, partial=False,
    )  # fmt: skip


def test_one_call_a_service_and_each_its_own(campaign: Campaign) -> None:
    """Answers stand where their conversations stood, each wrapped by its region's service under its own context."""
    regions = ["EU", "US", "EU", "UK", "US", "EU"]
    made = make_keys(campaign, [work(number, region) for number, region in enumerate(regions, start=1)])
    home = {"EU": "local:keys#migrator", "UK": "local:keys#migrator", "US": "switched:us#migrator"}
    assert [m.key_service for m in made if isinstance(m, WrappedKey)] == [home[region] for region in regions]
    services = campaign.key_services
    assert services.calls == {("local:keys#migrator", "wrap"): 1, ("switched:us#migrator", "wrap"): 1}
    assert services.items == {("local:keys#migrator", "wrap"): 4, ("switched:us#migrator", "wrap"): 2}
    assert len({m.context for m in made if isinstance(m, WrappedKey)}) == 6


def test_a_refusal_costs_a_conversation_and_a_failing_service_the_session(bench: Bench, campaign: Campaign) -> None:
    """Whatever is wrong with the service as a whole is no outcome of a conversation."""
    switch(bench.folder / "us", "refuse")
    made = make_keys(campaign, [work(1, "EU"), work(2, "US")])
    assert isinstance(made[0], WrappedKey)
    assert isinstance(made[1], KeyRefusal)
    for behaviour in ("disabled", "denied", "unknown", "item-disabled"):
        switch(bench.folder / "us", behaviour)
        with pytest.raises(KeyServiceError):
            make_keys(campaign, [work(1, "EU"), work(2, "US")])
    switch(bench.folder / "us", "down")
    with pytest.raises(KeyServiceUnavailableError):
        make_keys(campaign, [work(1, "EU"), work(2, "US")])


def test_a_conversation_without_a_service_never_comes_here(campaign: Campaign) -> None:
    """It would be a bug: nothing is wrapped anywhere else instead."""
    with pytest.raises(ConfigError, match="without a key service"):
        make_keys(campaign, [work(1, "EU"), work(2, "XX")])
    assert not campaign.key_services.calls


def test_kept_and_loaded_again(bench: Bench, campaign: Campaign) -> None:
    """The same key comes back, with the service that wrapped it; nothing in the row or a repr is the key."""
    (made,) = make_keys(campaign, [work(1, "US")])
    assert isinstance(made, WrappedKey)
    with campaign.database.write("test") as connection:
        insert_keys(connection, campaign, [(work(1, "US"), made)])
        insert_keys(connection, campaign, [])
        loaded = load_key(connection, campaign, 1)
    assert not isinstance(loaded, Outcome)
    sealed = made.key.aead.encrypt(bytes(12), b"content", b"")
    assert loaded[0].aead.decrypt(bytes(12), sealed, b"") == b"content"
    assert loaded[1] == "switched:us#migrator"
    (row,) = bench.all(tables.data_key)
    assert made.key.to_keyset()[-40:] not in row["wrapped_keyset"]
    assert made.key.to_keyset().hex()[-64:] not in repr(made)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ("DELETE FROM migrator_data_key", Outcome.FAILED_INTEGRITY),
        ("UPDATE migrator_data_key SET wrapped_keyset = NULL", Outcome.FAILED_INTEGRITY),
        ("UPDATE migrator_data_key SET destroyed_at = '2026-05-09T00:00:00.000000Z'", Outcome.FAILED_INTEGRITY),
        ("UPDATE migrator_data_key SET key_id = key_id % 1000 + 1", Outcome.FAILED_INTEGRITY),
        ("UPDATE migrator_data_key SET wrapped_keyset = x'00'", Outcome.FAILED_KEY_SERVICE),
        ("UPDATE migrator_data_key SET context = '{}'", Outcome.FAILED_KEY_SERVICE),
        ("UPDATE migrator_data_key SET key_service = 'local:gone#migrator'", Outcome.FAILED_KEY_SERVICE),
    ],
)
def test_a_key_that_can_not_be_had_is_an_outcome(
    bench: Bench, campaign: Campaign, change: str, outcome: Outcome
) -> None:
    """Of the one conversation, whatever became of its row; never an error that stops the run."""
    (made,) = make_keys(campaign, [work(1, "EU")])
    assert isinstance(made, WrappedKey)
    assert isinstance(made.key, DataKey)
    with campaign.database.write("test") as connection:
        insert_keys(connection, campaign, [(work(1, "EU"), made)])
    with bench.database() as connection:
        connection.exec_driver_sql(change)
    with campaign.database.read() as connection:
        assert load_key(connection, campaign, 1) is outcome


def test_loading_from_a_failing_service_is_no_outcome(bench: Bench, campaign: Campaign) -> None:
    """A conversation under way is not given up because its service is: the run stops, and goes on later."""
    (made,) = make_keys(campaign, [work(1, "US")])
    assert isinstance(made, WrappedKey)
    with campaign.database.write("test") as connection:
        insert_keys(connection, campaign, [(work(1, "US"), made)])
    errors = {"denied": KeyServiceError, "item-disabled": KeyServiceError, "down": KeyServiceUnavailableError}
    for behaviour, error in errors.items():
        switch(bench.folder / "us", behaviour)
        with campaign.database.read() as connection, pytest.raises(error):
            load_key(connection, campaign, 1)
    switch(bench.folder / "us", "ok")
    with campaign.database.read() as connection:
        assert not isinstance(load_key(connection, campaign, 1), Outcome)


def test_a_service_that_can_not_be_opened_is_no_outcome(
    bench: Bench, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that expired between two sessions stops the run; the conversation is as it was."""
    (made,) = make_keys(campaign, [work(1, "US")])
    assert isinstance(made, WrappedKey)
    with campaign.database.write("test") as connection:
        insert_keys(connection, campaign, [(work(1, "US"), made)])

    def denied(*_: object, **__: object) -> SwitchedKeyService:
        raise KeyServiceError("the token expired", problem=KeyProblem.DENIED)

    monkeypatch.setattr(SwitchedKeyService, "open", denied)
    with bench.open() as later, later.database.read() as connection:
        with pytest.raises(KeyServiceError, match="the token expired"):
            load_key(connection, later, 1)
        with pytest.raises(KeyServiceError, match="the token expired"):
            unwrap(later, living_keys(connection, [1])[1])
