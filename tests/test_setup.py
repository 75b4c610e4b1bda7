"""Setting a campaign up: idempotent, crash-safe, and one campaign to a database."""

import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from migrator import recipient_key, setup
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.errors import AuditLogError, ConfigError, DatabaseError, KeyServiceError, SchemaVersionError
from migrator.database import connect, schema, tables
from migrator.database.connect import Database
from tests.campaign_spec import campaign_spec


def _rename(directory: Path, **sections: dict[str, Any]) -> CampaignSpec:
    """The same folder for another campaign."""
    return campaign_spec(directory, campaign={"name": "other"}, **sections)


def _snapshot(directory: Path) -> dict[str, bytes]:
    """Every file that a campaign can't get back."""
    names = ["keys/migrator.json", "audit.key"]
    return {name: (directory / name).read_bytes() for name in names if (directory / name).exists()}


def _rows(spec: CampaignSpec, table: sa.Table) -> list[dict[str, Any]]:
    database = Database(f"sqlite:///{spec.directory}/migrator.db")
    with database.read() as connection:
        rows = [dict(row) for row in connection.execute(sa.select(table)).mappings()]
    database.close()
    return rows


def _require_complete(spec: CampaignSpec) -> None:
    """Everything works: references, recipient key, log with exactly one entry, nothing half made."""
    with open_campaign(spec) as campaign:
        assert campaign.references is not None
        with campaign.database.read() as connection:
            key = recipient_key.current(connection)
            recipient_key.unwrap(campaign, connection, key.recipient_key_id)
        campaign.audit.check()
        events = [json.loads(line) for line in campaign.audit.lines()]
    assert [event["type"] for event in events] == ["dev.migrator.log.opened"]
    assert events[0]["data"]["campaign"] == spec.settings.campaign.name
    assert events[0]["data"]["recipient_key_id"] == key.recipient_key_id
    assert [row["name"] for row in _rows(spec, tables.campaign)] == [spec.settings.campaign.name]
    assert len(_rows(spec, tables.recipient_key)) == 1
    assert not list(spec.directory.rglob("*.new"))


def test_makes_everything_from_settings_alone(tmp_path: Path) -> None:
    """In a folder that does not exist yet: database, keys, log, campaign, recipient key, all reported as made."""
    spec = campaign_spec(tmp_path / "new")
    steps = setup.initialise(spec)
    assert [step.what for step in steps] == [
        "migrator database", "key service", "audit log's signing key", "audit log", "campaign", "recipient key",
    ]  # fmt: skip
    assert all(step.made for step in steps)
    _require_complete(spec)


def test_twice(tmp_path: Path) -> None:
    """A second setup makes nothing, changes no key and writes no event."""
    spec = campaign_spec(tmp_path)
    first = setup.initialise(spec)
    before = _snapshot(tmp_path), _rows(spec, tables.recipient_key), _rows(spec, tables.campaign)
    second = setup.initialise(spec)
    assert not any(step.made for step in second)
    assert [step.path_or_name for step in second] == [step.path_or_name for step in first]
    assert (_snapshot(tmp_path), _rows(spec, tables.recipient_key), _rows(spec, tables.campaign)) == before
    _require_complete(spec)


def test_files_are_private(tmp_path: Path) -> None:
    """Nothing that setup makes can be read by others."""
    setup.initialise(campaign_spec(tmp_path))
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_no_key_in_the_open(tmp_path: Path) -> None:
    """G5: the reference key and the private half stand nowhere in the clear."""
    spec = campaign_spec(tmp_path)
    setup.initialise(spec)
    row = _rows(spec, tables.campaign)[0]
    with open_campaign(spec) as campaign:
        from_service = campaign.key_services.default().unwrap(
            [(row["wrapped_reference_key"], b'{"campaign":"c","purpose":"reference-key"}')]
        )[0]
    assert isinstance(from_service, bytes)
    assert len(from_service) == 32
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or from_service not in path.read_bytes(), path


def test_regions_get_their_keys(tmp_path: Path) -> None:
    """One key for each configured service, one step each; a region added later gets its own, the old ones stay."""
    setup.initialise(campaign_spec(tmp_path, keys={"regions": {"EU": "local:eu", "UK": "local:eu"}}))
    before = _snapshot(tmp_path)
    steps = setup.initialise(campaign_spec(tmp_path, keys={"regions": {"EU": "local:eu", "US": "local:us#k"}}))
    keys = [(step.path_or_name, step.made) for step in steps if step.what == "key service"]
    assert keys == [("local:keys#migrator", False), ("local:eu#migrator", False), ("local:us#k", True)]
    assert _snapshot(tmp_path) == before


# --- what is lost or odd is never papered over ---


def test_lost_key_is_not_made_anew(tmp_path: Path) -> None:
    """A key that wrapped something and is gone: an error, and no new key in its place."""
    spec = campaign_spec(tmp_path)
    setup.initialise(spec)
    (tmp_path / "keys" / "migrator.json").unlink()
    with pytest.raises(KeyServiceError) as caught:
        setup.initialise(spec)
    assert "backup" in caught.value.hint
    assert not (tmp_path / "keys" / "migrator.json").exists()


def test_lost_signing_key_is_not_made_anew(tmp_path: Path) -> None:
    """A log that another key goes on signing is not the same log."""
    spec = campaign_spec(tmp_path)
    setup.initialise(spec)
    (tmp_path / "audit.key").unlink()
    with pytest.raises(AuditLogError, match="signing key"):
        setup.initialise(spec)
    assert not (tmp_path / "audit.key").exists()


def test_lost_log_is_not_made_anew(tmp_path: Path) -> None:
    """G8: a log that the database remembers and that is gone."""
    spec = campaign_spec(tmp_path)
    setup.initialise(spec)
    (tmp_path / "audit" / "wal.jsonl").unlink()
    with pytest.raises(AuditLogError):
        setup.initialise(spec)


def test_lost_database_with_a_log_that_went_on(tmp_path: Path) -> None:
    """Keys are kept, but a fresh database does not take over an old log."""
    spec = campaign_spec(tmp_path)
    setup.initialise(spec)
    before = _snapshot(tmp_path)
    for path in tmp_path.glob("migrator.db*"):
        path.unlink()
    with pytest.raises(AuditLogError):
        setup.initialise(spec)
    assert _snapshot(tmp_path) == before


def test_origin_is_for_life(tmp_path: Path) -> None:
    """Another audit.origin would begin a second log beside the first."""
    setup.initialise(campaign_spec(tmp_path))
    with pytest.raises(ConfigError, match="opened as 'localhost/migrator/c'"):
        setup.initialise(campaign_spec(tmp_path, audit={"origin": "example.org/migrator/c"}))


def _ec_key() -> bytes:
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("content", [b"x", b"-----BEGIN PRIVATE KEY-----\n", _ec_key()])
def test_signing_key_of_another_kind(content: bytes, tmp_path: Path) -> None:
    """Garbage, truncated, another algorithm: refused, kept, and not quoted."""
    path = tmp_path / "audit.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="not an Ed25519 private key") as caught:
        setup.initialise(campaign_spec(tmp_path))
    assert path.read_bytes() == content
    assert content.decode() not in repr(caught.value) or content == b"x"


@pytest.mark.parametrize("reference", ["env:KEY", "command:cat key", "file:", "audit.key"])
def test_signing_key_is_a_file(reference: str, tmp_path: Path) -> None:
    """Only a file can be made."""
    with pytest.raises(ConfigError, match=r"audit\.signing_key"):
        setup.initialise(campaign_spec(tmp_path, audit={"signing_key": reference}))


def test_database_folder_is_not_made(tmp_path: Path) -> None:
    """A mistyped path of the database is an error, not a new folder."""
    with pytest.raises(DatabaseError):
        setup.initialise(campaign_spec(tmp_path, database={"url": "sqlite:///none/migrator.db"}))
    assert list(tmp_path.iterdir()) == []


def test_directory_is_a_file(tmp_path: Path) -> None:
    """A file where the campaign's folder should be."""
    (tmp_path / "f").write_text("")
    with pytest.raises(ConfigError, match="can't be made"):
        setup.initialise(campaign_spec(tmp_path / "f"))


# --- one campaign to a database ---


def test_unused_database_is_taken_over(tmp_path: Path) -> None:
    """Whoever edits the name right after the first setup runs it again: fresh keys for the campaign, old log aside."""
    setup.initialise(campaign_spec(tmp_path))
    old = _rows(campaign_spec(tmp_path), tables.recipient_key)[0]
    log = (tmp_path / "audit" / "wal.jsonl").read_bytes()
    spec = _rename(tmp_path)
    setup.initialise(spec)
    _require_complete(spec)
    assert _rows(spec, tables.recipient_key)[0]["recipient_key_id"] != old["recipient_key_id"]
    assert (tmp_path / "audit.c.1" / "wal.jsonl").read_bytes() == log


def test_take_over_again_and_again(tmp_path: Path) -> None:
    """Each log goes aside under a name of its own, also under one explicit origin."""
    origin = {"origin": "example.org/log"}
    for spec in (campaign_spec(tmp_path, audit=origin), _rename(tmp_path, audit=origin)) * 2:
        setup.initialise(spec)
        _require_complete(spec)
    assert sorted(path.name for path in tmp_path.glob("audit.*.*")) == ["audit.c.1", "audit.c.2", "audit.other.1"]


def test_rehearsal_set_up_becomes_production(tmp_path: Path) -> None:
    """Another environment is another campaign; while nothing is recorded it may have the database."""
    setup.initialise(campaign_spec(tmp_path))
    spec = campaign_spec(tmp_path, campaign={"environment": "production"}, keys={"allow_local_keys": True})
    setup.initialise(spec)
    _require_complete(spec)
    assert _rows(spec, tables.campaign)[0]["environment"] == "production"


def _salt(connection: sa.Connection) -> None:
    connection.execute(tables.reference_salt.insert().values(subject_id="a", salt=b"s"))


def _notice(connection: sa.Connection) -> None:
    connection.execute(
        tables.notice_template.insert().values(
            notice_id="n", version="1", locale="en", sha256="0", source="", published_at="2026"
        )
    )


def _event(connection: sa.Connection) -> None:
    connection.execute(
        tables.outbox.insert().values(event_id="e", type="override.used", actor="a", time="2026", data="{}")
    )


def _conversation(connection: sa.Connection) -> None:
    connection.execute(tables.conversation.insert().values(conversation_id="i/t", mode="sealed"))


@pytest.mark.parametrize("work", [_salt, _notice, _event, _conversation])
@pytest.mark.parametrize(
    "sections",
    [{"campaign": {"name": "other"}}, {"campaign": {"environment": "production"}, "keys": {"allow_local_keys": True}}],
)
def test_recorded_work_keeps_the_database(
    work: Callable[[sa.Connection], None], sections: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """Any record, even one event, and neither another name nor another environment gets in; nothing is touched."""
    spec = campaign_spec(tmp_path)
    setup.initialise(spec)
    database = Database(f"sqlite:///{tmp_path}/migrator.db")
    with database.write("test") as connection:
        work(connection)
    database.close()
    before = _snapshot(tmp_path), _rows(spec, tables.campaign), _rows(spec, tables.recipient_key)
    with pytest.raises(ConfigError, match=r"holds campaign 'c' \(staging\) and its records"):
        setup.initialise(campaign_spec(tmp_path, **sections))
    assert (_snapshot(tmp_path), _rows(spec, tables.campaign), _rows(spec, tables.recipient_key)) == before
    assert not list(tmp_path.glob("audit.*.*"))
    setup.initialise(spec)


@pytest.mark.parametrize(
    "sections",
    [{"campaign": {"name": "other"}}, {"campaign": {"environment": "production"}, "keys": {"allow_local_keys": True}}],
)
def test_another_campaign_does_not_open(sections: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """G2: an edited name or environment opens no gate: the database says whose it is."""
    setup.initialise(campaign_spec(tmp_path))
    with (
        pytest.raises(ConfigError, match=r"holds campaign 'c' \(staging\)"),
        open_campaign(campaign_spec(tmp_path, **sections)),
    ):
        pass


def test_database_without_a_campaign_does_not_open(tmp_path: Path) -> None:
    """Tables alone, as a killed setup may leave them, are no campaign yet."""
    schema.upgrade(Database(f"sqlite:///{tmp_path}/migrator.db"))
    with pytest.raises(ConfigError, match="no campaign yet"), open_campaign(campaign_spec(tmp_path)):
        pass


def test_log_among_other_files_is_not_moved(tmp_path: Path) -> None:
    """An audit directory that is the campaign's own folder can't go aside."""
    setup.initialise(campaign_spec(tmp_path, audit={"directory": "."}))
    with pytest.raises(ConfigError, match="among other files"):
        setup.initialise(_rename(tmp_path, audit={"directory": "."}))
    assert (tmp_path / "wal.jsonl").exists()


def test_newer_database_is_left_alone(tmp_path: Path) -> None:
    """A database of a later migrator is neither upgraded nor taken over."""
    setup.initialise(campaign_spec(tmp_path))
    database = Database(f"sqlite:///{tmp_path}/migrator.db")
    with database.write("test") as connection:
        connection.execute(sa.text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    database.close()
    for spec in (campaign_spec(tmp_path), _rename(tmp_path)):
        with pytest.raises(SchemaVersionError):
            setup.initialise(spec)
    assert [row["name"] for row in _rows(campaign_spec(tmp_path), tables.campaign)] == ["c"]


# --- killed anywhere ---


def _killed_at(spec: CampaignSpec, moment: int) -> bool:
    """Run setup in a child that is killed at its n-th touch of a file or commit; False if it ended before."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _arm(spec.directory, moment)
            setup.initialise(spec)
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0
    return os.WIFSIGNALED(ended)


def _arm(directory: Path, moment: int) -> None:
    left = moment

    def touch() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        touches = ("open", "os.mkdir", "os.link", "os.remove", "os.rename", "os.truncate")
        if event in touches and str(directory) in str(arguments[0]):
            touch()

    def boundary(label: str, moment: str) -> None:
        del label, moment
        touch()

    sys.addaudithook(hook)
    connect._nothing = boundary


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("taking_over", [False, True])
def test_killed_at_any_instant_a_rerun_completes(taking_over: bool, tmp_path: Path, thorough: bool) -> None:
    """SIGKILL at every fifth touch of a file or commit: a rerun keeps the keys that were made and completes."""
    moment = 0
    (tmp_path / "before").mkdir(mode=0o700)
    if taking_over:
        setup.initialise(_rename(tmp_path / "before"))
    while True:
        directory = shutil.copytree(tmp_path / "before", tmp_path / str(moment))
        spec = campaign_spec(directory)
        if not _killed_at(spec, moment):
            break
        kept = _snapshot(directory)
        setup.initialise(spec)
        _require_complete(spec)
        assert kept.items() <= _snapshot(directory).items()
        assert not any(step.made for step in setup.initialise(spec))
        moment += 1 if thorough else 5
    assert moment > (15 if not taking_over else 8)
