"""Notices to a gateway over HTTP: signed, patient, and not to be led astray."""

import base64
import ipaddress
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook

from migrator.channels import public_address
from migrator.channels.interface import Accepted, Answer, ChannelAddress, Deferred, Gone, NoticeChannel, Rejected
from migrator.channels.webhook import WebhookChannel
from migrator.core.errors import ChannelError, ConfigError
from migrator.core.secret import Secret
from tests.channels.conformance import ChannelConformance, make_dispatch
from tests.support.certificates import make_certificate
from tests.support.mail_server import free_port
from tests.support.receiver import Receiver, receiver

WHSEC = "whsec_" + base64.b64encode(bytes(range(24))).decode()
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WHSK = "whsk_" + base64.b64encode(bytes(range(32))).decode()


def open_webhook(address: str, folder: Path, secret: str = WHSEC) -> WebhookChannel:
    """The channel of an address."""
    return WebhookChannel.open(
        ChannelAddress.parse(address), directory=folder, resolve=lambda _: Secret(secret.encode())
    )


def at(server: Receiver, options: str = "&private=allow") -> str:
    """The address of a receiver."""
    return f"webhook:http://127.0.0.1:{server.port}/notices?app=1#secret=env:S{options}"


@pytest.fixture
def server() -> Iterator[Receiver]:
    """A receiver."""
    with receiver() as running:
        yield running


@pytest.fixture
def channel(server: Receiver, tmp_path: Path) -> Iterator[WebhookChannel]:
    """The channel to it."""
    opened = open_webhook(at(server), tmp_path)
    yield opened
    opened.close()


class TestWebhook(ChannelConformance):
    """The port's promises."""

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with receiver() as self.server:
            yield

    def opened(self, folder: Path) -> NoticeChannel:
        return open_webhook(at(self.server), folder)

    def arrived(self, folder: Path) -> list[EmailMessage]:
        return [_as_mail(json.loads(r.body)["data"], r.headers["webhook-id"]) for r in self.server.requests]


def _as_mail(data: dict[str, Any], key: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["Message-ID"] = data["subject"], f"<{key}@example.org>"
    message["To"] = f"{data['account_id']}@example.org"
    message.set_content(data["text"])
    return message


def test_what_a_receiver_gets(channel: WebhookChannel, server: Receiver) -> None:
    """Type, time and data; the query is kept, the options are not sent; the connection is used again."""
    dispatch = replace(make_dispatch("k1"), facts={"notice_id": "cutover", "version": "1"})
    assert [channel.send(dispatch), channel.send(dispatch)] == [Accepted()] * 2
    first, second = server.requests
    assert first.path == "/notices?app=1"
    assert first.headers["host"] == f"127.0.0.1:{server.port}"
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "k1"
    document = json.loads(first.body)
    assert document["type"] == "migrator.notice"
    assert document["data"] == {
        "account_id": "ana", "locale": "", "notice_id": "cutover", "version": "1", "subject": "About your chats",
        "text": "A notice.\n",
    }  # fmt: skip
    assert server.connections == 1


def test_signatures(tmp_path: Path, server: Receiver) -> None:
    """Both kinds at once; `v1` as the standard's Python package checks it, `v1a` under the public key."""
    seed_and_public = base64.b64encode(bytes(range(32)) + PRIVATE.public_key().public_bytes_raw()).decode()
    channel = open_webhook(at(server), tmp_path, f"{WHSEC} whsk_{seed_and_public}\n")
    channel.send(make_dispatch("k1"))
    channel.close()
    (request,) = server.requests
    Webhook(WHSEC).verify(request.body, dict(request.headers))
    _, asymmetric = request.headers["webhook-signature"].split(" ")
    version, _, signature = asymmetric.partition(",")
    signed = f"k1.{request.headers['webhook-timestamp']}.".encode() + request.body
    assert version == "v1a"
    PRIVATE.public_key().verify(base64.b64decode(signature), signed)


def test_the_javascript_package_verifies(tmp_path: Path, server: Receiver) -> None:
    """`standardwebhooks` of npm, where Node and it are there (`NODE_PATH`)."""
    node = shutil.which("node")
    script = """
        const { Webhook } = require("standardwebhooks");
        const { secret, body, headers } = JSON.parse(require("fs").readFileSync(0));
        new Webhook(secret).verify(body, headers);
        let refused = false;
        try { new Webhook(secret).verify(body + " ", headers); } catch { refused = true; }
        if (!refused) throw new Error("an altered body was accepted");
    """
    if node is None or subprocess.run([node, "-e", 'require("standardwebhooks")'], capture_output=True).returncode:
        pytest.skip("Node with the npm package standardwebhooks is not here")
    channel = open_webhook(at(server), tmp_path, f"{WHSK} {WHSEC}")
    channel.send(make_dispatch("k1", "Grüße, 変更\n"))
    channel.close()
    (request,) = server.requests
    given = json.dumps({"secret": WHSEC, "body": request.body.decode(), "headers": request.headers})
    done = subprocess.run([node, "-e", script], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, {}, Accepted()),
        (302, {"location": "/elsewhere"}, Deferred("302")),
        (307, {"location": "/elsewhere"}, Deferred("307")),
        (400, {}, Deferred("400")),
        (410, {}, Gone("410")),
        (429, {"retry-after": "120"}, Deferred("429", after=120.0, throttled=True)),
        (503, {"retry-after": "99999999"}, Deferred("503", after=86400.0, throttled=True)),
        (503, {"retry-after": "soon"}, Deferred("503", throttled=True)),
        (500, {"retry-after": "-1"}, Deferred("500")),
        (429, {"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, Deferred("429", throttled=True)),
    ],
)
def test_answers(
    channel: WebhookChannel, server: Receiver, status: int, headers: dict[str, str], expected: Answer
) -> None:
    """As Standard Webhooks says; a redirect is a failure and is not followed."""
    server.answer = lambda _: (status, headers)
    assert channel.send(make_dispatch("k1")) == expected
    assert len(server.requests) == 1


def test_a_date_to_retry_after(channel: WebhookChannel, server: Receiver) -> None:
    """`Retry-After` may be a date."""
    server.answer = lambda _: (429, {"retry-after": formatdate(time.time() + 600, usegmt=True)})
    answer = channel.send(make_dispatch("k1"))
    assert isinstance(answer, Deferred)
    assert answer.after is not None
    assert 500 < answer.after <= 600


def test_no_answer(channel: WebhookChannel, server: Receiver) -> None:
    """Whoever hangs up may have it: the notice waits, and its id stays the same."""
    server.answer = lambda _: None
    assert isinstance(channel.send(make_dispatch("k1")), Deferred)


def test_a_body_that_never_ends(tmp_path: Path, server: Receiver) -> None:
    """An answer that says it is empty and goes on in chunks all the same is not read."""
    server.answer = lambda _: (200, {"transfer-encoding": "chunked"})
    channel = open_webhook(at(server, "&private=allow&timeout=0.5"), tmp_path)
    assert channel.send(make_dispatch("k1")) == Accepted()
    channel.close()


def test_nobody_listens(tmp_path: Path) -> None:
    """A gateway that can't be reached is the channel's failure."""
    with pytest.raises(ChannelError, match="can't be reached"):
        open_webhook(f"webhook:http://127.0.0.1:{free_port()}/#secret=env:S&private=allow", tmp_path).send(
            make_dispatch("k1")
        )


def test_too_long_for_a_webhook(channel: WebhookChannel, server: Receiver) -> None:
    """The standard's 20 kB."""
    assert isinstance(channel.send(make_dispatch("k1", "x" * 30_000)), Rejected)
    assert server.requests == []


# --- where it goes ---


def test_tls_by_name_to_a_pinned_address(tmp_path: Path) -> None:
    """The certificate is checked for the name, although the connection goes to the address."""
    good = make_certificate(tmp_path, "localhost")
    with receiver(good.context) as server:
        options = f"#secret=env:S&private=allow&ca={good.ca}"
        channel = open_webhook(f"webhook:https://localhost:{server.port}/{options}", tmp_path)
        assert channel.send(make_dispatch("k1")) == Accepted()
        channel.close()
        other = open_webhook(f"webhook:https://127.0.0.1:{server.port}/{options}", tmp_path)
        with pytest.raises(ChannelError, match="not to be trusted"):
            other.send(make_dispatch("k1"))
        other.close()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",  # noqa: S104
     "[::1]", "[fe80::1]", "[fc00::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "2130706433",
     "[::7f00:1]", "[::ffff:0:7f00:1]", "[64:ff9b:1::7f00:1]", "[fec0::1]",
     "localhost"],
)  # fmt: skip
def test_private_addresses_are_refused(tmp_path: Path, host: str) -> None:
    """However they are written, or wrapped into IPv6."""
    channel = open_webhook(f"webhook:https://{host}/#secret=env:S", tmp_path)
    with pytest.raises(ChannelError, match=r"private address|no address"):
        channel.send(make_dispatch("k1"))
    channel.close()


def test_public_addresses() -> None:
    """What is not private passes."""
    assert public_address.is_public(ipaddress.ip_address("1.1.1.1"))
    assert public_address.is_public(ipaddress.ip_address("2606:4700::1111"))


def test_a_name_is_looked_up_once(tmp_path: Path, server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """One private address among several is enough to refuse; what was looked at is what is connected to."""
    answers = [["1.1.1.1", "127.0.0.1"], ["127.0.0.1"], ["10.0.0.1"]]

    def look_up(_: str, port: int, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(ChannelError, match="private address"):
        public_address.resolve_host("gateway.example", 443, allow_private=False)
    monkeypatch.undo()
    lookups: list[str] = []

    def first_only(host: str, *_: int, **__: bool) -> Any:
        lookups.append(host)
        return ipaddress.ip_address("127.0.0.1")

    monkeypatch.setattr("migrator.channels.webhook.resolve_host", first_only)
    address = f"webhook:http://gateway.example:{server.port}/#secret=env:S&private=allow"
    channel = open_webhook(address, tmp_path)
    assert [channel.send(make_dispatch("k1")), channel.send(make_dispatch("k2"))] == [Accepted()] * 2
    channel.close()
    assert lookups == ["gateway.example"]
    assert server.requests[0].headers["host"] == f"gateway.example:{server.port}"


@pytest.mark.parametrize(
    "address",
    ["webhook:", "webhook:ftp://h/#secret=env:S", "webhook:https://u:p@h/#secret=env:S", "webhook:https://h/",
     "webhook:http://h/#secret=env:S", "webhook:https://h/#secret=env:S&private=yes", "webhook:https://h/#secret=env:S&x=1",
     "webhook:https://h/#secret=env:S&timeout=soon", "webhook:https://h/#secret=env:S&timeout=0",
     "webhook:https://h/#secret=env:S&ca=missing.pem", "webhook:https:///#secret=env:S"],
)  # fmt: skip
def test_addresses_that_make_no_sense(tmp_path: Path, address: str) -> None:
    """Refused when it is opened."""
    with pytest.raises(ConfigError, match=r"notify\.channel"):
        open_webhook(address, tmp_path)


@pytest.mark.parametrize(
    "secret",
    ["", "password", "whsec_", "whsec_AAAA", "whsec_!!!", "whsk_AAAA", "whpk_" + WHSK[5:], "wh\u00e9", WHSEC + " x",
     "whsk_" + base64.b64encode(bytes(64)).decode()],
)  # fmt: skip
def test_secrets_that_are_none(tmp_path: Path, secret: str) -> None:
    """Keys of other kinds and lengths, halves of different keys: refused, never shown."""
    with pytest.raises(ConfigError) as caught:
        open_webhook("webhook:https://h/#secret=env:S", tmp_path, secret)
    assert len(secret) < 5 or secret not in caught.value.message
