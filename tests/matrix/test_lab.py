"""A real homeserver migrates on the command line, from the notice to a readable archive (`fixtures/synapse_lab`).

For each quorum: exactly the events that may be opened are, byte for byte as their clients sent them, and each other one
has its reason; so are their files and thumbnails, but for one that the media store lost and one of which it lost the
end; from SQLite and from a PostgreSQL copy alike. `test_readme` goes the same way with other answers.
"""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from fixtures import synapse_lab
from migrator.core.encoding import b64url_decode
from tests.cli.conftest import folder, program
from tests.cli.running import Program
from tests.matrix.campaign import MatrixCampaign, consents, give_addresses
from tests.matrix.oracle import KeysOf, Oracle, keys_of_backup, keys_of_export
from tests.matrix.postgresql import copied

__all__ = ["folder", "program"]
CAROL = "@carol:lab.example"
SLOW = ("alice.megolm-keys.txt",)
"""An export with 500,000 rounds, as Element makes it, takes its time; the others have all that is in it."""
OPENED = {"every_participant": 111, "any_participant": 264}
"""Of 312: all that has a key, where one of a room's members may bring it."""
ATTACHED = {"every_participant": 3, "any_participant": 14}
MISSING, TRUNCATED = "YN/gz/UxyeKxoNbXrXgxuVJdcB", "vg/sG/YQqyVtDcyideKSVcSkSD"
"""Files of two rooms that either quorum opens."""
DAMAGED = {
    ("$8nObCWwYAS0Gn4MCOgnKXhNSU2-TCbBR4blll6QvT1w", "file"): "missing",
    ("$ly2h3kPGyb7EBe4-0u6VTFR3i2dmriRVnx0ME0QpD0w", "file"): "truncated",
}
"""Their messages, and why they are gaps."""
ATTACHMENTS = """
media = "media_store"
[attachments]
target = "file:blobs"
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The homeserver, with mail addresses."""
    place = tmp_path_factory.mktemp("lab")
    give_addresses(synapse_lab.unpack(place))
    return place


def secrets_of(lab: Path) -> dict[str, Any]:
    """Passphrases and recovery keys."""
    found: dict[str, Any] = json.loads((lab / "secrets.json").read_text(encoding="utf-8"))
    return found


def keys(lab: Path) -> list[KeysOf]:
    """Carol has a backup; the others hand in exports, also erin, who refused."""
    return [keys_of_backup(lab / "homeserver.db", CAROL)] + [
        keys_of_export(lab / "exports" / name, export["user"], export["passphrase"])
        for name, export in secrets_of(lab)["exports"].items()
        if export["user"] != CAROL and name not in SLOW
    ]


@pytest.fixture
def campaign(program: Program, monkeypatch: pytest.MonkeyPatch) -> MatrixCampaign:
    """The commands of one."""
    return MatrixCampaign(program, monkeypatch)


def prepare(campaign: MatrixCampaign, lab: Path, url: str, quorum: str) -> None:
    """Everybody was told and answered; all keys were brought in, also those that must not be used."""
    folder, secrets = Path.cwd(), secrets_of(lab)
    media = shutil.copytree(lab / "media_store", folder / "media_store") / "local_content"
    (media / MISSING).unlink()
    (media / TRUNCATED).write_bytes((media / TRUNCATED).read_bytes()[:100])
    campaign.begin(folder, url, domain=synapse_lab.LOCAL_DOMAIN, quorum=quorum, more=ATTACHMENTS)
    campaign.answer(folder, consents(lab / "consents.json"))
    for name, export in secrets["exports"].items():
        if export["user"] != CAROL and name not in SLOW:
            campaign.bring_in(folder, lab / "exports" / name, export["user"], export["passphrase"])
    campaign.bring_in_backup(folder, CAROL, secrets["backup"]["backup_recovery_key"])


def found(folder: Path, campaign: MatrixCampaign) -> dict[str, dict[str, str | bytes]]:
    """What readers and the table of gaps have, by room and event."""
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


def attached(folder: Path, campaign: MatrixCampaign, room_ids: Iterable[str]) -> dict[tuple[str, str], str]:
    """What archives have of attachments, by event and kind: SHA-256 of the file that was saved, or why there is none.

    Saved as Matrix JSON, which names each, and as pages, whose files are the same and which give each reason.
    """
    result: dict[tuple[str, str], str] = {}
    for number, room_id in enumerate(room_ids):
        for form in ("matrix-json", "html"):
            campaign("read", room_id, "--reason", "test", "--format", form, "--save", folder / f"{form}-{number}")
        events = json.loads((folder / f"matrix-json-{number}" / "events.json").read_bytes())["messages"]
        pages = "".join(page.read_text(encoding="utf-8") for page in (folder / f"html-{number}").glob("*.html"))
        manifest = json.loads((folder / f"html-{number}" / "manifest.json").read_bytes())["files"]
        saved = {
            (file["attachment"]["event_id"], file["attachment"]["kind"]): folder / f"html-{number}" / file["name"]
            for file in manifest
            if "attachment" in file
        }
        for event in events:
            for one in event.get("unsigned", {}).get("migrator.attachments", ()):
                at = event["event_id"], one["kind"]
                if one["file"] is None:
                    assert f"({one['gap']})" in pages
                    result[at] = one["gap"]
                else:
                    data = (folder / f"matrix-json-{number}" / one["file"]).read_bytes()
                    assert saved.pop(at).read_bytes() == data
                    result[at] = hashlib.sha256(data).hexdigest()
        assert not saved
    return result


@pytest.mark.parametrize(("kind", "quorum"), [("sqlite", "any_participant"), ("postgresql", "every_participant")])
def test_exactly_what_may_be_opened_is(
    folder: Path, campaign: MatrixCampaign, lab: Path, kind: str, quorum: str
) -> None:
    """Room by room, event by event, against what the clients sent and who agreed."""
    url = f"sqlite:///{lab / 'homeserver.db'}" if kind == "sqlite" else copied(lab / "homeserver.db")
    prepare(campaign, lab, url, quorum)
    assert "keys: 5 were sealed unopened" in campaign("exports", "coverage").out
    campaign.run()
    result = found(folder, campaign)
    oracle = Oracle(lab, keys(lab), consents(lab / "consents.json"))
    assert set(result) == oracle.rooms(quorum)
    assert {room_id: oracle.expected(room_id) for room_id in result} == result
    opened = sum(isinstance(what, bytes) for events in result.values() for what in events.values())
    assert opened == OPENED[quorum]
    truth = {at: sha for room_id in result for at, sha in oracle.attachments(room_id).items()}
    rooms = [room_id for room_id in sorted(result) if oracle.attachments(room_id)]
    assert attached(folder, campaign, rooms) == truth | DAMAGED
    assert len(truth) == ATTACHED[quorum]
