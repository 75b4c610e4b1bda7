"""Preflight: each thing that can be wrong is found by its own check, and by no other's failure."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrator import preflight, setup
from migrator.campaign import CampaignSpec
from migrator.core.errors import KeyServiceUnavailableError
from migrator.core.notes import KeyKind, VerifierKey
from migrator.database import schema, tables
from migrator.database.connect import Database
from migrator.keyservices.interface import KeyRefusal, RefusalKind
from migrator.keyservices.local import LocalKeyService
from migrator.preflight import Check, CheckState
from migrator.stores import labyrinth_tables
from tests.campaign_spec import campaign_spec
from tests.execution.hooks.scripts import script
from tests.execution.house import House
from tests.notices.support import PLAIN, own_templates
from tests.support import operators

GIB = 1024**3


@pytest.fixture(autouse=True)
def _plenty_of_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that the tests run on may be nearly full."""
    _free(monkeypatch, 50 * GIB)


def _free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = shutil._ntuple_diskusage(100 * GIB, 100 * GIB - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a source of one conversation and a campaign that is set up."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/store.db")
    with engine.begin() as connection:
        labyrinth_tables.metadata.create_all(connection)
        connection.execute(labyrinth_tables.inbox.insert().values(inbox_id="i", account_id="a"))
        connection.execute(labyrinth_tables.thread.insert().values(inbox_id="i", thread_id="b", kind="direct"))
    engine.dispose()
    setup.initialise(campaign_spec(tmp_path))
    return tmp_path


def _run(spec: CampaignSpec, **options: Any) -> dict[str, Check]:
    return {check.name: check for check in preflight.checks(spec, **options)}


def _wrong(checks: dict[str, Check]) -> dict[str, str]:
    """What is not ok, but for the anchors, which nobody has until they are configured."""
    return {
        name: check.state.value
        for name, check in checks.items()
        if check.state is not CheckState.OK and name != "audit anchors"
    }


def _files(home: Path) -> dict[str, bytes]:
    """What nobody may see changed: all but the database's own pages."""
    return {
        str(path): path.read_bytes() for path in home.rglob("*") if path.is_file() and "migrator.db" not in path.name
    }


def test_all_is_well(home: Path) -> None:
    """Every check of the list, each ok, none with a remedy; and nothing on disk is another than before."""
    before = _files(home)
    checks = _run(campaign_spec(home))
    assert list(checks) == [
        "configuration", "source", "database", "key service local:keys#migrator", "campaign keys", "clock",
        "free space", "notice channel", "notice templates", "audit log", "audit anchors",
    ]  # fmt: skip
    assert _wrong(checks) == {}
    assert {check.remedy for name, check in checks.items() if name != "audit anchors"} == {""}
    assert _files(home) == before


def test_before_init(tmp_path: Path) -> None:
    """In an empty folder each check says for itself what is missing, and none makes anything."""
    checks = _run(campaign_spec(tmp_path))
    assert set(_wrong(checks)) == {
        "source", "database", "key service local:keys#migrator", "campaign keys", "clock", "audit log",
    }  # fmt: skip
    assert "`migrator init`" in checks["database"].remedy
    assert list(tmp_path.iterdir()) == []


def test_unusable_database_setting_leaves_the_rest_alone(home: Path) -> None:
    """A URL that is none costs the checks that need the database, not the others."""
    checks = _run(campaign_spec(home, database={"url": "env:MIGRATOR_TEST_NOT_SET"}))
    assert set(_wrong(checks)) == {"database", "campaign keys", "clock", "free space", "audit log"}
    assert "MIGRATOR_TEST_NOT_SET" in checks["database"].message


# --- configuration ---


def test_production_warnings(home: Path) -> None:
    """In production: a log without a domain, no notice period, keys on the disk."""
    production = {"environment": "production", "notice_period_days": 0}
    keys = {"allow_local_keys": True}
    setup.initialise(campaign_spec(home, campaign=production, keys=keys))
    operators.allow(home)
    checks = _run(campaign_spec(home, campaign=production, keys=keys))
    assert _wrong(checks) == {"configuration": "warn", "key service local:keys#migrator": "warn"}
    assert checks["approvals"].message == "2 keys may approve plans"
    assert "audit.origin" in checks["configuration"].message
    assert "notice" in checks["configuration"].message
    assert "reads the disk" in checks["key service local:keys#migrator"].message


def test_too_few_who_may_approve(home: Path) -> None:
    """Before the night itself: no file, one person with two keys, one whose key has expired."""
    spec = campaign_spec(home, campaign={"environment": "production"}, keys={"allow_local_keys": True})
    setup.initialise(spec)
    assert _wrong(_run(spec))["approvals"] == "fail"
    alice, bob = operators.line("alice", operators.ALICE), operators.line("bob", operators.BOB)
    expired = operators.line("bob", operators.BOB, 'valid-before="20200101Z"')
    for text in ("", alice, alice + operators.line("alice", operators.BOB), alice + expired):
        operators.allow(home, text)
        assert _wrong(_run(spec))["approvals"] == "fail"
    operators.allow(home, alice + bob)
    assert "approvals" not in _wrong(_run(spec))


# --- source ---


def test_source_is_missing(home: Path) -> None:
    """A mistyped path is a failure and not a fresh, empty database."""
    (home / "store.db").unlink()
    checks = _run(campaign_spec(home))
    assert _wrong(checks) == {"source": "fail"}
    assert not (home / "store.db").exists()


def test_source_is_something_else(home: Path) -> None:
    """A file that is no store, and a store kind that is not installed."""
    (home / "store.db").write_bytes(b"not a database" * 1000)
    assert _wrong(_run(campaign_spec(home))) == {"source": "fail"}
    assert _wrong(_run(campaign_spec(home, source={"kind": "icq"}))) == {"source": "fail"}


def test_quorum_does_not_fit(home: Path) -> None:
    """A mailbox store has no quorum of any participant."""
    checks = _run(campaign_spec(home, authorization={"quorum": "any_participant"}))
    assert _wrong(checks) == {"source": "fail"}
    assert "quorum" in checks["source"].message


def test_empty_source(home: Path) -> None:
    """A store without conversations is more often the wrong store than a finished job."""
    engine = sa.create_engine(f"sqlite:///{home}/store.db")
    with engine.begin() as connection:
        connection.execute(labyrinth_tables.thread.delete())
    engine.dispose()
    assert _wrong(_run(campaign_spec(home))) == {"source": "warn"}


# --- database ---


def _sql(home: Path, statement: str) -> None:
    database = Database(f"sqlite:///{home}/migrator.db")
    with database.write("test") as connection:
        connection.execute(sa.text(statement))
    database.close()


def test_newer_database(home: Path) -> None:
    """A database of a later migrator."""
    _sql(home, f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'")
    checks = _run(campaign_spec(home))
    assert _wrong(checks).keys() == {"database", "campaign keys", "clock", "audit log"}
    assert "newer" in checks["database"].message


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(
    "sections",
    [
        {"campaign": {"name": "other"}},
        {
            "campaign": {"environment": "production"},
            "keys": {"allow_local_keys": True},
            "audit": {"origin": "localhost/migrator/c"},
        },
    ],
)
def test_another_campaigns_database(recorded: bool, sections: dict[str, dict[str, Any]], home: Path) -> None:
    """The operator's first mistake: the wrong database, or the rehearsal's."""
    if recorded:
        _sql(home, "INSERT INTO migrator_conversation (conversation_id, mode) VALUES ('i/t', 'sealed')")
    operators.allow(home)
    checks = _run(campaign_spec(home, **sections))
    failed = {name for name, state in _wrong(checks).items() if state == "fail"}
    assert failed == {"database", "campaign keys", "clock", "audit log"}
    assert "campaign" in checks["database"].message


def test_database_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readable is not enough."""
    original = Database.write

    def write(self: Database, label: str) -> AbstractContextManager[sa.Connection]:
        self.read_only = True
        return original(self, label)

    monkeypatch.setattr(Database, "write", write)
    assert _wrong(_run(campaign_spec(home))) == {"database": "fail"}


# --- key services ---


def test_each_key_service_is_tried(home: Path) -> None:
    """One check for each configured service; a region's broken one fails alone."""
    checks = _run(campaign_spec(home, keys={"regions": {"EU": "local:eu", "US": "nokind:x", "UK": "local:eu"}}))
    assert _wrong(checks) == {"key service local:eu": "fail", "key service nokind:x": "fail"}


def test_key_open_to_others(home: Path) -> None:
    """The mode is wrong: the remedy is the command."""
    (home / "keys" / "migrator.json").chmod(0o644)
    checks = _run(campaign_spec(home))
    assert _wrong(checks) == {"key service local:keys#migrator": "fail", "campaign keys": "fail"}
    assert checks["key service local:keys#migrator"].remedy.startswith("chmod 600 ")


def test_key_is_another_one(home: Path) -> None:
    """A key of the right name with other bytes does a round trip, but the campaign's own keys do not unwrap."""
    (home / "keys" / "migrator.json").unlink()
    LocalKeyService.create("keys", directory=home)
    assert _wrong(_run(campaign_spec(home))) == {"campaign keys": "fail"}


@dataclass
class OddKeyService:
    """A key service with one fault, at the port's edge."""

    fault: str
    name: str = "odd:k"
    wrapped: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)

    def wrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Wrap, or not."""
        if self.fault == "down":
            raise KeyServiceUnavailableError("the key service does not answer", hint="wait")
        if self.fault == "refuses":
            return [KeyRefusal(RefusalKind.DENIED, "no permission") for _ in items]
        self.wrapped |= {bytes([number]): item for number, item in enumerate(items)}
        return [bytes([number]) for number, _ in enumerate(items)]

    def unwrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """Unwrap, wrongly."""
        if self.fault == "keeps":
            return [KeyRefusal(RefusalKind.DENIED, "no permission") for _ in items]
        return [self._one(*item) for item in items]

    def rewrap(self, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        """As it was, or not at all."""
        denied = KeyRefusal(RefusalKind.DENIED, "no permission")
        return [denied if self.fault == "stays" else wrapped for wrapped, _ in items]

    def _one(self, wrapped: bytes, context: bytes) -> bytes | KeyRefusal:
        secret, bound = self.wrapped[wrapped]
        if self.fault == "alters":
            return secret[::-1]
        return secret if context == bound or self.fault == "unbound" else KeyRefusal(RefusalKind.NOT_OPENED, "context")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("down", "does not answer"),
        ("refuses", "it can't wrap: odd:k refuses: no permission"),
        ("keeps", "it wraps, but can't unwrap: odd:k refuses: no permission"),
        ("stays", "it can't rewrap: odd:k refuses: no permission"),
        ("alters", "does not unwrap what it wrapped"),
        ("unbound", "does not bind keys to their context"),
        ("none", "wraps and unwraps"),
    ],
)
def test_faults_of_a_key_service(fault: str, said: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Down, without permission, altering, or blind to the context (G9): found before it matters."""
    service = OddKeyService(fault)
    original = LocalKeyService.open

    def open_odd(address: str, *, directory: Path) -> Any:
        return service if address == "odd" else original(address, directory=directory)

    monkeypatch.setattr(LocalKeyService, "open", open_odd)
    check = _run(campaign_spec(home, keys={"regions": {"EU": "local:odd"}}))["key service local:odd"]
    assert said in check.message
    assert (check.state is CheckState.OK) == (fault == "none")


# --- the campaign's keys ---


def test_recipient_key_of_another_kind(home: Path) -> None:
    """A kem changed after setup has no effect: say so."""
    checks = _run(campaign_spec(home, keys={"recipient_kem": "MLKEM768_X25519"}))
    assert _wrong(checks) == {"campaign keys": "warn"}


def test_destroyed_recipient_key(home: Path) -> None:
    """A final campaign is no failure, but nothing to start."""
    _sql(home, "UPDATE migrator_recipient_key SET wrapped_private_key = NULL, destroyed_at = '2026'")
    checks = _run(campaign_spec(home))
    assert _wrong(checks) == {"campaign keys": "warn"}
    assert "destroyed" in checks["campaign keys"].message


def test_recipient_key_stays_wrapped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G2: a key policy may refuse the recipient key before the date; preflight never asks for it."""
    asked: list[bytes] = []
    original = LocalKeyService.unwrap

    def unwrap(self: LocalKeyService, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
        asked.extend(context for _, context in items)
        return original(self, items)

    monkeypatch.setattr(LocalKeyService, "unwrap", unwrap)
    assert _wrong(_run(campaign_spec(home))) == {}
    assert asked
    assert not any(b"recipient-key" in context for context in asked)


# --- clock, space, channel, log ---


@dataclass(frozen=True)
class WrongClock:
    """The machine's clock, off by so much."""

    off: timedelta

    def now(self) -> datetime:
        """The wrong time."""
        return datetime.now(UTC) + self.off


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, "ok"), (-30, "warn"), (30, "warn"), (-3600, "fail"), (3600, "fail"), (10**8, "fail")]
)
def test_clock(seconds: int, state: str, home: Path) -> None:
    """Ahead or behind alike: over 2 s a warning, over 60 s a failure; the campaign's own clock has no say."""
    checks = _run(campaign_spec(home), system=WrongClock(timedelta(seconds=seconds)))
    assert _wrong(checks) == ({} if state == "ok" else {"clock": state})


@pytest.mark.parametrize(("free", "state"), [(50 * GIB, "ok"), (GIB // 2, "warn"), (1024**2, "fail"), (0, "fail")])
def test_free_space(free: int, state: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is a warning, next to nothing a failure."""
    _free(monkeypatch, free)
    assert _wrong(_run(campaign_spec(home))) == ({} if state == "ok" else {"free space": state})


def test_free_space_grows_with_the_source(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for a server history as large as the source: what is plenty for a small one is not for a large one."""
    _free(monkeypatch, 10 * GIB)
    with (home / "store.db").open("ab") as file:
        file.truncate(20 * GIB)  # sparse
    assert _run(campaign_spec(home))["free space"].state is CheckState.FAIL


def test_notice_channel(home: Path) -> None:
    """A channel that is not installed, and an outbox that is a file."""
    assert _wrong(_run(campaign_spec(home, notify={"channel": "pigeon:coo"}))) == {"notice channel": "fail"}
    (home / "outbox").write_text("")
    assert _wrong(_run(campaign_spec(home))) == {"notice channel": "fail"}


def test_bounces_that_nobody_hears_of(home: Path) -> None:
    """Evidence that no notice bounced is worth nothing where bounces have nowhere to come to."""
    assert _wrong(_run(campaign_spec(home, notify={"required_evidence": "E2"}))) == {"notice channel": "warn"}
    heard = {"required_evidence": "E2", "return_path": "bounces@example.org"}
    assert _wrong(_run(campaign_spec(home, notify=heard))) == {}


@pytest.mark.parametrize("damage", ["cut", "altered", "gone", "foreign"])
def test_audit_log_is_not_the_one_remembered(damage: str, home: Path) -> None:
    """G8: a log that is shorter, altered, gone, or has lines that the database does not know."""
    log = home / "audit" / "wal.jsonl"
    content = log.read_bytes()
    if damage == "gone":
        log.unlink()
    else:
        log.write_bytes({"cut": content[:-2], "altered": b" " + content[1:], "foreign": content + content}[damage])
    assert _wrong(_run(campaign_spec(home))) == {"audit log": "fail"}


def test_audit_signing_key(home: Path) -> None:
    """A lost signing key is found before the run that would need it."""
    (home / "audit.key").unlink()
    assert _wrong(_run(campaign_spec(home))) == {"audit log": "fail"}


def test_audit_log_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readable is not enough for a log."""
    original = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "audit" not in str(path) and original(path, mode))
    checks = _run(campaign_spec(home))
    assert _wrong(checks) == {"audit log": "fail"}
    assert "can't be written" in checks["audit log"].message


def test_each_check_comes_as_it_ends(home: Path) -> None:
    """A slow service further down does not hold back what is known."""
    checks: Iterator[Check] = preflight.checks(campaign_spec(home))
    (home / "store.db").unlink()
    assert next(checks).name == "configuration"
    assert next(checks).state is CheckState.FAIL


def test_operating_system_errors_are_contained(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system in one check is its result."""

    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "disk_usage", refuse)
    checks = _run(campaign_spec(home))
    assert _wrong(checks) == {"free space": "fail"}
    assert "Permission denied" in checks["free space"].message


def test_campaign_row_is_as_before(home: Path) -> None:
    """The write that tests writing writes what is there."""
    database = Database(f"sqlite:///{home}/migrator.db")
    with database.read() as connection:
        before = connection.execute(sa.select(tables.campaign)).all()
    _run(campaign_spec(home))
    with database.read() as connection:
        assert connection.execute(sa.select(tables.campaign)).all() == before
    database.close()


# --- audit anchors ---


def test_a_log_that_nobody_vouches_for(home: Path) -> None:
    """The default is a warning, never a refusal: it says what it means and what to do."""
    check = _run(campaign_spec(home))["audit anchors"]
    assert check.state is CheckState.WARN
    assert "can rewrite it unseen" in check.message
    assert "audit.witnesses" in check.remedy


def test_anchors_that_are_configured(home: Path) -> None:
    """A witness and an authority are named without being asked; certificates that can't be read fail the check."""
    key = VerifierKey(name="w.example/1", kind=KeyKind.COSIGNATURE, public_key=bytes(32)).encode()
    witnesses = {"https://w.example/": key}
    check = _run(campaign_spec(home, audit={"witnesses": witnesses}))["audit anchors"]
    assert check.state is CheckState.OK
    assert check.message == "w.example/1; newest checkpoint vouched for: 0 entries"
    authority = {"timestamp_url": "https://tsa.example/", "timestamp_certificates": "tsa.pem"}
    check = _run(campaign_spec(home, audit={"witnesses": witnesses, **authority}))["audit anchors"]
    assert check.state is CheckState.FAIL
    assert "tsa.pem" in check.message


@pytest.mark.parametrize(
    ("notify", "files", "state"),
    [({"default_locale": "sv"}, {}, "warn"), ({}, {"cutover_3_sv": PLAIN}, "warn"),
     ({}, {"cutover_3_en": PLAIN + "\nAct now!\n"}, "fail"), ({}, {"cutover_3_en": "Subject: S\n\n{{ no }}\n"}, "fail"),
     ({}, {"cutover_3_en": PLAIN}, "ok")],
)  # fmt: skip
def test_notice_templates(home: Path, notify: dict[str, str], files: dict[str, str], state: str) -> None:
    """What would not be sent is found before anybody waits for it, and languages that are not complete."""
    settings = {**notify, **(own_templates(home, **files) if files else {})}
    assert _run(campaign_spec(home, notify=settings))["notice templates"].state.value == state


# --- hooks and metrics ---


def test_hooks_and_metrics(home: Path) -> None:
    """Looked at where they are configured, as a run would: what it would refuse is told before the day."""
    script(home / "hooks", "before-cutover", "true")
    spec = campaign_spec(home, hooks={"directory": "hooks"}, execution={"metrics_file": "m.prom"})
    check = _run(spec)["hooks and metrics"]
    assert (check.state, check.message) == (CheckState.OK, "hooks: before-cutover; metrics file: m.prom")
    (home / "hooks").chmod(0o777)
    check = _run(spec)["hooks and metrics"]
    assert (check.state, check.remedy) == (CheckState.FAIL, f"chmod go-w {home / 'hooks'}")
    check = _run(campaign_spec(home, execution={"metrics_file": "m.txt"}))["hooks and metrics"]
    assert (check.state, ".prom" in check.message) == (CheckState.FAIL, True)


def test_a_homeserver_that_is_not_at_rest(tmp_path: Path) -> None:
    """Read all the same, but told, with what to do about it."""
    house = House(tmp_path / "campaign")
    with closing(house.home):
        found = {check.name: check for check in preflight.checks(house.spec)}["source"]
        assert (found.state, found.remedy) == (CheckState.OK, "")
        house.home.insert("background_updates", update_name="some_index", progress_json="{}")
        found = {check.name: check for check in preflight.checks(house.spec)}["source"]
        assert found.state is CheckState.WARN
        assert "some_index" in found.message
        assert "finish" in found.remedy
