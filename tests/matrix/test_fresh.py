"""A homeserver that was just made migrates: `python -m tests.matrix.homeserver` runs this; the suite skips it."""

import json
import os
from pathlib import Path

import pytest

from migrator.core.encoding import b64url_decode
from tests.cli.conftest import folder, program
from tests.cli.running import Program
from tests.matrix.campaign import Consent, MatrixCampaign, give_addresses
from tests.matrix.homeserver import DOMAIN, FRESH
from tests.matrix.oracle import ask

__all__ = ["folder", "program"]
LAB = Path(os.environ.get(FRESH, ""))


@pytest.mark.skipif(FRESH not in os.environ, reason="needs a homeserver: python -m tests.matrix.homeserver FOLDER")
def test_a_fresh_homeserver_migrates(folder: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that its clients sent reads back byte for byte, but for what was redacted; keys from exports and a backup."""
    give_addresses(LAB / "homeserver.db")
    secrets = json.loads((LAB / "secrets.json").read_text(encoding="utf-8"))
    campaign = MatrixCampaign(program, monkeypatch)
    campaign.begin(folder, f"sqlite:///{LAB / 'homeserver.db'}", domain=DOMAIN, quorum="every_participant")
    users = [f"@{name}:{DOMAIN}" for name in ("alice", "bob", "carol")]
    campaign.answer(folder, [Consent(user_id=user_id, granted=True) for user_id in users])
    for name, export in secrets["exports"].items():
        if export["user"] != secrets["backup"]["user"]:
            campaign.bring_in(folder, LAB / "exports" / name, export["user"], export["passphrase"])
    campaign.bring_in_backup(folder, secrets["backup"]["user"], secrets["backup"]["backup_recovery_key"])
    campaign.run()
    truth = [json.loads(line) for line in (LAB / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    rooms = {sent["room_id"] for sent in truth}
    read = {m["message_id"]: b64url_decode(m["content"]) for room_id in rooms for m in campaign.read(room_id)}
    assert read == {sent["event_id"]: sent["payload"].encode() for sent in truth if not sent["redacted"]}
    gaps = ask(folder / "migrator.db", "SELECT message_id, reason FROM migrator_gap")
    assert gaps == [(sent["event_id"], "redacted") for sent in truth if sent["redacted"]]
