"""A mail server on this machine (aiosmtpd) that keeps what it takes and answers as a test says."""

import email
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from threading import Thread

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

HOST = "127.0.0.1"
Script = Callable[[str], str | None]
"""What to answer to a recipient or a text of that recipient; None: take it."""


def _take(_: str) -> str | None:
    return None


@dataclass(slots=True)
class Mailbox:
    """What a server was sent: (envelope sender, recipient, message), and which connections brought it."""

    port: int = 0
    taken: list[tuple[str, str, EmailMessage]] = field(default_factory=list)
    peers: set[object] = field(default_factory=set)
    logins: list[bytes] = field(default_factory=list)
    on_sender: Script = _take
    on_recipient: Script = _take
    on_text: Script = _take
    on_taken: Callable[[int], None] = lambda _: None

    @property
    def messages(self) -> list[EmailMessage]:
        """The messages alone."""
        return [message for _, _, message in self.taken]


class _Handler:
    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.mailbox.peers.add(session.peer)
        answer = self.mailbox.on_sender(address)
        if answer is not None:
            return answer
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.mailbox.on_recipient(address)
        if answer is not None:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        (recipient,) = envelope.rcpt_tos
        answer = self.mailbox.on_text(recipient)
        if answer is not None:
            return answer
        content = envelope.content
        assert isinstance(content, bytes)
        message = email.message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.mailbox.taken.append((envelope.mail_from or "", recipient, message))
        self.mailbox.on_taken(len(self.mailbox.taken))
        return "250 OK"


def free_port() -> int:
    """A port of this machine that nobody listens on at this moment."""
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def mail_server(
    *, starttls: ssl.SSLContext | None = None, implicit: ssl.SSLContext | None = None, password: bytes | None = None
) -> Iterator[Mailbox]:
    """The server, running."""
    mailbox = Mailbox(port=free_port())

    def authenticate(*given: object) -> AuthResult:
        data = given[-1]
        assert isinstance(data, LoginPassword)
        mailbox.logins.append(data.login)
        return AuthResult(success=data.password == password, handled=False)

    controller = Controller(
        _Handler(mailbox), hostname=HOST, port=mailbox.port, ssl_context=implicit, tls_context=starttls,
        require_starttls=starttls is not None, auth_required=password is not None and implicit is None,
        auth_require_tls=implicit is None, authenticator=authenticate,
    )  # fmt: skip
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


@contextmanager
def rude_server(*sessions: bytes) -> Iterator[int]:
    """A server whose n-th session answers line by line and then hangs up; its port.

    A session is what it says, a line for each of: greeting, EHLO, MAIL, RCPT, DATA, text.
    """
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            for script in sessions:
                connection, _ = listener.accept()
                with connection, connection.makefile("rwb") as stream:
                    for answer in script.splitlines():
                        stream.write(answer + b"\r\n")
                        stream.flush()
                        if not stream.readline():
                            break

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(timeout=10)
