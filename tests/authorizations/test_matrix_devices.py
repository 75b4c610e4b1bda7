"""Device ids of a homeserver are unique for their user only: answers and exports name theirs with its user.

`kid` is `<user id>|<device id>`, or the plain id where no other local user has a device of that name.
"""

import base64
import io
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrator import authorizations, plugins
from migrator.client.authorising import Asked, authorise
from migrator.client.exporting import ExportHeader, ExportWriter
from migrator.client.signing import Signer
from migrator.core.authorization import NoticeShown
from migrator.core.clock import format_time
from migrator.core.export import ExportKind
from migrator.core.policy import Answer
from migrator.database import tables
from migrator.exports import importing
from tests.execution.bench import ANSWERED, NOTICED, NOW
from tests.execution.house import ADA, BOB, ROOM, House
from tests.support.plain_scheme import PlainScheme

KEYS = {
    ADA: Ed25519PrivateKey.from_private_bytes(b"\x05" * 32),
    BOB: Ed25519PrivateKey.from_private_bytes(b"\x07" * 32),
}
SHOWN = NoticeShown(notice_id="cutover", version="1", locale="en", sha256="ab" * 32)
BOTH, ADAS = "PHONE", "LAPTOP"
CASES = [
    pytest.param(BOTH, ADA, ADA, "unknown_device", id="a plain id of two"),
    pytest.param(f"{ADA}|{BOTH}", ADA, ADA, None, id="with its user"),
    pytest.param(ADAS, ADA, ADA, None, id="a plain id of one"),
    pytest.param(f"{BOB}|{BOTH}", ADA, BOB, "bad_signature", id="another's key"),
    pytest.param(f"{ADA}|{BOTH}", ADA, BOB, "unknown_device", id="another's account"),
    pytest.param(f"{BOB}|{ADAS}", ADA, BOB, "unknown_device", id="another's device"),
    pytest.param(f"|{BOTH}", ADA, ADA, "unknown_device", id="no user"),
]
"""(kid, whose key signs, for whose account, why it is refused)."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Ada and Bob have a device of the same id each, and Ada another one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "scheme", lambda _name: PlainScheme())
        made = House(tmp_path_factory.mktemp("house") / "c")
        added = round(NOTICED.timestamp() * 1000)
        for user_id, device_id in ((ADA, BOTH), (BOB, BOTH), (ADA, ADAS)):
            made.home.device(user_id, device_id, keys=json.dumps(device_keys(user_id, device_id)), added=added)
        with made.database() as connection:
            values = {"notice_id": "cutover", "version": "1", "locale": "en", "sha256": SHOWN.sha256, "source": ""}
            connection.execute(tables.notice_template.insert().values(**values, published_at=format_time(NOTICED)))
        with closing(made.home):
            yield made


def device_keys(user_id: str, device_id: str) -> dict[str, object]:
    """What a client has published of its device."""
    signing = base64.b64encode(KEYS[user_id].public_key().public_bytes_raw()).decode().rstrip("=")
    keys = {f"ed25519:{device_id}": signing, f"curve25519:{device_id}": signing}
    return {"user_id": user_id, "device_id": device_id, "algorithms": [], "keys": keys}


@pytest.mark.parametrize(("kid", "signs", "account_id", "refused"), CASES)
def test_an_answer(house: House, tmp_path: Path, kid: str, signs: str, account_id: str, refused: str | None) -> None:
    """It counts where its id names one device, and that is the account's."""
    asked = Asked(campaign="bench", recipient_key_id=house.recipient.recipient_key_id, notice=SHOWN)
    token = authorise(
        Signer.device(kid, KEYS[signs]), asked, record_id=UUID(int=sum(kid.encode())), account_id=account_id,
        answer=Answer.GRANT, decided_at=ANSWERED, valid_until=NOW + timedelta(days=1),
    )  # fmt: skip
    (tmp_path / "answer.jws").write_text(token, encoding="ascii")
    with house.open() as campaign:
        result = authorizations.import_paths(campaign, [tmp_path / "answer.jws"])
    assert [r.reason.value for r in result.refused] == ([refused] if refused else [])
    recorded = {(row["device_id"], row["account_id"]) for row in house.all(tables.authorization)}
    assert ((kid, account_id) in recorded) is (refused is None)


@pytest.mark.parametrize(("kid", "signs", "account_id", "refused"), CASES)
def test_an_export(
    house: House, tmp_path: Path, kid: str, signs: str, account_id: str, refused: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """So does a manifest."""
    monkeypatch.setattr(plugins, "scheme", lambda _name: PlainScheme())
    header = ExportHeader(
        export_id=UUID(int=sum(kid.encode())), campaign="bench", account_id=account_id, kind=ExportKind.KEYS,
        scheme="megolm", created_at=ANSWERED,
    )  # fmt: skip
    writer = ExportWriter(header, house.recipient, Signer.device(kid, KEYS[signs]))
    writer.list_conversation(ROOM, messages=1)
    writer.cover(ROOM, {"session_id": "s"})
    writer.add_entry({"conversation_id": ROOM, "session_id": "s"})
    stream = io.BytesIO()
    writer.write(stream)
    (tmp_path / "a.export.tar").write_bytes(stream.getvalue())
    with house.open() as campaign:
        result = importing.import_paths(campaign, [tmp_path / "a.export.tar"])
    assert [r.reason.value for r in result.refused] == ([refused] if refused else [])
    assert result.recorded == (refused is None)
