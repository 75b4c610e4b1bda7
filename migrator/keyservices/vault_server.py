"""One Vault or OpenBao server as the key service talks to it: address, token, errors.

Secrets: the token is fetched by reference, kept in `Secret`, and leaves only as a header. The HTTP library's exceptions
carry the request with its headers; so every error of ours is raised outside the handler that caught one of theirs, and
has neither cause nor context. Redirects are not followed: the library would take the token along to another host.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import hvac
import requests
from hvac.adapters import RawAdapter

from migrator.core.errors import ConfigError, KeyDelay, KeyProblem, KeyServiceError, KeyServiceUnavailableError
from migrator.core.secret import Secret
from migrator.secrets import is_reference, resolve

TIMEOUTS: Final = (5.0, 30.0)
"""Seconds to connect, and to wait for an answer."""
DEFAULT_TOKEN: Final = "env:VAULT_TOKEN"  # noqa: S105 - a reference
_TOKEN: Final = re.compile(rb"[\x21-\x7e]+\Z")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}\Z", re.ASCII)
_HOST: Final = re.compile(r"([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?\Z|[0-9a-f:.]*:[0-9a-f:.]*\Z")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_OPTIONS: Final = frozenset({"token", "namespace", "ca", "version"})
_EXAMPLE: Final = "for example vault:https://bao.example.org:8200/transit/migrator?token=file:/run/secrets/bao-token"


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultAddress:
    """`<address>/<mount>/<key>` and options: where a key lies, and how this process comes to it."""

    server: str
    mount: str
    key: str
    namespace: str | None = None
    token: str = DEFAULT_TOKEN
    ca: str | None = None
    version: int | None = None

    @property
    def name(self) -> str:
        """The key in full, without what concerns this process alone."""
        suffix = f"?namespace={self.namespace}" if self.namespace else ""
        return f"vault:{self.server}/{self.mount}/{self.key}{suffix}"

    @classmethod
    def parse(cls, text: str) -> "VaultAddress":
        """Read what follows `vault:`; `KeyServiceError` says what is wrong and never repeats an option's value."""
        address, _, query = text.partition("?")
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        mount, _, key = parts.path.strip("/").rpartition("/")
        names = f"{mount}/{key}".split("/")
        host = host if parts.scheme in ("http", "https") and _HOST.match(host or "") else None
        if host is None or not mount or not all(map(_is_plain, names)):
            raise _wrong("it does not name a server, a mount and a key")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise _wrong("it has a password or a fragment in it")
        if parts.scheme == "http" and host not in _LOOPBACK:
            raise _wrong("without TLS only an agent on this machine can be talked to: the token would be seen")
        shown = f"[{host}]" if ":" in host else host
        server = f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")
        return cls(server=server, mount=mount, key=key, **_options(query))


class VaultServer:
    """Sends requests for one key. Raises `KeyServiceError` and `KeyServiceUnavailableError`, nothing else."""

    def __init__(
        self, address: VaultAddress, directory: Path, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = address
        self._directory = directory
        self._monotonic = monotonic
        self._renew_at: float | None = None
        self._token = self._fetch_token()
        ca = None if address.ca is None else directory / address.ca
        if ca is not None and not ca.is_file():
            raise KeyServiceError(f"{address.name}: there is no CA file {ca}", hint="check ca= in the address")
        self._adapter: Any = hvac.Client(
            url=address.server,
            token="",
            verify=True if ca is None else str(ca),
            timeout=TIMEOUTS,
            allow_redirects=False,
            adapter=RawAdapter,
            namespace=address.namespace,
        ).adapter
        if address.server.startswith("http:"):
            self._adapter.session.trust_env = False  # a proxy of the environment's would see the token
        self._plan_renewal(self._send("GET", "auth/token/lookup-self").json.get("data"))

    def get(self, path: str) -> dict[str, Any]:
        """The `data` of what lies at a path below the mount."""
        return self._asked("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The `data` of an answer; also of a refusal (4xx) item by item. A failure (5xx) refuses no item."""
        return self._asked("POST", path, body)

    def _asked(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        path = f"{self._address.mount}/{path}"
        self._renew()
        answer = self._send(method, path, body)
        if answer.status == 403 and self._token_was_replaced():
            answer = self._send(method, path, body)
        data = answer.json.get("data")
        if isinstance(data, dict) and (answer.ok or (answer.status < 500 and "batch_results" in data)):
            return data
        raise self._refused(method, path, answer)

    # --- the token ---

    def _fetch_token(self) -> Secret:
        problem = ""
        try:
            token = resolve(self._address.token, self._directory)
            if _TOKEN.match(token.reveal()):
                return token
            problem = "it has characters that no token has"
        except ConfigError as error:
            problem = error.message
        raise KeyServiceError(
            f"{self._address.name}: there is no token: {problem}",
            problem=KeyProblem.DENIED,
            hint=f"set {DEFAULT_TOKEN}, or name another reference with ?token=file:PATH",
        )

    def _token_was_replaced(self) -> bool:
        """Whether the reference gives another token by now, as an agent that renews it in a file makes it do."""
        fresh = self._fetch_token()
        if fresh.reveal() == self._token.reveal():
            return False
        self._token = fresh
        return True

    def _plan_renewal(self, facts: object) -> None:
        """Renew at half of the time that is left; a token that can't be looked up or renewed is used as it is."""
        self._renew_at = None
        if isinstance(facts, dict) and facts.get("renewable") is True:
            left = facts.get("ttl", facts.get("lease_duration"))
            if isinstance(left, int) and left > 0:
                self._renew_at = self._monotonic() + left / 2

    def _renew(self) -> None:
        if self._renew_at is not None and self._monotonic() >= self._renew_at:
            self._plan_renewal(self._send("POST", "auth/token/renew-self").json.get("auth"))

    # --- requests ---

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> "_Answer":
        failure: KeyServiceError | KeyServiceUnavailableError
        try:
            response = self._adapter.request(
                method,
                f"/v1/{path}",
                headers={"X-Vault-Token": self._token.reveal().decode("ascii")},
                raise_exception=False,
                json=body,
            )
            return _Answer.of(response)
        except requests.exceptions.SSLError as error:
            failure = self._without_tls(trusted="CERTIFICATE_VERIFY_FAILED" not in str(error))
        except requests.exceptions.Timeout:
            failure = self._unavailable(KeyDelay.SLOW, "did not answer in time")
        except requests.exceptions.RequestException:
            failure = self._unavailable(KeyDelay.DOWN, "can't be reached")
        raise failure

    def _refused(self, method: str, path: str, answer: "_Answer") -> KeyServiceError | KeyServiceUnavailableError:
        name, status, said = self._address.name, answer.status, answer.said
        if status == 429:
            return self._unavailable(KeyDelay.THROTTLED, "has a quota that is used up", answer.retry_after)
        if status == 503 and "sealed" in said:
            return self._unavailable(KeyDelay.SEALED, "is sealed")
        if status in (301, 302, 307, 308, 472, 473):
            return self._unavailable(KeyDelay.DOWN, "is a standby that forwards nothing: name the active server")
        if status == 403:
            return self._denied(method, path)
        if status == 404 or "encryption key not found" in said or "signing key not found" in said:
            return KeyServiceError(
                f"{name}: there is no such key, mount or namespace",
                problem=KeyProblem.UNKNOWN_KEY,
                hint="those who run the server make the key; migrator never does",
            )
        if "soft-deleted" in said:
            return soft_deleted(name)
        if status >= 500 and "higher than the latest" not in said:
            return self._unavailable(KeyDelay.DOWN, f"failed with status {status}")
        return KeyServiceError(f"{name}: the server refuses {path}: {said or status}", hint="check the kind of the key")

    def _denied(self, method: str, path: str) -> KeyServiceError:
        name = self._address.name
        if self._send("GET", "auth/token/lookup-self").status == 403:
            return KeyServiceError(
                f"{name}: the token is not, or no longer, a token of this server: it expired, was revoked, or may not "
                "look itself up",
                problem=KeyProblem.DENIED,
                hint="give it a new one, or let an agent keep it fresh in a file",
            )
        capability = "read" if method == "GET" else "update"
        return KeyServiceError(
            f"{name}: the token's policy does not allow {capability!r} on {path}",
            problem=KeyProblem.DENIED,
            hint=f'path "{path}" {{ capabilities = ["{capability}"] }} in its policy allows it',
        )

    def _without_tls(self, *, trusted: bool) -> KeyServiceError | KeyServiceUnavailableError:
        """A certificate that is not trusted stays so; the rest passes.

        Seen to pass: what a PKCS #11 module on the same OpenSSL left in its error queue, found by the next connection.
        """
        if trusted:
            return self._unavailable(KeyDelay.DOWN, "broke TLS off")
        return KeyServiceError(
            f"{self._address.name}: the server's certificate is not trusted", hint="name its CA with ?ca=PATH"
        )

    def _unavailable(self, delay: KeyDelay, what: str, retry_after: float | None = None) -> KeyServiceUnavailableError:
        return KeyServiceUnavailableError(
            f"{self._address.name}: the server {what}",
            delay=delay,
            retry_after=retry_after,
            hint="`migrator preflight` asks it again",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What is needed of a response, and nothing that leads back to its request."""

    status: int
    ok: bool
    json: dict[str, Any]
    retry_after: float | None

    @classmethod
    def of(cls, response: requests.Response) -> "_Answer":
        try:
            parsed = response.json()
        except ValueError:
            parsed = None
        wait = response.headers.get("Retry-After", "")
        return cls(
            status=response.status_code,
            ok=response.ok,
            json=parsed if isinstance(parsed, dict) else {},
            retry_after=float(wait) if wait.isascii() and wait.isdigit() else None,
        )

    @property
    def said(self) -> str:
        """The server's own words, bounded and on one line; it does not repeat what it was sent."""
        errors = self.json.get("errors")
        return " ".join(" ".join(map(str, errors)).split())[:200] if isinstance(errors, list) else ""


def soft_deleted(name: str) -> KeyServiceError:
    """The error of a key that its owners have put away, and can bring back."""
    return KeyServiceError(
        f"{name}: the key is soft-deleted", problem=KeyProblem.DISABLED, hint="restore it on the server"
    )


def _options(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if not value:
            raise _wrong("an option has no value")  # what stands there may be a token
        if name not in _OPTIONS or name in options:
            raise _wrong(f"the option {name[:40]!a} is unknown or there twice")
        options[name] = unquote(value)
    if not is_reference(options.get("token", DEFAULT_TOKEN)):
        raise _wrong("a token is given by reference only: env:NAME, file:PATH or command:…")
    if not all(map(_is_plain, options.get("namespace", "root").strip("/").split("/"))):
        raise _wrong("namespace is not the path of one")
    if "version" in options:
        if not _VERSION.match(options["version"]):
            raise _wrong("version is not the number of a version")
        options["version"] = int(options["version"])
    return options


def _is_plain(name: str) -> bool:
    return bool(name) and name not in (".", "..") and all(c.isalnum() or c in "._-" for c in name) and name.isascii()


def _wrong(what: str) -> KeyServiceError:
    return KeyServiceError(f"the address of a vault key can't be used: {what}", hint=_EXAMPLE)
