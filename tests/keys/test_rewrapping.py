"""Rewrapping: every key where it should be, proved before the old wrapping goes, no message touched, no step lost."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from migrator import keys, rollback
from migrator.campaign import Campaign
from migrator.core.errors import KeyServiceError, KeyServiceUnavailableError, UsageError
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.keys import moving, rewrapping
from migrator.keyservices.interface import KeyRefusal
from migrator.keyservices.local import LocalKeyService
from tests.execution.bench import run_in
from tests.execution.opened import history
from tests.keys.support import EU, OWN, US, agree, bench_in, blobs, configure, disable_old, rewrap, rotate, versions
from tests.support.key_services import switch


class Killed(BaseException):
    """The process ends here."""


def test_a_rotated_key_takes_all_over(tmp_path: Path) -> None:
    """Data keys, recipient key and reference key; then the old version may be disabled, and everything still opens."""
    bench = bench_in(tmp_path)
    bench.run()
    messages, before = bench.all(tables.message), blobs(bench)
    old = next(version for _, _, version in versions(bench))
    new = rotate(bench)
    result = rewrap(bench)
    assert (result.rewrapped, result.already, result.elsewhere, result.refused) == (5, 0, 0, 0)
    assert versions(bench) == {("data", OWN, new): 3, ("recipient", OWN, new): 1, ("reference", OWN, new): 1}
    assert bench.all(tables.message) == messages
    assert not set(blobs(bench).values()) & set(before.values())
    events = bench.events("key.rewrapped")
    assert sorted(event["kind"] for event in events) == ["data", "data", "data", "recipient", "reference"]
    for event in events:
        assert (event["previous_key_version"], event["key_version"]) == (old, new)
        assert (event["previous_key_service"], event["key_service"]) == (OWN, OWN)
    disable_old(bench)
    assert len(history(bench, "in-user1/x")) == 4
    agree(bench)


def test_a_second_time_there_is_nothing_to_do(tmp_path: Path) -> None:
    """No call that wraps data keys, no event."""
    bench = bench_in(tmp_path)
    bench.run()
    rotate(bench)
    rewrap(bench)
    events, before = bench.events("key.rewrapped"), blobs(bench)
    with bench.open() as campaign:
        result = keys.rewrap(campaign, to=None, progress=NoProgress())
        assert campaign.key_services.calls[OWN, "rewrap"] == 0
    assert (result.rewrapped, result.already) == (0, 5)
    assert (bench.events("key.rewrapped"), blobs(bench)) == (events, before)


def test_batches_not_calls_for_each_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One rewrap and two unwraps a batch, and one transaction."""
    monkeypatch.setattr(rewrapping, "_BATCH", 4)
    bench = bench_in(tmp_path, 10)
    bench.run()
    rotate(bench)
    labels: list[str] = []
    with bench.open() as campaign:
        campaign.database.boundary = lambda label, moment: labels.append(label) if moment == "after" else None
        keys.rewrap(campaign, to=None, progress=NoProgress())
        calls = campaign.key_services.calls
    assert labels.count("rewrap-batch") == 1 + 3  # the campaign's own keys come first
    assert (calls[OWN, "rewrap"], calls[OWN, "unwrap"]) == (4, 8)


@pytest.mark.parametrize("left", range(1, 6))
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_anywhere_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int, moment: str) -> None:
    """At every commit: each key is moved once, with one event, and the counts are those of an undisturbed one."""
    monkeypatch.setattr(rewrapping, "_BATCH", 2)
    bench = bench_in(tmp_path, 5)
    bench.run()
    new = rotate(bench)
    with bench.open() as campaign:
        pull_the_plug(campaign, "rewrap", left, moment)
        with pytest.raises(Killed):
            keys.rewrap(campaign, to=None, progress=NoProgress())
    result = rewrap(bench)
    assert result.rewrapped == 7
    assert versions(bench) == {("data", OWN, new): 5, ("recipient", OWN, new): 1, ("reference", OWN, new): 1}
    assert len(bench.events("key.rewrapped")) == 7
    agree(bench)


def pull_the_plug(campaign: Campaign, label: str, left: int, wanted: str) -> None:
    """End the process at the n-th commit whose label begins so."""

    def boundary(found: str, moment: str) -> None:
        nonlocal left
        left -= moment == wanted and found.startswith(label)
        if left == 0:
            raise Killed

    campaign.database.boundary = boundary


def tells_nothing(_: LocalKeyService, __: bytes) -> str:
    """The version that a blob of AWS KMS tells."""
    return ""


def test_where_blobs_do_not_tell_it_still_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By how far it was; and one that was finished begins anew."""
    monkeypatch.setattr(LocalKeyService, "version", tells_nothing)
    monkeypatch.setattr(rewrapping, "_BATCH", 2)
    bench = bench_in(tmp_path, 5)
    bench.run()
    with bench.open() as campaign:
        pull_the_plug(campaign, "rewrap", 3, "after")  # the beginning, the campaign's own keys, the first batch
        with pytest.raises(Killed):
            keys.rewrap(campaign, to=None, progress=NoProgress())
        assert keys.status(campaign).unfinished
    done = blobs(bench)
    assert rewrap(bench).rewrapped == 2 + 2 + 2 + 3  # the campaign's own keys once more
    assert [done[number] == blob for number, blob in sorted(blobs(bench).items())] == [True, True, False, False, False]
    assert rewrap(bench).rewrapped == 7
    agree(bench)


def test_another_rotation_on_the_way_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the end every key is under the newest version."""
    monkeypatch.setattr(rewrapping, "_BATCH", 2)
    bench = bench_in(tmp_path, 5)
    bench.run()
    rotate(bench)
    with bench.open() as campaign:
        pull_the_plug(campaign, "rewrap", 3, "after")
        with pytest.raises(Killed):
            keys.rewrap(campaign, to=None, progress=NoProgress())
    newest = rotate(bench)
    rewrap(bench)
    assert {version for _, _, version in versions(bench)} == {newest}
    agree(bench)


# --- to another service ---


def test_to_another_service(tmp_path: Path) -> None:
    """The campaign's keys move from a former service to the one in use; the former one is not needed any more."""
    bench = bench_in(tmp_path)
    bench.run()
    LocalKeyService.create("new", directory=bench.folder)
    configure(bench, service="local:new", former={"old": "local:keys"})
    assert rewrap(bench).elsewhere == 5
    assert {service for _, service, _ in versions(bench)} == {OWN}
    result = rewrap(bench, to="local:new")
    assert (result.rewrapped, result.elsewhere, result.refused) == (5, 0, 0)
    assert {service for _, service, _ in versions(bench)} == {"local:new#migrator"}
    assert {event["key_service"] for event in bench.events("key.rewrapped")} == {"local:new#migrator"}
    configure(bench, former={})
    (bench.folder / "keys" / "migrator.json").unlink()
    assert len(history(bench, "in-user2/x")) == 4
    agree(bench)
    bench.plan()


def test_to_a_replica_in_another_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each entry begins where the key was, whoever unwrapped it: the log has it step by step."""
    bench = bench_in(tmp_path)
    bench.run()
    rotate(bench)
    shutil.copytree(bench.folder / "keys", bench.folder / "sibling")
    configure(bench, service="local:sibling")
    monkeypatch.setattr(LocalKeyService, "answers_to", lambda _, name: name.startswith("local:"))
    assert rewrap(bench, to="local:sibling").rewrapped == 5
    assert {event["previous_key_service"] for event in bench.events("key.rewrapped")} == {OWN}
    assert {service for _, service, _ in versions(bench)} == {"local:sibling#migrator"}
    agree(bench)


def test_regions_hold_also_when_keys_move(tmp_path: Path) -> None:
    """Only what belongs to the region's service goes there: also the key of somebody who has moved, and not back."""
    bench = bench_in(tmp_path, 4, regions={"EU": EU, "US": US})
    bench.run()
    bench.source("UPDATE account SET region = 'EU' WHERE account_id = 'user1'")
    bench.source("UPDATE account SET region = 'JP' WHERE account_id = 'user2'")
    result = rewrap(bench, to=EU)
    assert (result.rewrapped, result.already, result.elsewhere) == (1, 1, 4)  # with the two keys of the campaign
    services = {row["conversation_no"]: row["key_service"] for row in bench.all(tables.data_key)}
    assert sorted(services.values()) == [EU, EU, EU, US]
    assert rewrap(bench, to=US).rewrapped == 0
    assert rewrap(bench, to=OWN).elsewhere == 4
    agree(bench)


def test_a_service_that_is_not_in_use(tmp_path: Path) -> None:
    """Refused before anything is asked: also a former one."""
    bench = bench_in(tmp_path, 1)
    bench.run()
    LocalKeyService.create("old", directory=bench.folder)
    configure(bench, former={"old": "local:old"})
    for to in ("local:old", "local:nowhere", ""):
        with pytest.raises(UsageError, match="in use") as caught:
            rewrap(bench, to=to)
        assert OWN in caught.value.hint
    assert bench.all(tables.rewrap) == []


# --- trouble ---


@pytest.mark.usefixtures("switched")
@pytest.mark.parametrize(("behaviour", "error"), [("down", KeyServiceUnavailableError), ("denied", KeyServiceError)])
def test_a_failing_service_stops_it_and_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str, error: type[Exception]
) -> None:
    """After the first batch: what was committed stays, and the same call does the rest."""
    monkeypatch.setattr(rewrapping, "_BATCH", 2)
    bench = bench_in(tmp_path, 5, service="switched:keys#migrator")
    bench.run()
    new = rotate(bench)
    with bench.open() as campaign:
        commits = 0

        def boundary(label: str, moment: str) -> None:
            nonlocal commits
            commits += (label, moment) == ("rewrap-batch", "after")
            if commits == 2:
                switch(bench.folder / "keys", behaviour)

        campaign.database.boundary = boundary
        with pytest.raises(error):
            keys.rewrap(campaign, to=None, progress=NoProgress())
    switch(bench.folder / "keys", "ok")
    assert len(bench.events("key.rewrapped")) == 4
    assert rewrap(bench).rewrapped == 7
    assert {version for _, _, version in versions(bench)} == {new}
    agree(bench)


def test_a_key_that_does_not_unwrap_costs_itself(tmp_path: Path) -> None:
    """It stays as it is, and is told by its reference; the others move."""
    bench = bench_in(tmp_path)
    bench.run()
    new = rotate(bench)
    with bench.database() as connection:
        connection.exec_driver_sql("UPDATE migrator_data_key SET wrapped_keyset = x'00' WHERE conversation_no = 2")
    result = rewrap(bench)
    assert (result.rewrapped, result.refused) == (4, 1)
    (refusal,) = result.refusals
    row = next(row for row in bench.all(tables.data_key) if row["conversation_no"] == 2)
    assert refusal.about in row["context"]
    assert row["wrapped_keyset"] == b"\0"
    assert versions(bench)["data", OWN, new] == 2


def test_a_service_that_gives_back_another_key_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new wrapping opens, but to something else: the old one stays in its place, everything still opens."""
    bench = bench_in(tmp_path)
    bench.run()
    rotate(bench)
    before = blobs(bench)
    real = LocalKeyService.wrap

    def other(self: LocalKeyService, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        return real(self, [(secret[::-1], context) for secret, context in items])

    monkeypatch.setattr(LocalKeyService, "wrap", other)
    result = rewrap(bench)
    assert (result.rewrapped, result.refused) == (0, 5)
    assert "not that key" in result.refusals[0].detail
    assert blobs(bench) == before
    monkeypatch.setattr(LocalKeyService, "wrap", real)
    agree(bench)


def test_a_key_of_an_unconfigured_service_stays(tmp_path: Path) -> None:
    """Nobody can move it: it is counted, and costs the others nothing."""
    bench = bench_in(tmp_path)
    bench.run()
    LocalKeyService.create("new", directory=bench.folder)
    with bench.database() as connection:
        connection.exec_driver_sql("UPDATE migrator_data_key SET key_service = 'gone:' WHERE conversation_no = 2")
    assert rewrap(bench).elsewhere == 1
    configure(bench, service="local:new", former={"old": "local:keys"})
    result = rewrap(bench, to="local:new#migrator")
    assert (result.rewrapped, result.refused) == (4, 1)
    assert "gone:" in result.refusals[0].detail


def test_what_somebody_else_changed_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is destroyed between the wrapping and the commit stays destroyed: no event, no resurrection."""
    bench = bench_in(tmp_path)
    bench.run()
    rotate(bench)
    real = moving.wrapped_anew

    def slow(wanted: Any) -> Any:
        made = real(wanted)
        if len(wanted) == 3:
            with bench.open() as other:
                keys.destroy(other, "in-user1/x", confirm="bench")
        return made

    monkeypatch.setattr("migrator.keys.rewrapping.wrapped_anew", slow)
    result = rewrap(bench)
    assert (result.rewrapped, result.overtaken) == (4, 1)
    assert sum(blob is None for blob in blobs(bench).values()) == 1
    agree(bench)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Each key is moved by one of them, and has one event; the other counts it as overtaken."""
    monkeypatch.setattr(rewrapping, "_BATCH", 2)
    bench = bench_in(tmp_path, 5)
    bench.run()
    new = rotate(bench)
    calls = 0

    def slow(wanted: Any) -> Any:
        nonlocal calls
        calls += 1
        made = moving.wrapped_anew(wanted)
        if calls == at:
            rewrap(bench)
        return made

    monkeypatch.setattr("migrator.keys.rewrapping.wrapped_anew", slow)
    result = rewrap(bench)
    assert result.overtaken == 2
    assert versions(bench) == {("data", OWN, new): 5, ("recipient", OWN, new): 1, ("reference", OWN, new): 1}
    assert len(bench.events("key.rewrapped")) == 7
    with bench.open() as campaign:
        assert not keys.status(campaign).unfinished
    agree(bench)


def test_beside_a_run(tmp_path: Path) -> None:
    """In the middle of a long conversation, whose key moves on: the run goes on, and its end reconciles."""
    bench = bench_in(tmp_path, 1, messages=2500)
    LocalKeyService.create("new", directory=bench.folder)
    plan = bench.plan().plan_id
    moved = 0

    def boundary(label: str, moment: str) -> None:
        nonlocal moved
        if (label, moment) == ("page", "after") and not moved:
            now = bench.spec
            configure(bench, service="local:new", former={"old": "local:keys"})
            moved = rewrap(bench, to="local:new").rewrapped
            bench.spec = now

    with bench.open() as campaign:
        campaign.database.boundary = boundary
        run_in(campaign, plan)
    assert moved == 3
    configure(bench, service="local:new")
    assert len(history(bench, "in-user0/x")) == 2500
    agree(bench)


def test_a_rollback_after_it(tmp_path: Path) -> None:
    """Takes everything back, and the log agrees."""
    bench = bench_in(tmp_path)
    run = bench.run()
    rotate(bench)
    rewrap(bench)
    with bench.open() as campaign:
        rollback.rollback(campaign, run.run_id, NoProgress())
    assert set(blobs(bench).values()) == {None}
    agree(bench)


@pytest.mark.parametrize("rewraps", [False, True])
def test_a_rotation_during_a_run(tmp_path: Path, rewraps: bool) -> None:
    """The run goes on under the new version, also where everything was rewrapped and the old one disabled meanwhile."""
    bench = bench_in(tmp_path, 1, messages=2500)
    for number in range(1, 4):
        bench.account(f"zora{number}")
        name = bench.thread(f"zora{number}", "x")
        bench.messages(name, range(40))
        bench.keys(f"zora{number}", [name])
    plan = bench.plan().plan_id
    new = ""

    def boundary(label: str, moment: str) -> None:
        nonlocal new
        if (label, moment) == ("page", "after") and not new:
            new = rotate(bench)
            if rewraps:
                rewrap(bench)
                disable_old(bench)

    with bench.open() as campaign:
        campaign.database.boundary = boundary
        run_in(campaign, plan)
    assert versions(bench)["data", OWN, new] == 3 + rewraps
    assert len(history(bench, "in-user0/x")) == 2500
    rewrap(bench)
    assert versions(bench)["data", OWN, new] == 4
    agree(bench)
