"""Which key service wraps for whom, and how long migrator bears with one that is away."""

import pickle
from pathlib import Path

import pytest

from migrator.core.errors import (
    KeyProblem,
    KeyServiceError,
    KeyServiceUnavailableError,
    NotConfiguredKeyServiceError,
)
from migrator.core.settings import KeysSettings
from migrator.key_routing import KeyServices
from migrator.keyservices.interface import KeyRefusal
from migrator.keyservices.local import LocalKeyService
from migrator.patience import PATIENCE_SECONDS
from tests.support.key_services import SwitchedKeyService, switch

CONTEXT = b"{}"


def services(folder: Path, former: dict[str, str] | None = None, **regions: str) -> KeyServices:
    """Those of a campaign with regions, whose local keysets are there."""
    for name in ("keys", "eu", "us"):
        LocalKeyService.create(name, directory=folder)
    return KeyServices(KeysSettings(service="local:keys", regions=regions, former=former or {}), folder)


@pytest.mark.parametrize("regions", [{"EU"}, {None}, {""}, {"EU", "US"}, set()])
def test_one_service_for_all_where_no_region_has_its_own(tmp_path: Path, regions: set[str | None]) -> None:
    """Also for who lives nowhere."""
    found = services(tmp_path)
    service = found.for_regions(regions)
    assert service is found.default()
    assert service.name == "local:keys#migrator"
    assert found.has_for_regions(regions)


@pytest.mark.parametrize(
    ("regions", "name"),
    [
        ({"EU"}, "local:eu#migrator"),
        ({"US"}, "local:us#migrator"),
        ({"EU", "UK"}, "local:eu#migrator"),
        ({"eu"}, None),
        ({"JP"}, None),
        ({None}, None),
        ({""}, None),
        (set(), None),
        ({"EU", "US"}, None),
        ({"EU", None}, None),
        ({"EU", "JP"}, None),
    ],
)
def test_regions_have_theirs_or_none(tmp_path: Path, regions: set[str | None], name: str | None) -> None:
    """Never the campaign's own as a fallback; members of a shared room must all have one and the same."""
    found = services(tmp_path, EU="local:eu", UK="local:eu", US="local:us")
    service = found.for_regions(regions)
    assert (service.name if service else None) == name
    assert found.has_for_regions(regions) == (name is not None)


def test_asking_whether_opens_nothing(tmp_path: Path) -> None:
    """A plan can be made while a region's key service is away."""
    found = services(tmp_path, EU="local:not-there")
    assert found.has_for_regions({"EU"})
    with pytest.raises(KeyServiceError):
        found.for_regions({"EU"})


def test_who_wrapped_it_unwraps_it(tmp_path: Path) -> None:
    """By the recorded name: of a service of now or of a former one. An unknown one is said, with a remedy."""
    found = services(tmp_path, former={"2025": "local:us"}, EU="local:eu")
    names = {name: found.named(name).name for name in ("local:keys#migrator", "local:eu#migrator", "local:us#migrator")}
    assert all(name == own for name, own in names.items())
    with pytest.raises(KeyServiceError, match="local:old#migrator") as caught:
        found.named("local:old#migrator")
    assert "[keys.former]" in caught.value.hint
    assert not found.has_for_regions({"2025"})


def test_a_broken_service_does_not_stand_in_anothers_way(tmp_path: Path) -> None:
    """And is told where it may be the one that is looked for."""
    found = services(tmp_path, EU="local:not-there", US="local:us")
    assert found.named("local:us#migrator").name == "local:us#migrator"
    with pytest.raises(KeyServiceError, match="not-there"):
        found.named("local:not-there#migrator")


@pytest.mark.usefixtures("switched")
def test_one_that_may_come_back_is_told_before_one_that_will_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where several can't be opened, any may be the one: a run stops for it, and no key is given up."""
    found = services(tmp_path, former={"2025": "local:not-there"}, EU="switched:eu")

    def away(*_: object, **__: object) -> SwitchedKeyService:
        raise KeyServiceUnavailableError("it is away")

    monkeypatch.setattr(SwitchedKeyService, "open", away)
    with pytest.raises(KeyServiceUnavailableError):
        found.named("local:not-there#migrator")
    monkeypatch.undo()
    found = services(tmp_path, former={"2025": "local:not-there"})
    with pytest.raises(KeyServiceError) as caught:
        found.named("local:elsewhere#migrator")
    assert not isinstance(caught.value, NotConfiguredKeyServiceError)
    with pytest.raises(NotConfiguredKeyServiceError):
        services(tmp_path).named("local:elsewhere#migrator")


def test_one_that_is_open_is_found_without_asking_another(tmp_path: Path) -> None:
    """A service that is away costs nothing where it is not the one."""
    found = services(tmp_path, EU="local:eu", US="local:us")
    found.at("local:us")
    assert found.named("local:us#migrator").name == "local:us#migrator"
    assert list(found._open) == ["local:us"]


@pytest.mark.parametrize("answers", [[], [b"a"], [b"a", b"b", b"c"], [b"a", b""], [b"a", "b"]])
def test_answers_that_are_not_one_for_each_item_are_no_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[bytes]
) -> None:
    """Nothing of them is used: which key is whose would be a guess."""
    service = services(tmp_path).default()
    for operation in ("wrap", "unwrap", "rewrap"):
        monkeypatch.setattr(LocalKeyService, operation, lambda *_: answers)
        with pytest.raises(KeyServiceError, match=f"does not answer {operation} item by item"):
            getattr(service, operation)([(b"secret", CONTEXT), (b"secret", CONTEXT)])


def test_it_stays_in_its_process(tmp_path: Path) -> None:
    """Like what it holds."""
    with pytest.raises(TypeError):
        pickle.dumps(services(tmp_path).default())


# --- trouble ---


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it would have slept each time; the clock stands still but for that."""
    slept: list[float] = []
    monkeypatch.setattr("migrator.patience.time.sleep", slept.append)
    monkeypatch.setattr("migrator.patience.time.monotonic", lambda: sum(slept))
    return slept


def switched_service(folder: Path, seconds: float) -> KeyServices:
    """The campaign's own, behind the switch."""
    LocalKeyService.create("keys", directory=folder)
    found = KeyServices(KeysSettings(service="switched:keys"), folder)
    found.patience_seconds = seconds
    return found


@pytest.mark.usefixtures("switched")
def test_a_short_outage_is_waited_out_with_growing_pauses(tmp_path: Path, waits: list[float]) -> None:
    """And counts as one call of ours."""
    found = switched_service(tmp_path, 30)
    switch(tmp_path / "keys", "down", calls=4)
    assert isinstance(found.default().wrap([(b"secret", CONTEXT)])[0], bytes)
    assert len(waits) == 4
    assert waits[3] > waits[0]
    assert found.calls == {("switched:keys", "wrap"): 1}


@pytest.mark.usefixtures("switched")
def test_when_to_come_back_is_obeyed(tmp_path: Path, waits: list[float]) -> None:
    """Never earlier than the service said; where that is later than patience lasts, not at all."""
    found = switched_service(tmp_path, 30)
    switch(tmp_path / "keys", "throttled:7", calls=2)
    found.default().wrap([(b"secret", CONTEXT)])
    assert waits == [7.0, 7.0]
    switch(tmp_path / "keys", "throttled:31")
    with pytest.raises(KeyServiceUnavailableError):
        found.default().wrap([(b"secret", CONTEXT)])
    assert len(waits) == 2


@pytest.mark.usefixtures("switched")
def test_patience_ends(tmp_path: Path, waits: list[float]) -> None:
    """Within its budget."""
    found = switched_service(tmp_path, 30)
    switch(tmp_path / "keys", "down")
    with pytest.raises(KeyServiceUnavailableError):
        found.default().unwrap([(b"wrapped", CONTEXT)])
    assert 20 < sum(waits) <= 30


@pytest.mark.usefixtures("switched")
@pytest.mark.parametrize(
    ("behaviour", "problem"),
    [("denied", KeyProblem.DENIED), ("item-disabled", KeyProblem.DISABLED), ("unknown", KeyProblem.UNKNOWN_KEY)],
)
def test_what_is_wrong_with_the_service_is_an_error_at_once(
    tmp_path: Path, waits: list[float], behaviour: str, problem: KeyProblem
) -> None:
    """Also where it says so item by item; nobody waits for what waiting does not mend."""
    service = switched_service(tmp_path, 30).default()
    wrapped = service.wrap([(b"secret", CONTEXT)])[0]
    assert isinstance(wrapped, bytes)
    switch(tmp_path / "keys", behaviour)
    for call, item in ((service.wrap, b"secret"), (service.unwrap, wrapped), (service.rewrap, wrapped)):
        with pytest.raises(KeyServiceError) as caught:
            call([(item, CONTEXT)])
        assert caught.value.problem is problem
    assert waits == []
    switch(tmp_path / "keys", "refuse")
    assert isinstance(service.unwrap([(wrapped, CONTEXT)])[0], KeyRefusal)


def test_nothing_asked_is_no_call(tmp_path: Path) -> None:
    """An empty batch costs nothing."""
    found = services(tmp_path)
    service = found.default()
    assert service.wrap([]) == service.unwrap([]) == service.rewrap([]) == []
    assert not found.calls
    assert found.patience_seconds == PATIENCE_SECONDS
