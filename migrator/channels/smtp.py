"""Notices to a mail server: `smtp://[user@]host[:port]` and `smtps://…`, with Python's own `smtplib` (RFC 5321).

1. `smtp:` upgrades to TLS before anything else is said (STARTTLS, RFC 3207) and refuses a server that does not offer
   it; `smtps:` begins with TLS (RFC 8314). Certificates and names are checked. `#tls=none` is for a relay on this very
   machine or network that an operator trusts; a password is never sent without TLS.
2. One connection is kept over many notices. One that the server closed is opened anew, once for a notice.
3. 5yz is for good, 4yz for now (greylisting). What is wrong with the sender or the session is the channel's failure,
   not the notice's.
4. A connection that breaks within the text, or an answer to it that does not come, leaves open whether the server has
   it. The notice waits, and is sent again under the same Message-ID: a reader's mail program shows one.
"""

import re
import smtplib
import ssl
from contextlib import suppress
from email import policy
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import SplitResult, unquote, urlsplit

from migrator.channels.interface import Accepted, Answer, ChannelAddress, Deferred, Dispatch, Rejected, Resolve
from migrator.core.errors import ChannelError, ConfigError
from migrator.core.secret import Secret

TIMEOUT_SECONDS: Final = 60.0
"""For each answer of the server; RFC 5321 would allow minutes, a batch of notices does not."""
NOTICES_PER_CONNECTION: Final = 500
_PORTS: Final = {"smtp": 587, "smtps": 465}
_POLICY: Final = policy.SMTP.clone(cte_type="7bit")
_OPTIONS: Final = frozenset({"password", "tls", "ca", "timeout"})
_ENHANCED: Final = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}\b")
_LOST: Final = (smtplib.SMTPServerDisconnected, OSError)


class SmtpChannel:
    """A mail server that takes notices for delivery."""

    by_mail: ClassVar[bool] = True
    remembers: ClassVar[bool] = False

    def __init__(
        self, host: str, port: int, *, mode: str, user: str | None, password: Secret | None, ca: Path | None,
        timeout: float,
    ) -> None:  # fmt: skip
        self._host, self._port, self._mode = host, port, mode
        self._user, self._password, self._ca, self._timeout = user, password, ca, timeout
        self._session: smtplib.SMTP | None = None
        self._sent = 0
        self._in_text = False

    @classmethod
    def open(cls, address: ChannelAddress, *, directory: Path, resolve: Resolve) -> "SmtpChannel":
        """Read the address; nothing is connected yet. Raises `ConfigError`."""
        address.refuse_options(_OPTIONS)
        parts = _split(address)
        mode = "implicit" if address.kind == "smtps" else address.options.get("tls", "starttls")
        if mode not in ("implicit", "starttls", "none") or (address.kind == "smtps" and "tls" in address.options):
            raise ConfigError("notify.channel: the option tls is starttls or none, and smtps: has none")
        user = unquote(parts.username) if parts.username else None
        reference = address.options.get("password")
        if (user is None) != (reference is None):
            raise ConfigError(
                "notify.channel: a mail server that asks who we are needs a user and a password",
                hint="smtp://user@host#password=env:SMTP_PASSWORD",
            )
        if reference is not None and mode == "none":
            raise ConfigError("notify.channel: a password is never sent without TLS", hint="leave tls=none out")
        ca = address.options.get("ca")
        return cls(
            parts.hostname or "",
            parts.port or _PORTS[address.kind],
            mode=mode,
            user=user,
            password=None if reference is None else _sendable(resolve(reference)),
            ca=None if ca is None else directory / ca,
            timeout=address.timeout(TIMEOUT_SECONDS),
        )

    def send(self, dispatch: Dispatch) -> Answer:
        """Hand one notice over; a connection that was lost before its text is opened anew once."""
        sender = dispatch.return_path or dispatch.message["From"].addresses[0].addr_spec
        to = dispatch.message["To"].addresses[0].addr_spec
        data = dispatch.message.as_bytes(policy=_POLICY)
        for _ in range(2):
            session = self._connected()
            self._in_text = False
            try:
                return self._hand_over(session, sender, to, data)
            except _LOST:
                self._drop()
                if self._in_text:
                    break
        return Deferred("the connection was lost")

    def close(self) -> None:
        """Say goodbye, if anybody still listens."""
        if self._session is not None:
            with suppress(smtplib.SMTPException, OSError):
                self._session.quit()
        self._drop()

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _hand_over(self, session: smtplib.SMTP, sender: str, to: str, data: bytes) -> Answer:
        """One mail transaction (RFC 5321, section 3.3)."""
        session.ehlo_or_helo_if_needed()
        code, text = session.mail(sender, [f"size={len(data)}"] if session.has_extn("size") else [])
        if code >= 500:
            self._drop()
            raise ChannelError(
                f"{self._host} does not take notices from this sender ({_status(code, text)})",
                hint="check notify.sender, notify.return_path, and what the server lets this user send",
            )
        if code == 250:
            code, text = session.rcpt(to)
            if code in (250, 251):
                self._in_text = True
                code, text = _data(session, data)
        if code == 250:
            self._sent += 1
            if self._sent >= NOTICES_PER_CONNECTION:
                self.close()
            return Accepted()
        self._reset(session, code)
        detail = _status(code, text)
        return Rejected(detail) if code >= 500 else Deferred(detail)

    def _reset(self, session: smtplib.SMTP, code: int) -> None:
        """Leave the transaction; a server that said 421 closes, and one that does not answer is left alone."""
        try:
            if code == 421 or session.rset()[0] != 250:
                self._drop()
        except _LOST:
            self._drop()

    def _connected(self) -> smtplib.SMTP:
        if self._session is None:
            try:
                self._session = self._connect()
            except smtplib.SMTPAuthenticationError:
                raise ChannelError(f"{self._host} refuses the user or the password", hint="check both") from None
            except ssl.SSLCertVerificationError as error:
                raise ChannelError(
                    f"the certificate of {self._host} is not to be trusted: {error.verify_message}",
                    hint="the option ca=FILE names a certificate authority of your own",
                ) from None
            except smtplib.SMTPNotSupportedError:
                raise ChannelError(
                    f"{self._host} does not offer what was asked for: TLS, or a way to log in",
                    hint="use smtps://, or tls=none for a relay that needs no password",
                ) from None
            except (smtplib.SMTPException, OSError) as error:
                raise ChannelError(
                    f"the mail server {self._host}:{self._port} can't be used ({type(error).__name__})",
                    hint="see that it can be reached and answers in time",
                ) from None
            self._sent = 0
        return self._session

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context(cafile=None if self._ca is None else str(self._ca))
        if self._mode == "implicit":
            session: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout, context=context)
        else:
            session = smtplib.SMTP(self._host, self._port, timeout=self._timeout)
        try:
            if self._mode == "starttls":
                session.starttls(context=context)
            if self._user is not None and self._password is not None:
                session.login(self._user, self._password.reveal().decode())
        except BaseException:
            session.close()
            raise
        return session


def _sendable(password: Secret) -> Secret:
    """A password that `smtplib` can send; what its own failure says would have some of the password in it."""
    if not password.reveal().isascii():
        raise ConfigError(
            "notify.channel: the password of a mail server is of ASCII characters", hint="set another one"
        )
    return password


def _split(address: ChannelAddress) -> SplitResult:
    try:
        parts = urlsplit(f"{address.kind}:{address.rest}")
        parts.port  # noqa: B018 - raises where it is none
    except ValueError:
        parts = urlsplit("")
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.password is not None:
        raise ConfigError(
            f"notify.channel: {address.kind} takes a host, and a password by reference only",
            hint=f"for example {address.kind}://user@mail.example.org#password=env:SMTP_PASSWORD",
        )
    return parts


def _data(session: smtplib.SMTP, data: bytes) -> tuple[int, bytes]:
    """`DATA` and the text; a refusal of the command itself is an answer like any other."""
    try:
        return session.data(data)
    except smtplib.SMTPDataError as error:
        text = error.smtp_error
        return error.smtp_code, text if isinstance(text, bytes) else text.encode("utf-8", "replace")


def _status(code: int, text: bytes) -> str:
    """Reply code and enhanced status (RFC 3463); never the server's words, which repeat addresses."""
    enhanced = _ENHANCED.search(text)
    return f"{code} {enhanced[0].decode()}" if enhanced else str(code)
