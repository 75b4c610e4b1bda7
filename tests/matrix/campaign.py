"""A homeserver's campaign on the command line: notices, answers signed by a consent service, keys brought in, a run.

The homeserver is the lab of `fixtures/synapse_lab`, or one that `homeserver.py` has just made: the same files.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrator.client.authorising import Asked, authorise
from migrator.client.signing import Signer
from migrator.core.authorization import NoticeShown
from migrator.core.clock import format_time
from migrator.core.encoding import b64url_encode
from migrator.core.policy import Answer
from tests.cli.running import Done, Program

CUTOVER: Final = datetime(2027, 5, 1, tzinfo=UTC)
NOTICED: Final = CUTOVER - timedelta(days=70)
ANSWERED: Final = CUTOVER - timedelta(days=30)
RUN: Final = CUTOVER + timedelta(days=1)
ISSUER: Final = "consent-desk"
_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_CONFIGURATION: Final = """
[campaign]
name = "matrix"
environment = "staging"
cutover_at = {cutover}
[source]
kind = "synapse"
url = "{url}"
local_domain = "{domain}"
{more}
[authorization]
quorum = "{quorum}"
[authorization.issuers]
{issuer} = "{key}"
[execution]
workers = 1
max_gap_fraction = 0.9
[notify]
rate = "1000000/s"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What somebody answered: None is silence; `rooms` None is all of them."""

    user_id: str
    granted: bool | None
    rooms: Sequence[str] | None = None


class MatrixCampaign:
    """One campaign in the current folder; the clock is moved between its steps."""

    def __init__(self, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
        self._program = program
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: object, at: datetime = RUN, status: int = 0) -> Done:
        """A command that ends as it should."""
        self._monkeypatch.setenv("MIGRATOR_NOW", format_time(at))
        done = self._program(*arguments)
        assert done.status == status, f"{arguments}\n{done.out}\n{done.err}"
        return done

    def begin(self, folder: Path, url: str, *, domain: str, quorum: str, more: str = "") -> None:
        """Configuration, keys, database; everybody is told."""
        self.configure(folder, url, domain=domain, quorum=quorum, more=more)
        self("init", at=NOTICED)
        self("notify", "send", at=NOTICED)

    def configure(self, folder: Path, url: str, *, domain: str, quorum: str, more: str = "") -> None:
        """The configuration alone."""
        text = _CONFIGURATION.format(
            cutover=CUTOVER.isoformat(), url=url, domain=domain, quorum=quorum, more=more, issuer=ISSUER,
            key=b64url_encode(_KEY.public_key().public_bytes_raw()),
        )  # fmt: skip
        (folder / "migrator.toml").write_text(text, encoding="utf-8")

    def answer(self, folder: Path, consents: Sequence[Consent]) -> None:
        """Answers, and their import."""
        self.write_answers(folder, consents)
        self("authorizations", "import", "answers.jsonl", at=ANSWERED)

    def write_answers(self, folder: Path, consents: Sequence[Consent]) -> None:
        """The platform's consent service signs what was answered in the app."""
        asked = self._asked()
        lines = [
            authorise(
                Signer.issuer(ISSUER, _KEY), asked, record_id=UUID(int=number), account_id=consent.user_id,
                answer=Answer.GRANT if consent.granted else Answer.REFUSE, decided_at=ANSWERED,
                valid_until=CUTOVER + timedelta(days=365) if consent.granted else None, conversations=consent.rooms,
            )
            for number, consent in enumerate(consents, start=1)
            if consent.granted is not None
        ]  # fmt: skip
        (folder / "answers.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def bring_in(self, folder: Path, export: Path, user_id: str, passphrase: str) -> None:
        """A key export file, as a user handed it to the operator with its passphrase."""
        self._secret(folder, passphrase)
        self(
            "exports", "import", export, "--account", user_id, "--passphrase", f"file:{folder / 'secret'}", at=ANSWERED
        )

    def bring_in_backup(self, folder: Path, user_id: str, recovery_key: str) -> None:
        """What opens a user's key backup on the server."""
        self._secret(folder, recovery_key)
        self("exports", "import", "--account", user_id, "--recovery-key", f"file:{folder / 'secret'}", at=ANSWERED)

    def run(self) -> Mapping[str, Any]:
        """Plan, execute, verify; what the run came to."""
        plan = self("plan", "-o", "json").json["plan_id"]
        done: dict[str, Any] = self("execute", plan, "-o", "json").json
        verified = self("verify", "-o", "json").json
        assert verified["ok"], verified
        return done

    def read(self, room_id: str) -> list[dict[str, Any]]:
        """A room's history for programs."""
        messages: list[dict[str, Any]] = self("read", room_id, "--reason", "test", "-o", "json").json["messages"]
        return messages

    def _asked(self) -> Asked:
        recipient = self("recipient-key", "-o", "json", at=ANSWERED).json
        templates = self("notify", "templates", "-o", "json", at=ANSWERED).json["templates"]
        shown = next(t for t in templates if (t["notice_id"], t["locale"]) == ("cutover", "en"))
        notice = NoticeShown(**{name: shown[name] for name in ("notice_id", "version", "locale", "sha256")})
        return Asked(campaign="matrix", recipient_key_id=recipient["recipient_key_id"], notice=notice)

    def _secret(self, folder: Path, text: str) -> None:
        path = folder / "secret"
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")


def give_addresses(database: Path) -> None:
    """Users of these homeservers have no mail addresses; notices go by mail here."""
    connection = sqlite3.connect(database)
    with connection:
        connection.execute(
            "INSERT INTO user_threepids (user_id, medium, address, validated_at, added_at) "
            "SELECT name, 'email', substr(name, 2, instr(name, ':') - 2) || '@example.org', 1, 1 FROM users"
        )
    connection.close()


def consents(path: Path) -> list[Consent]:
    """The lab's own."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return [
        Consent(
            user_id=user_id,
            granted=consent["granted"],
            rooms=None if consent.get("scope", "all") == "all" else consent["scope"],
        )
        for user_id, consent in found.items()
        if not user_id.startswith("_")
    ]
