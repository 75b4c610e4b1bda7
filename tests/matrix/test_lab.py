"""A real homeserver migrates on the command line, from the notice to a readable archive (`fixtures/synapse_lab`).

For each quorum: exactly the events that may be opened are, byte for byte as their clients sent them, and each other one
has its reason; from SQLite and from a PostgreSQL copy alike.
"""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from fixtures import synapse_lab
from tests.cli.conftest import folder, program
from tests.cli.running import Program
from tests.matrix.campaign import MatrixCampaign, consents, give_addresses
from tests.matrix.oracle import KeysOf, Oracle, keys_of_backup, keys_of_export

__all__ = ["folder", "program"]
CAROL = "@carol:lab.example"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The homeserver, with mail addresses."""
    place = tmp_path_factory.mktemp("lab")
    give_addresses(synapse_lab.unpack(place))
    return place


@pytest.fixture(scope="module")
def secrets(lab: Path) -> dict[str, Any]:
    """Passphrases and recovery keys."""
    found: dict[str, Any] = json.loads((lab / "secrets.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def oracle(lab: Path, secrets: dict[str, Any]) -> Oracle:
    """Carol has a backup; the others hand in exports, also erin, who refused."""
    keys: list[KeysOf] = [keys_of_backup(lab / "homeserver.db", CAROL)]
    for name, export in secrets["exports"].items():
        if export["user"] != CAROL:
            keys.append(keys_of_export(lab / "exports" / name, export["user"], export["passphrase"]))
    return Oracle(lab, keys, consents(lab / "consents.json"))


@pytest.fixture
def campaign(program: Program, monkeypatch: pytest.MonkeyPatch) -> MatrixCampaign:
    """The commands of one."""
    return MatrixCampaign(program, monkeypatch)


def prepare(campaign: MatrixCampaign, folder: Path, lab: Path, secrets: dict[str, Any], url: str, quorum: str) -> None:
    """Everybody was told and answered; all keys were brought in, also those that must not be used."""
    campaign.begin(folder, url, domain=synapse_lab.LOCAL_DOMAIN, quorum=quorum)
    campaign.answer(folder, consents(lab / "consents.json"))
    for name, export in secrets["exports"].items():
        if export["user"] != CAROL:
            campaign.bring_in(folder, lab / "exports" / name, export["user"], export["passphrase"])
    campaign.bring_in_backup(folder, CAROL, secrets["backup"]["backup_recovery_key"])


def found(folder: Path, campaign: MatrixCampaign) -> dict[str, dict[str, str | bytes]]:
    """What readers and the table of gaps have, by room and event."""
    from migrator.core.encoding import b64url_decode

    connection = sqlite3.connect(folder / "migrator.db")
    rooms = [
        r for (r,) in connection.execute("SELECT conversation_id FROM migrator_conversation WHERE mode = 'server'")
    ]
    query = """SELECT message_id, reason FROM migrator_gap JOIN migrator_conversation USING (conversation_no)
               WHERE conversation_id = ?"""
    result: dict[str, dict[str, str | bytes]] = {}
    for room_id in rooms:
        result[room_id] = dict(connection.execute(query, (room_id,)).fetchall())
        for message in campaign.read(room_id):
            result[room_id][message["message_id"]] = b64url_decode(message["content"])
    connection.close()
    return result


@pytest.mark.parametrize("quorum", ["every_participant", "any_participant"])
def test_exactly_what_may_be_opened_is(
    folder: Path, campaign: MatrixCampaign, lab: Path, secrets: dict[str, Any], oracle: Oracle, quorum: str
) -> None:
    """Room by room, event by event, against what the clients sent and who agreed."""
    prepare(campaign, folder, lab, secrets, f"sqlite:///{lab / 'homeserver.db'}", quorum)
    campaign.run()
    result = found(folder, campaign)
    assert set(result) == oracle.rooms(quorum)
    for room_id, events in result.items():
        assert events == oracle.expected(room_id)
