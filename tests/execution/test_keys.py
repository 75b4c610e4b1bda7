"""Data keys: one call a service, a refusal for each conversation that has none, and unwrapped to go on."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from migrator.campaign import Campaign
from migrator.core.envelope import DataKey
from migrator.core.errors import KeyProblem, KeyServiceError, KeyServiceUnavailableError
from migrator.core.model import Conversation
from migrator.core.outcomes import Outcome
from migrator.database import tables
from migrator.execution.keys import WrappedKey, insert_keys, load_key, make_keys
from migrator.execution.work import Work
from migrator.keyservices.interface import KeyRefusal, RefusalKind
from tests.execution.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Two regions have a service."""
    return Bench(tmp_path / "campaign", keys={"regions": {"EU": "local:keys#migrator", "US": "local:us#migrator"}})


@pytest.fixture
def campaign(bench: Bench) -> Iterator[Campaign]:
    """The same, open."""
    with bench.open() as opened:
        yield opened


def work(number: int, region: str | None) -> Work:
    """A conversation of somebody in a region."""
    return Work(
        conversation_no=number, conversation=Conversation(f"in/{number}", "a", "k", ("a",), 1), ref=f"{number:032x}",
        region=region, exporters=("a",), newest_export_no=1, visible=False, partial=False,
    )  # fmt: skip


class Counting:
    """A service that notes how many keys it is given at once."""

    def __init__(self, service: Any, calls: list[int]) -> None:
        self.name = service.name
        self._service, self._calls = service, calls

    def wrap(self, items: Sequence[tuple[bytes, bytes]]) -> Any:
        """As the real one."""
        self._calls.append(len(items))
        return self._service.wrap(items)


def test_one_call_a_service_and_each_its_own(campaign: Campaign) -> None:
    """Answers stand where their conversations stood, each wrapped by its region's service under its own context."""
    calls: list[int] = []
    services: Any = campaign.key_services._open
    for region, address in campaign.settings.keys.regions.items():
        services[address] = Counting(campaign.key_services.for_region(region), calls)
    regions = ["EU", "US", "EU", "XX", "US", "EU"]
    made = make_keys(campaign, [work(number, region) for number, region in enumerate(regions, start=1)])
    assert [m.key_service if isinstance(m, WrappedKey) else None for m in made] == [
        "local:keys#migrator", "local:us#migrator", "local:keys#migrator", None, "local:us#migrator",
        "local:keys#migrator",
    ]  # fmt: skip
    assert sorted(calls) == [2, 3]
    contexts = [m.context for m in made if isinstance(m, WrappedKey)]
    assert len(set(contexts)) == 5


class Failing:
    """A service that fails as it is told."""

    name = "failing:"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def wrap(self, _: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """It does."""
        raise self._error


def test_a_service_that_refuses_for_good_and_one_that_is_away(campaign: Campaign) -> None:
    """The first costs its conversations, the second the session."""
    services: Any = campaign.key_services._open
    services["local:us#migrator"] = Failing(KeyServiceError("no permission", problem=KeyProblem.DENIED))
    made = make_keys(campaign, [work(1, "EU"), work(2, "US")])
    assert isinstance(made[0], WrappedKey)
    assert made[1] == KeyRefusal(RefusalKind.DENIED, "no permission")
    services["local:us#migrator"] = Failing(KeyServiceUnavailableError("away"))
    with pytest.raises(KeyServiceUnavailableError):
        make_keys(campaign, [work(1, "EU"), work(2, "US")])


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
    assert loaded[1] == "local:us#migrator"
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
