"""Counts of wrapped keys: by service, key and version, and what the services say of themselves."""

from pathlib import Path

import pytest

from migrator import keys
from migrator.core.errors import KeyServiceUnavailableError
from migrator.keys import KeysStatus
from migrator.keyservices.local import LocalKeyService
from tests.execution.bench import Bench
from tests.keys.support import EU, OWN, US, bench_in, configure, rewrap, rotate, versions
from tests.support.key_services import SwitchedKeyService, switch


def status(bench: Bench) -> KeysStatus:
    """In a process of its own."""
    with bench.open() as campaign:
        return keys.status(campaign)


def test_by_service_key_and_version(tmp_path: Path) -> None:
    """Each kind by itself; what is behind the newest version is what a rewrap would move."""
    bench = bench_in(tmp_path, 5, regions={"EU": EU, "US": US})
    bench.run()
    new = rotate(bench, "eu")
    found = status(bench)
    assert [(w.kind, w.key_service, w.keys) for w in found.wrapped] == [
        ("data", EU, 3), ("data", US, 2), ("recipient", OWN, 1), ("reference", OWN, 1),
    ]  # fmt: skip
    assert len({w.key_version for w in found.wrapped}) == 3
    assert [(s.name, s.uses, s.behind, s.problem) for s in found.services] == [
        (EU, ("region EU",), 3, None), (OWN, ("campaign",), 0, None), (US, ("region US",), 0, None),
    ]  # fmt: skip
    assert found.services[0].newest_version == new
    assert not found.unfinished
    rewrap(bench)
    assert [s.behind for s in status(bench).services] == [0, 0, 0]
    assert versions(bench)["data", EU, new] == 3


def test_destroyed_keys_are_counted_apart(tmp_path: Path) -> None:
    """They are with no service any more."""
    bench = bench_in(tmp_path)
    bench.run()
    with bench.open() as campaign:
        keys.destroy(campaign, "in-user1/x", confirm="bench")
    found = status(bench)
    assert found.destroyed == 1
    assert next(w.keys for w in found.wrapped if w.kind == "data") == 2


@pytest.mark.usefixtures("switched")
@pytest.mark.parametrize("behaviour", ["down", "denied", "refuse"])
def test_a_service_that_fails_costs_its_own_line(tmp_path: Path, behaviour: str) -> None:
    """The counts are there all the same, versions too: a blob tells its own."""
    bench = bench_in(tmp_path, 2, regions={"EU": EU, "US": "switched:us#migrator"})
    bench.run()
    switch(bench.folder / "us", behaviour)
    found = status(bench)
    assert [(w.key_service, w.keys) for w in found.wrapped][:2] == [(EU, 1), ("switched:us#migrator", 1)]
    assert all(w.key_version for w in found.wrapped)
    by_name = {s.name: s for s in found.services}
    assert by_name[EU].problem is None
    failing = by_name["switched:us#migrator"]
    assert failing.problem
    assert (failing.newest_version, failing.behind) == (None, None)


def test_what_can_not_be_opened_is_said(tmp_path: Path) -> None:
    """A key of a service that nobody configured, and a configured one whose key is gone."""
    bench = bench_in(tmp_path)
    bench.run()
    LocalKeyService.create("new", directory=bench.folder)
    configure(bench, regions={"JP": "local:gone"})
    with bench.database() as connection:
        connection.exec_driver_sql("UPDATE migrator_data_key SET key_service = 'lost:' WHERE conversation_no = 2")
    found = {s.name: s for s in status(bench).services}
    assert "mend what can't be, or name it under [keys.former]" in (found["lost:"].problem or "")
    assert "gone" in (found["local:gone"].problem or "")
    assert found[OWN].problem is None


def test_an_address_that_can_not_be_used_is_not_repeated_with_its_secret(tmp_path: Path) -> None:
    """A password or a PIN that stands there by mistake is not shown for it."""
    bench = bench_in(tmp_path)
    configure(
        bench,
        regions={"EU": "vault:https://u:hunter2@bao.example.org/transit/k"},
        former={"hsm": "pkcs11:token=t;object=k?module-path=/m&pin-value=hunter2"},
    )
    problems = [service for service in status(bench).services if service.problem]
    assert len(problems) == 2
    assert "hunter2" not in repr(problems)


@pytest.mark.usefixtures("switched")
def test_a_service_that_is_away_is_not_called_unconfigured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once, with what ails it."""
    bench = bench_in(tmp_path, 2, regions={"EU": EU, "US": "switched:us#migrator"})
    bench.run()

    def away(*_: object, **__: object) -> SwitchedKeyService:
        raise KeyServiceUnavailableError("it is away")

    monkeypatch.setattr(SwitchedKeyService, "open", away)
    with bench.open() as campaign:
        campaign.key_services.patience_seconds = 0.0
        found = keys.status(campaign)
    assert [s.problem for s in found.services if s.name == "switched:us#migrator"] == ["it is away"]


def test_a_replica_of_the_key_is_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its sibling in another region wrapped opens here: nobody has to name it."""
    bench = bench_in(tmp_path)
    bench.run()
    with bench.database() as connection:
        connection.exec_driver_sql("UPDATE migrator_data_key SET key_service = 'local:sibling#migrator'")
    monkeypatch.setattr(LocalKeyService, "answers_to", lambda _, name: name.startswith("local:"))
    found = status(bench)
    assert [s.name for s in found.services] == [OWN]
    assert found.services[0].problem is None
