"""Notices to a mail server: a real one, and ones that behave badly."""

from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest

from migrator.channels import smtp
from migrator.channels.interface import Accepted, ChannelAddress, Deferred, NoticeChannel, Rejected
from migrator.channels.smtp import SmtpChannel
from migrator.core.errors import ChannelError, ConfigError
from migrator.core.secret import Secret
from tests.channels.conformance import ChannelConformance, make_dispatch
from tests.support.certificates import Certificate, make_certificate
from tests.support.mail_server import HOST, Mailbox, free_port, mail_server, rude_server

GREETING = b"220 hello\n250 hello\n250 OK\n250 OK\n354 go on\n"


def open_smtp(address: str, folder: Path, password: bytes = b"secret") -> SmtpChannel:
    """The channel of an address."""
    return SmtpChannel.open(ChannelAddress.parse(address), directory=folder, resolve=lambda _: Secret(password))


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """A server without TLS."""
    with mail_server() as running:
        yield running


@pytest.fixture
def channel(mailbox: Mailbox, tmp_path: Path) -> Iterator[SmtpChannel]:
    """The channel to it."""
    opened = open_smtp(f"smtp://{HOST}:{mailbox.port}#tls=none", tmp_path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for this machine."""
    return make_certificate(tmp_path_factory.mktemp("certificate"), "localhost", HOST)


class TestSmtp(ChannelConformance):
    """The port's promises."""

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with mail_server() as self.mailbox:
            yield

    def opened(self, folder: Path) -> NoticeChannel:
        return open_smtp(f"smtp://{HOST}:{self.mailbox.port}#tls=none", folder)

    def arrived(self, folder: Path) -> list[EmailMessage]:
        return self.mailbox.messages


def test_one_connection_for_many(channel: SmtpChannel, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is kept, for a bounded number of notices."""
    monkeypatch.setattr(smtp, "NOTICES_PER_CONNECTION", 4)
    for n in range(6):
        assert channel.send(make_dispatch(f"k{n}")) == Accepted()
    assert (len(mailbox.taken), len(mailbox.peers)) == (6, 2)


def test_bounces_go_to_the_return_path(channel: SmtpChannel, mailbox: Mailbox) -> None:
    """The envelope's sender is the return path of this notice; without one the sender."""
    channel.send(replace(make_dispatch("k1"), return_path="bounces+k1@example.org"))
    channel.send(make_dispatch("k2"))
    assert [sender for sender, _, _ in mailbox.taken] == ["bounces+k1@example.org", "no-reply@example.org"]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("550 5.1.1 <ana@example.org>: no such user", Rejected("550 5.1.1")),
        ("552 mailbox full", Rejected("552")),
        ("451 4.7.1 Greylisted, come back later", Deferred("451 4.7.1")),
        ("421 4.3.2 closing down", Deferred("421 4.3.2")),
    ],
)
@pytest.mark.parametrize("place", ["on_recipient", "on_text"])
def test_refusals(
    channel: SmtpChannel, mailbox: Mailbox, place: str, reply: str, expected: Rejected | Deferred
) -> None:
    """5yz is for good, 4yz for now, wherever it is said; the answer's words, which name the address, are not kept."""
    setattr(mailbox, place, lambda _: reply)
    assert channel.send(make_dispatch("k1")) == expected
    setattr(mailbox, place, lambda _: None)
    assert channel.send(make_dispatch("k2")) == Accepted()
    assert len(mailbox.taken) == 1


def test_a_sender_that_is_refused_is_the_channels_failure(channel: SmtpChannel, mailbox: Mailbox) -> None:
    """No notice is marked as refused because the relay does not know us."""
    mailbox.on_sender = lambda _: "553 5.7.1 not yours"
    with pytest.raises(ChannelError, match=r"553 5\.7\.1"):
        channel.send(make_dispatch("k1"))


def test_a_server_that_went_away_in_between(tmp_path: Path) -> None:
    """A kept connection that was closed by the server is opened anew, and the notice goes out once."""
    with rude_server(b"220 hello\n250 hello\n", GREETING + b"250 taken\n") as port:
        lost = open_smtp(f"smtp://{HOST}:{port}#tls=none", tmp_path)
        assert lost.send(make_dispatch("k1")) == Accepted()
        lost.close()


@pytest.mark.parametrize("sessions", [(b"220 hello\n250 hello\n",) * 2, (GREETING,)])
def test_a_connection_that_breaks(tmp_path: Path, sessions: tuple[bytes, ...]) -> None:
    """Twice before the text, or once within it: the notice waits, and nobody tries at once again."""
    with rude_server(*sessions) as port:
        channel = open_smtp(f"smtp://{HOST}:{port}#tls=none", tmp_path)
        assert channel.send(make_dispatch("k1")) == Deferred("the connection was lost")


def test_an_answer_that_does_not_come(tmp_path: Path) -> None:
    """A server that is slower than the timeout may have the notice: it waits, and its id stays the same."""
    with rude_server(b"220 hello\n250 hello\n250 OK\n250 OK\n354 go on\n250-wait\n") as port:
        channel = open_smtp(f"smtp://{HOST}:{port}#tls=none&timeout=0.2", tmp_path)
        assert channel.send(make_dispatch("k1")) == Deferred("the connection was lost")


def test_nobody_listens(tmp_path: Path) -> None:
    """A server that can't be reached is the channel's failure."""
    with pytest.raises(ChannelError, match="can't be used"):
        open_smtp(f"smtp://{HOST}:{free_port()}#tls=none", tmp_path).send(make_dispatch("k1"))


# --- TLS and passwords ---


@pytest.mark.parametrize("kind", ["smtp", "smtps"])
def test_over_tls_with_a_password(tmp_path: Path, certificate: Certificate, kind: str) -> None:
    """STARTTLS or TLS from the start, the certificate checked, then the password."""
    server = {"starttls" if kind == "smtp" else "implicit": certificate.context}
    with mail_server(**server, password=b"secret") as mailbox:
        address = f"{kind}://ana%40x@localhost:{mailbox.port}#password=env:P&ca={certificate.ca}"
        channel = open_smtp(address, tmp_path)
        assert channel.send(make_dispatch("k1")) == Accepted()
        channel.close()
        assert mailbox.logins == [b"ana@x"]
        with pytest.raises(ChannelError, match="user or the password"):
            open_smtp(address, tmp_path, b"wrong").send(make_dispatch("k1"))
        with pytest.raises(ChannelError, match="not to be trusted"):
            open_smtp(f"{kind}://localhost:{mailbox.port}", tmp_path).send(make_dispatch("k1"))


@pytest.mark.parametrize("password", ["pässword".encode(), b"\xff\xfe"])
def test_a_password_that_can_not_be_sent(tmp_path: Path, password: bytes) -> None:
    """Said before anything is sent, and without a word of it."""
    with pytest.raises(ConfigError, match="ASCII") as refused:
        open_smtp("smtps://ana@localhost#password=env:P", tmp_path, password)
    assert "word" not in str(refused.value).replace("password", "")


def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    """Trusted, but not this server's: refused."""
    other = make_certificate(tmp_path, "mail.example.org")
    with mail_server(implicit=other.context) as mailbox:
        channel = open_smtp(f"smtps://localhost:{mailbox.port}#ca={other.ca}", tmp_path)
        with pytest.raises(ChannelError, match="not to be trusted"):
            channel.send(make_dispatch("k1"))


def test_no_fall_back_to_plain_text(mailbox: Mailbox, tmp_path: Path) -> None:
    """A server without STARTTLS gets nothing, unless the address says so."""
    with pytest.raises(ChannelError, match="TLS"):
        open_smtp(f"smtp://{HOST}:{mailbox.port}", tmp_path).send(make_dispatch("k1"))
    assert mailbox.taken == []


@pytest.mark.parametrize(
    "address",
    ["smtp:", "smtp://", "smtp://h:x", "smtp://h/path", "smtp://u:p@h", "smtp://u@h", "smtp://h#password=env:P",
     "smtp://u@h#password=env:P&tls=none", "smtp://h#tls=maybe", "smtps://h#tls=none", "smtp://h#speed=9",
     "smtp://h#timeout=0", "smtp://h#timeout=x", "smtp://h#tls=none&tls=none", "smtp://h#name=A b"],
)  # fmt: skip
def test_addresses_that_make_no_sense(tmp_path: Path, address: str) -> None:
    """Refused when it is opened, before anything is sent."""
    with pytest.raises(ConfigError, match=r"notify\.channel"):
        open_smtp(address, tmp_path)
