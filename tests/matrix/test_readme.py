"""The README's way from a homeserver's database to an archive, command by command, on a real homeserver."""

import hashlib
import json
import mailbox
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from fixtures import synapse_lab
from tests.cli import campaigns
from tests.cli.conftest import folder, program
from tests.cli.running import Program
from tests.matrix.campaign import ANSWERED, NOTICED, RUN, Consent, MatrixCampaign, give_addresses
from tests.matrix.oracle import Oracle, keys_of_backup, keys_of_export

__all__ = ["folder", "program"]
README: Final = Path(__file__).parent.parent.parent / "README.md"
ROOM: Final = "!wTdinSkKPjxNWKyEMC:lab.example"
ALICE, BOB, CAROL = "@alice:lab.example", "@bob:lab.example", "@carol:lab.example"
EXPORT: Final = "bob.megolm-keys.txt"
"""Bob's part is the README's alice: the lab's alice has an export of 500,000 rounds, which takes its time."""
_NOTICE: Final = dict.fromkeys(("init", "preflight", "notify"), NOTICED)
_WHEN: Final = _NOTICE | dict.fromkeys(("recipient-key", "authorizations", "exports"), ANSWERED)
"""When an operator gives each command; the others from the cutover on."""


def section() -> str:
    """The README's words on Matrix."""
    found = re.search(r"^## Matrix: .*?(?=^## )", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


def prepared(folder: Path) -> tuple[Oracle, list[Consent]]:
    """What lies there when somebody begins: the copy, the key files, the answers; and what is to come of it."""
    lab = folder / "lab"
    give_addresses(synapse_lab.unpack(lab))
    secrets = json.loads((lab / "secrets.json").read_text(encoding="utf-8"))
    (folder / "alice.megolm-keys.txt").write_bytes((lab / "exports" / EXPORT).read_bytes())
    passphrase = secrets["exports"][EXPORT]["passphrase"]
    for name, text in (
        ("alice.passphrase", passphrase),
        ("carol.recovery-key", secrets["backup"]["backup_recovery_key"]),
    ):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text, encoding="utf-8")
    consents = [Consent(user_id=user_id, granted=True) for user_id in (ALICE, BOB, CAROL)]
    keys = [
        keys_of_export(lab / "exports" / EXPORT, BOB, passphrase),
        keys_of_backup(lab / "homeserver.db", CAROL),
    ]
    return Oracle(lab, keys, consents), consents


def test_its_configuration_is_one() -> None:
    """The settings exist, under these names."""
    (text,) = re.findall(r"```toml\n(.*?)```", section(), re.DOTALL)
    settings = tomllib.loads(text)
    assert (settings["source"]["kind"], settings["attachments"]["target"]) == ("synapse", "file:blobs")
    assert settings["source"]["media"].endswith("/media_store")


def test_its_commands_lead_to_archives(folder: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order, and the archives hold what was sent, byte for byte, and each gap."""
    campaign = MatrixCampaign(program, monkeypatch)
    oracle, consents = prepared(folder)
    more = 'media = "lab/media_store"\n[attachments]\ntarget = "file:blobs"'
    campaign.configure(
        folder, "sqlite:///lab/homeserver.db", domain="lab.example", quorum="every_participant", more=more
    )
    for line in re.findall(r"^migrator (.*?)(?: {2,}#.*)?$", section(), re.MULTILINE):
        words = [word.replace("@alice:", "@bob:").replace("example.org", "lab.example") for word in shlex.split(line)]
        if words[0] == "authorizations":
            campaign.write_answers(folder, consents)
        values: dict[str, Callable[[Path], str]] = {"PLAN": campaigns.newest_plan, "ROOM": lambda _: ROOM}
        words = [values[word](folder) if word in values else word for word in words]
        campaign(*words, at=_WHEN.get(words[0], RUN))
    expected = oracle.expected(ROOM)
    opened = {event_id: what for event_id, what in expected.items() if isinstance(what, bytes)}
    assert len(opened) > 20
    text = (folder / "archive.json").read_bytes()
    document = json.loads(text)
    assert document["clear_text_count"] == clear_text(folder)
    assert {m["event_id"]: m["payload_sha256"] for m in document["messages"] if "payload" in m} == {
        event_id: hashlib.sha256(payload).hexdigest() for event_id, payload in opened.items()
    }
    assert all(payload in text for payload in opened.values())
    box = mailbox.mbox(folder / "archive.mbox")
    assert len(box) == len(expected)
    box.close()
    pages = (folder / "archive" / "messages-00001.html").read_text(encoding="utf-8")
    assert pages.count("<article ") == len(expected)
    assert "edits <a" in pages
    assert "replaced: " in pages


def clear_text(folder: Path) -> int:
    """Messages of the room that its clients sent in the clear."""
    lines = (folder / "lab" / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(not one["encrypted"] for one in map(json.loads, lines) if one["room_id"] == ROOM)
