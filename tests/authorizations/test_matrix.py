"""Answers of Matrix accounts: signed by a device under its Matrix id, or by a consent service where none can sign."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrator import authorizations
from migrator.client.authorising import Asked, authorise
from migrator.client.signing import Signer
from migrator.core.authorization import NoticeShown
from migrator.core.clock import format_time
from migrator.core.encoding import b64url_encode
from migrator.core.model import Device
from migrator.core.policy import Answer
from migrator.database import tables
from tests.execution.bench import ANSWERED, NOTICED, NOW
from tests.execution.room_bench import RoomBench
from tests.support.megolm import MALLORY, ROOM

DEVICE_KEY = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
CONSENT_KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
SHOWN = NoticeShown(notice_id="cutover", version="1", locale="en", sha256="ab" * 32)


@pytest.mark.parametrize(
    ("signer", "refused"),
    [
        (Signer.device("MALLORYPHONE", DEVICE_KEY), []),
        (Signer.issuer("consent", CONSENT_KEY), []),
        (Signer.issuer("consent", DEVICE_KEY), ["bad_signature"]),
        (Signer.issuer("other", CONSENT_KEY), ["unknown_issuer"]),
        (Signer.device("ALICEPHONE", DEVICE_KEY), ["unknown_device"]),
    ],
)
def test_who_may_answer_for_a_matrix_account(tmp_path: Path, signer: Signer, refused: list[str]) -> None:
    """Accounts, devices and rooms have the ids that Matrix gives them, sigils and colons and all."""
    issuers = {"consent": b64url_encode(CONSENT_KEY.public_key().public_bytes_raw())}
    bench = RoomBench(tmp_path, authorization={"quorum": "any_participant", "issuers": issuers})
    bench.rooms.devices_by_id["MALLORYPHONE"] = Device(
        device_id="MALLORYPHONE",
        account_id=MALLORY,
        signing_key=DEVICE_KEY.public_key().public_bytes_raw(),
        added_at=NOTICED,
    )
    with bench.database() as connection:
        published = {"notice_id": "cutover", "version": "1", "locale": "en", "sha256": SHOWN.sha256, "source": ""}
        connection.execute(tables.notice_template.insert().values(**published, published_at=format_time(NOTICED)))
    asked = Asked(campaign="bench", recipient_key_id=bench.recipient.recipient_key_id, notice=SHOWN)
    token = authorise(
        signer, asked, record_id=UUID(int=1), account_id=MALLORY, answer=Answer.GRANT, decided_at=ANSWERED,
        valid_until=NOW + timedelta(days=1), conversations=[ROOM],
    )  # fmt: skip
    path = tmp_path / "answer.jws"
    path.write_text(token, encoding="ascii")
    with bench.open() as campaign:
        result = authorizations.import_paths(campaign, [path])
    assert [r.reason.value for r in result.refused] == refused
    assert result.recorded == (0 if refused else 1)
    if not refused:
        row = next(row for row in bench.all(tables.authorization) if row["account_id"] == MALLORY)
        assert (row["issuer"], row["device_id"]) == (signer.issuer_name, signer.device_id)
