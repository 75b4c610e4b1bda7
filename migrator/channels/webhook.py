"""Notices to a gateway over HTTPS: `webhook:https://host/path#secret=env:NAME`, as Standard Webhooks 1.0.0 says.

1. Signed (`webhook_signing`), with the notice's key as `webhook-id`: the same at each attempt, so a receiver knows a
   repeat. The body is below 20 kB: ids, subject and plain text, never HTML.
2. 2xx is accepted. 410 means never again. 429, 502, 503 and 504 ask for patience with everything. Anything else,
   redirects too, is a failure of this attempt. `Retry-After` is obeyed.
3. HTTPS with checked certificates, to a public address that was looked at before (`public_address`), and no redirect
   is followed. `#private=allow` lets it into one's own network, and there to plain HTTP as well.
4. Of the answer only the head is read; an answer without a body leaves the connection for the next notice.
"""

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import urlsplit

import httpx

from migrator.channels.interface import Accepted, Answer, ChannelAddress, Deferred, Dispatch, Gone, Rejected, Resolve
from migrator.channels.public_address import resolve_host
from migrator.channels.webhook_signing import Sign, signature, signers
from migrator.core.encoding import canonical_json
from migrator.core.errors import ChannelError, ConfigError

TIMEOUT_SECONDS: Final = 20.0
MAX_BODY_BYTES: Final = 20_000
LONGEST_WAIT: Final = 24 * 3600.0
"""Most that `Retry-After` can ask for."""
_OPTIONS: Final = frozenset({"secret", "private", "ca", "timeout"})
_THROTTLING: Final = frozenset({429, 502, 503, 504})
_PORTS: Final = {"https": 443, "http": 80}


class WebhookChannel:
    """A gateway that shows notices in the app or pushes them; it knows accounts by their id."""

    by_mail: ClassVar[bool] = False
    remembers: ClassVar[bool] = False

    def __init__(
        self, url: httpx.URL, sign: list[Sign], *, allow_private: bool, context: ssl.SSLContext, timeout: float,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._url, self._sign, self._allow_private = url, sign, allow_private
        self._client = httpx.Client(verify=context, timeout=timeout, follow_redirects=False, trust_env=False)
        self._clock = clock
        self._pinned: httpx.URL | None = None

    @classmethod
    def open(cls, address: ChannelAddress, *, directory: Path, resolve: Resolve) -> "WebhookChannel":
        """Read the address and the secret; nothing is connected yet. Raises `ConfigError`."""
        address.refuse_options(_OPTIONS)
        options = address.options
        if options.get("private", "allow") != "allow":
            raise ConfigError("notify.channel: the option private is `allow`, or left out")
        private = "private" in options
        url = _url(address.rest, plain=private)
        if "secret" not in options:
            raise ConfigError(
                "notify.channel: a webhook signs with a secret", hint="webhook:https://host/path#secret=env:NAME"
            )
        ca = options.get("ca")
        try:
            context = ssl.create_default_context(cafile=None if ca is None else str(directory / ca))
        except (OSError, ssl.SSLError):
            raise ConfigError(f"notify.channel: {ca} holds no certificate authority") from None
        return cls(
            url, signers(resolve(options["secret"])), allow_private=private, context=context,
            timeout=address.timeout(TIMEOUT_SECONDS),
        )  # fmt: skip

    def send(self, dispatch: Dispatch) -> Answer:
        """Make one attempt."""
        now = int(self._clock())
        body = payload(dispatch, datetime.fromtimestamp(now, UTC))
        if len(body) > MAX_BODY_BYTES:
            return Rejected("the notice is too long for a webhook")
        headers = {
            "content-type": "application/json",
            "host": self._url.netloc.decode("ascii"),
            "user-agent": "migrator",
            "webhook-id": dispatch.idempotency_key,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._sign, message_id=dispatch.idempotency_key, timestamp=now, body=body),
        }
        try:
            request = self._client.build_request("POST", self._target(), content=body, headers=headers)
            request.extensions["sni_hostname"] = self._url.host
            response = self._client.send(request, stream=True)
            if response.status_code == httpx.codes.NO_CONTENT or _is_empty(response):
                response.read()  # nothing: but only a connection that was read to the end is used again
            response.close()
        except httpx.ConnectError as error:
            raise ChannelError(
                f"the webhook's host {self._url.host} can't be reached or is not to be trusted",
                hint="see that it answers, and that its certificate is valid for its name",
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Deferred(type(error).__name__)
        return _answer(response, now)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _target(self) -> httpx.URL:
        """The URL with the address in place of the name; kept, so that connections are used again."""
        if self._pinned is None:
            port = self._url.port or _PORTS[self._url.scheme]
            address = resolve_host(self._url.host, port, allow_private=self._allow_private)
            self._pinned = self._url.copy_with(host=str(address))
        return self._pinned


def payload(dispatch: Dispatch, now: datetime) -> bytes:
    """The body: `type`, `timestamp` and `data` as Standard Webhooks has them."""
    message = dispatch.message
    text = message.get_body(("plain",))
    data = {
        **dispatch.facts,
        "account_id": dispatch.account_id,
        "locale": str(message["Content-Language"] or ""),
        "subject": str(message["Subject"]),
        "text": "" if text is None else text.get_content(),
    }
    return canonical_json(
        {"type": "migrator.notice", "timestamp": now.isoformat().replace("+00:00", "Z"), "data": data}
    )


def _is_empty(response: httpx.Response) -> bool:
    """Whether it says so; where it is chunked as well, that is what counts (RFC 9112, section 6.3), without an end."""
    return response.headers.get("content-length") == "0" and "transfer-encoding" not in response.headers


def _answer(response: httpx.Response, now: int) -> Answer:
    status = response.status_code
    if response.is_success:
        return Accepted()
    if status == httpx.codes.GONE:
        return Gone(str(status))
    after = _retry_after(response.headers.get("retry-after", ""), now)
    return Deferred(str(status), after=after, throttled=status in _THROTTLING)


def _retry_after(text: str, now: int) -> float | None:
    """Seconds to wait by a `Retry-After` (RFC 9110, section 10.2.3); None for none, or one that makes no sense."""
    if text.isascii() and text.isdecimal() and len(text) <= 9:
        return min(float(text), LONGEST_WAIT)
    try:
        wait = parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return None
    return min(wait, LONGEST_WAIT) if wait > 0 else None


def _url(text: str, *, plain: bool) -> httpx.URL:
    try:
        url = httpx.URL(text)
        parts = urlsplit(text)
    except (httpx.InvalidURL, ValueError):
        url, parts = httpx.URL(""), urlsplit("")
    if not url.host or url.scheme not in _PORTS or parts.username is not None or parts.password is not None:
        raise ConfigError(
            "notify.channel: a webhook has an address, without a password in it",
            hint="webhook:https://host/path#secret=env:NAME",
        )
    if url.scheme != "https" and not plain:
        raise ConfigError(
            "notify.channel: a webhook goes over https", hint="plain http is for one's own network: #private=allow"
        )
    return url
