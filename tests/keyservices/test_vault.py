"""Vault's transit engine, on a real OpenBao."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from migrator.core.errors import KeyDelay, KeyProblem, KeyServiceError, KeyServiceUnavailableError
from migrator.key_probe import probe
from migrator.keyservices import vault_server
from migrator.keyservices.interface import KeyRefusal, KeyService, RefusalKind
from migrator.keyservices.vault import MAX_BATCH, VaultKeyService, VaultSigner
from migrator.keyservices.vault_server import VaultAddress, VaultServer
from migrator.testing.keyservices import CONTEXT, OTHER_CONTEXT, KeyServiceConformance
from tests.campaign_spec import campaign_spec
from tests.support import openbao
from tests.support.openbao import Server
from tests.support.secrecy import told_by

READ_ONLY = 'path "transit/keys/*" { capabilities = ["read"] }'
ENCRYPT_ONLY = READ_ONLY + 'path "transit/encrypt/*" { capabilities = ["update"] }'


@pytest.fixture
def bao() -> Server:
    """The server of this test process."""
    return openbao.server()


@pytest.fixture(autouse=True)
def _root_token_in_the_environment(bao: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", bao.root)
    monkeypatch.setattr(vault_server, "TIMEOUTS", (1.0, 10.0))


def opened(bao: Server, key: str, **options: str) -> VaultKeyService:
    """A key of the server."""
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return VaultKeyService.open(f"{bao.url}/transit/{key}?{query}", directory=Path("/nowhere"))


def token_in(folder: Path, token: str) -> str:
    """A reference to a token in a private file."""
    path = folder / "token"
    path.write_text(token)
    path.chmod(0o600)
    return f"file:{path}"


@contextmanager
def silent_port() -> Iterator[int]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


class TestConformance(KeyServiceConformance):
    """The port's own tests."""

    @pytest.fixture(autouse=True)
    def _key(self, bao: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bao = bao
        self.key = bao.key()
        self.folder = tmp_path
        self.monkeypatch = monkeypatch

    def service(self) -> VaultKeyService:
        """Opened anew."""
        return opened(self.bao, self.key)

    @contextmanager
    def in_trouble(self, trouble: KeyProblem | KeyDelay) -> Iterator[Callable[[], KeyService]]:
        """All of them are real."""
        if trouble is KeyProblem.UNKNOWN_KEY:
            yield lambda: opened(self.bao, "nobodys-key")
        elif trouble is KeyProblem.DISABLED:
            service = self.service()
            self.bao.ask("DELETE", f"transit/keys/{self.key}/soft-delete")
            yield lambda: service
        elif trouble is KeyProblem.DENIED:
            reference = token_in(self.folder, self.bao.token(READ_ONLY))
            yield lambda: opened(self.bao, self.key, token=reference)
        elif trouble is KeyDelay.THROTTLED:
            service = self.service()
            with self.bao.exhausted():
                yield lambda: service
        elif trouble is KeyDelay.SLOW:
            self.monkeypatch.setattr(vault_server, "TIMEOUTS", (1.0, 0.1))
            with silent_port() as port:
                yield lambda: VaultKeyService.open(f"http://127.0.0.1:{port}/transit/k", directory=self.folder)
        elif trouble is KeyDelay.DOWN:
            port = openbao.free_port()
            yield lambda: VaultKeyService.open(f"http://127.0.0.1:{port}/transit/k", directory=self.folder)
        else:
            service = self.service()
            with self.bao.sealed():
                yield lambda: service


# --- batches ---


def test_a_large_batch_is_cut_to_what_the_server_takes(bao: Server) -> None:
    """`MAX_BATCH` is the server's limit exactly: one more in a request is refused, a thousand in a call are not."""
    service = opened(bao, bao.key())
    items = [(bytes([n % 256]) * 32, f"context {n}".encode()) for n in range(1000)]
    wrapped = service.wrap(items)
    again = service.rewrap([(w, c) for w, (_, c) in zip(wrapped, items, strict=True) if isinstance(w, bytes)])
    back = service.unwrap([(w, c) for w, (_, c) in zip(again, items, strict=True) if isinstance(w, bytes)])
    assert back == [secret for secret, _ in items]

    server = VaultServer(VaultAddress.parse(f"{bao.url}/transit/x"), Path())
    one = {"plaintext": "aw==", "context": "aw=="}
    key = service.name.rpartition("/")[2]
    assert len(server.post(f"encrypt/{key}", {"batch_input": [one] * MAX_BATCH})["batch_results"]) == MAX_BATCH
    with pytest.raises(KeyServiceError, match="complexity"):
        server.post(f"encrypt/{key}", {"batch_input": [one] * (MAX_BATCH + 1)})


@pytest.mark.parametrize(
    "blob",
    [b"", b"vault", b"vault:v1:", b"vault:v1:A===", b"vault:v1:AAAA", b"vault:v0:AAAA", b"vault:v1:\xff", b"\0" * 200,
     b"vault:v99:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", b"vault:v1:" + b"A" * 4000, b"vault:v1:AAAA\n"],
)  # fmt: skip
def test_hostile_blobs_cost_themselves(bao: Server, blob: bytes) -> None:
    """Whatever stands in the database where a wrapped key was: its neighbours unwrap."""
    service = opened(bao, bao.key())
    good = service.wrap([(b"secret", CONTEXT)])[0]
    assert isinstance(good, bytes)
    first, second, third = service.unwrap([(good, CONTEXT), (blob, CONTEXT), (good, CONTEXT)])
    assert (first, third) == (b"secret", b"secret")
    assert isinstance(second, KeyRefusal)
    assert second.kind in (RefusalKind.NOT_OPENED, RefusalKind.UNKNOWN_KEY)
    assert isinstance(service.rewrap([(blob, CONTEXT), (good, CONTEXT)])[1], bytes)


def test_a_secret_that_is_too_large_costs_itself(bao: Server) -> None:
    """So does one without a context, which the server would take as an error of the whole request."""
    answers = opened(bao, bao.key()).wrap([(b"x" * 70_000, CONTEXT), (b"x", b""), (b"x", CONTEXT)])
    assert [a.kind if isinstance(a, KeyRefusal) else None for a in answers] == [RefusalKind.TOO_LARGE] * 2 + [None]


# --- versions ---


def test_rotation_and_rewrap(bao: Server) -> None:
    """The newest version wraps; old ones unwrap until they are closed off; a rewrapped key is under the newest."""
    key = bao.key()
    service = opened(bao, key)
    old = service.wrap([(b"secret", CONTEXT)])[0]
    assert isinstance(old, bytes)
    bao.ask("POST", f"transit/keys/{key}/rotate")
    new = service.rewrap([(old, CONTEXT)])[0]
    assert isinstance(new, bytes)
    assert (service.version(old), service.version(new)) == ("1", "2")
    bao.ask("POST", f"transit/keys/{key}/config", min_decryption_version=2)
    assert service.unwrap([(new, CONTEXT)]) == [b"secret"]
    closed = service.unwrap([(old, CONTEXT), (new, CONTEXT)])
    assert isinstance(closed[0], KeyRefusal)
    assert (closed[0].kind, closed[1]) == (RefusalKind.DISABLED, b"secret")


# --- keys that are not right, and keys that are not there ---


@pytest.mark.parametrize("kind", [{"derived": False}, {"type": "ed25519", "derived": False}])
def test_a_key_that_would_not_bind_is_refused(bao: Server, kind: dict[str, object]) -> None:
    """A transit key that is not derived takes a context and ignores it (G9)."""
    with pytest.raises(KeyServiceError, match="not a derived key") as caught:
        opened(bao, bao.key(**kind))
    assert caught.value.problem is KeyProblem.MISCONFIGURED


def test_nothing_is_ever_made(bao: Server) -> None:
    """Neither by `init`, nor by opening, nor by wrapping after the key was deleted: the upsert is not met."""
    address = f"{bao.url}/transit/not-made"
    assert VaultKeyService.create(address, directory=Path()) is False
    with pytest.raises(KeyServiceError):
        VaultKeyService.open(address, directory=Path())
    key = bao.key()
    policy = "".join(
        f'path "transit/{path}/{key}" {{ capabilities = ["{capability}"] }}\n'
        for path, capability in (("keys", "read"), ("encrypt", "update"))
    )
    folder = bao.folder / key
    folder.mkdir()
    service = opened(bao, key, token=token_in(folder, bao.token(policy)))
    bao.ask("POST", f"transit/keys/{key}/config", deletion_allowed=True)
    bao.ask("DELETE", f"transit/keys/{key}")
    with pytest.raises(KeyServiceError):
        service.wrap([(b"secret", CONTEXT)])
    assert {"not-made", key}.isdisjoint(bao.ask("GET", "transit/keys?list=true")["data"]["keys"])


@pytest.mark.parametrize("path", ["nomount/k", "transit/none"])
def test_what_is_not_there(bao: Server, path: str) -> None:
    """No mount, no key."""
    with pytest.raises(KeyServiceError) as caught:
        VaultKeyService.open(f"{bao.url}/{path}", directory=Path())
    assert caught.value.problem is KeyProblem.UNKNOWN_KEY


# --- addresses ---


@pytest.mark.parametrize(
    "address",
    ["", "k", "https://", "https://host", "https://host/k", "https://host//k", "host/transit/k", "ftp://host/t/k",
     "http://bao.example.org/transit/k", "https://u:hunter2@host/t/k", "https://host/t/../k", "https://host/t/k#f",
     "https://host/t/k?token=hunter2", "https://host/t/k?token=", "https://host/t/k?tokn=env:X",
     "https://host/t/k?ca=a&ca=b", "https://a..b/t/k", f"https://{'a' * 64}.org/t/k",
     "https://a\x1bb/t/k", "https://a b/t/k",
     "https://host/t/k?hunter2", "https://host/t/k?version=0",
     f"https://host/t/k?version={'9' * 5000}", "https://host/t/k?version=²", "https://host/t/k?namespace=a%0ab",
     "https://host/t/k?namespace=é", "https://host/t/k?version=x", "https://host:x/t/k",
     "https://host/t/k\0", "https://host/t/%2e%2e"],
)  # fmt: skip
def test_addresses_with_tricks_are_refused(address: str) -> None:
    """Before anybody is talked to; a token in plain is not repeated."""
    for act in (VaultKeyService.open, VaultKeyService.create, VaultKeyService.open_signer):
        with pytest.raises(KeyServiceError, match="address of a vault key") as caught:
            act(address, directory=Path("/nowhere"))
        assert "hunter2" not in told_by_its_words(caught.value)


def told_by_its_words(error: KeyServiceError) -> str:
    """What people see."""
    return f"{error!r} {error.message} {error.hint}"


def test_name_is_the_place_of_the_key_alone(bao: Server) -> None:
    """How this process gets there may change; the namespace is part of the place."""
    key = bao.key()
    assert opened(bao, key, token="env:VAULT_TOKEN").name == f"vault:{bao.url}/transit/{key}"
    parsed = VaultAddress.parse("https://BAO.example.org:8200/a/b/k?namespace=team&token=env:X&ca=ca.pem")
    assert parsed.name == "vault:https://bao.example.org:8200/a/b/k?namespace=team"
    assert (parsed.mount, parsed.key) == ("a/b", "k")


# --- namespaces ---


def test_a_key_in_a_namespace(bao: Server) -> None:
    """Its keys are found there, and nowhere else."""
    bao.ask("POST", "sys/namespaces/team")
    bao.ask("POST", "team/sys/mounts/transit", type="transit")
    bao.ask("POST", "team/transit/keys/theirs", type="aes256-gcm96", derived=True)
    service = opened(bao, "theirs", namespace="team")
    wrapped = service.wrap([(b"secret", CONTEXT)])[0]
    assert isinstance(wrapped, bytes)
    assert service.unwrap([(wrapped, CONTEXT)]) == [b"secret"]
    with pytest.raises(KeyServiceError):
        opened(bao, "theirs")


# --- tokens ---


def test_the_missing_permission_is_named(bao: Server, tmp_path: Path) -> None:
    """Encrypting is allowed and decrypting is not: the error says which, and the line of policy that is missing."""
    key = bao.key()
    service = opened(bao, key, token=token_in(tmp_path, bao.token(ENCRYPT_ONLY)))
    wrapped = service.wrap([(b"secret", CONTEXT)])[0]
    assert isinstance(wrapped, bytes)
    with pytest.raises(KeyServiceError) as caught:
        service.unwrap([(wrapped, CONTEXT)])
    assert caught.value.problem is KeyProblem.DENIED
    assert f"'update' on transit/decrypt/{key}" in caught.value.message
    assert f'path "transit/decrypt/{key}"' in caught.value.hint


def test_an_expired_token_is_told_apart(bao: Server, tmp_path: Path) -> None:
    """It is the token, not its policy; a new one behind the same reference goes on without a new start."""
    key = bao.key()
    everything = READ_ONLY + 'path "transit/+/*" { capabilities = ["update"] }'
    token = bao.token(everything)
    reference = token_in(tmp_path, token)
    service = opened(bao, key, token=reference)
    bao.ask("POST", "auth/token/revoke", token=token)
    with pytest.raises(KeyServiceError, match="expired, was revoked") as caught:
        service.wrap([(b"secret", CONTEXT)])
    assert caught.value.problem is KeyProblem.DENIED
    token_in(tmp_path, bao.token(everything))
    assert isinstance(service.wrap([(b"secret", CONTEXT)])[0], bytes)


def test_a_token_is_renewed_at_half_of_its_life(bao: Server, tmp_path: Path) -> None:
    """By the clock of this process; one that can't be renewed is used as it is."""
    now = [0.0]
    policy = READ_ONLY
    token = bao.token(policy, ttl="100s")
    address = VaultAddress.parse(f"{bao.url}/transit/{bao.key()}?token={token_in(tmp_path, token)}")
    server = VaultServer(address, tmp_path, monotonic=lambda: now[0])

    def last_renewal() -> object:
        return bao.ask("GET", "auth/token/lookup-self", token)["data"].get("last_renewal")

    server.get(f"keys/{address.key}")
    assert last_renewal() is None
    now[0] = 51.0
    server.get(f"keys/{address.key}")
    first = last_renewal()
    assert first is not None
    server.get(f"keys/{address.key}")
    assert last_renewal() == first
    now[0] = 1000.0
    server.get(f"keys/{address.key}")
    assert last_renewal() != first


@pytest.mark.parametrize("reference", ["env:NO_SUCH_VARIABLE", "file:no-such-file"])
def test_a_token_that_is_not_there(bao: Server, reference: str) -> None:
    """Named by its reference."""
    with pytest.raises(KeyServiceError, match="there is no token") as caught:
        opened(bao, bao.key(), token=reference)
    assert caught.value.problem is KeyProblem.DENIED


@pytest.mark.parametrize("token", ["two\nlines", "käse", "\x00"])
def test_a_token_that_is_none(bao: Server, tmp_path: Path, token: str) -> None:
    """What can't stand in a header, or is not the server's, is an error of ours that does not repeat it."""
    with pytest.raises(KeyServiceError) as caught:
        opened(bao, bao.key(), token=token_in(tmp_path, token))
    assert caught.value.problem is KeyProblem.DENIED
    assert token not in told_by_its_words(caught.value)


def test_preflight_names_the_missing_permission(bao: Server, tmp_path: Path) -> None:
    """With the campaign's own context, on a server whose policy allows to encrypt alone."""
    key = bao.key()
    spec = campaign_spec(tmp_path)
    reference = token_in(tmp_path, bao.token(ENCRYPT_ONLY))
    with pytest.raises(KeyServiceError, match="it wraps, but can't unwrap") as caught:
        probe(spec, f"vault:{bao.url}/transit/{key}?token={reference}")
    assert f"transit/decrypt/{key}" in caught.value.message
    allowed = ENCRYPT_ONLY + 'path "transit/decrypt/*" { capabilities = ["update"] }'
    reference = token_in(tmp_path, bao.token(allowed))
    found = probe(spec, f"vault:{bao.url}/transit/{key}?token={reference}")
    assert f"transit/rewrap/{key}" in found.lacks_rewrap


# --- secrets ---


@contextmanager
def odd_server(answer: tuple[int, dict[str, str], object], asked: list[str]) -> Iterator[str]:
    """A server with a derived key that answers every use of it so (status, headers, JSON); its URL."""

    class Odd(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            facts = {"derived": True, "supports_encryption": True}
            self._answer((200, {}, {"data": facts}) if "/keys/" in self.path else answer)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            self._answer(answer)

        def _answer(self, answer: tuple[int, dict[str, str], object]) -> None:
            status, headers, document = answer
            body = json.dumps(document).encode()
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_token_is_not_taken_to_another_host() -> None:
    """A standby that sends its callers elsewhere is told as one; nobody is followed."""
    asked: list[str] = []
    with odd_server((307, {"Location": "/elsewhere"}, {}), asked) as url:
        service = VaultKeyService.open(f"{url}/transit/k", directory=Path())
        with pytest.raises(KeyServiceUnavailableError, match="is a standby") as caught:
            service.wrap([(b"secret", CONTEXT)])
    assert caught.value.delay is KeyDelay.DOWN
    assert "/elsewhere" not in asked


def test_the_token_is_not_taken_to_a_proxy_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says of proxies is for TLS alone: one in between would read the token."""
    proxied: list[str] = []
    with odd_server((200, {}, {}), []) as url, odd_server((200, {}, {}), proxied) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        VaultKeyService.open(f"{url}/transit/k", directory=Path())
    assert proxied == []


BLOB = b"vault:v1:QUJD"


@pytest.mark.parametrize(
    "results",
    [[], [{}], [{"plaintext": "QUJD"}] * 3, [{"plaintext": "QUJD"}, {"plaintext": "not base64!"}],
     [{"plaintext": "QUJD"}, {"plaintext": "QUJ"}], [{"plaintext": "QUJD"}, {"plaintext": 7}],
     [{"ciphertext": "vault:v1:QUJD"}, {"ciphertext": "vault:v1:"}], [{"ciphertext": ""}] * 2, ["vault:v1:QUJD"] * 2],
)  # fmt: skip
def test_answers_that_are_none_are_an_error_of_the_service(results: list[object]) -> None:
    """Too few, too many, nothing that was wrapped or can be unwrapped: nothing of it is used."""
    with odd_server((200, {}, {"data": {"batch_results": results}}), []) as url:
        service = VaultKeyService.open(f"{url}/transit/k", directory=Path())
        for call, value in ((service.wrap, b"secret"), (service.unwrap, BLOB), (service.rewrap, BLOB)):
            if call == service.unwrap or "ciphertext" in str(results) or "plaintext" not in str(results):
                with pytest.raises(KeyServiceError, match="is none"):
                    call([(value, CONTEXT), (value, CONTEXT)])


def test_a_failure_inside_the_server_refuses_no_key() -> None:
    """Also where it comes item by item: another try may help, and no conversation fails for it."""
    failing = {"data": {"batch_results": [{"error": "context deadline exceeded"}]}}
    with odd_server((500, {}, failing), []) as url:
        service = VaultKeyService.open(f"{url}/transit/k", directory=Path())
        with pytest.raises(KeyServiceUnavailableError):
            service.unwrap([(BLOB, CONTEXT)])


@pytest.mark.parametrize(
    ("said", "seconds"), [("7", 7.0), ("²", None), ("-1", None), ("soon", None), ("9" * 400, float("inf"))]
)
def test_when_to_come_back_may_be_anything(said: str, seconds: float | None) -> None:
    """What is no number of seconds says nothing."""
    with odd_server((429, {"Retry-After": said}, {}), []) as url:
        service = VaultKeyService.open(f"{url}/transit/k", directory=Path())
        with pytest.raises(KeyServiceUnavailableError) as caught:
            service.wrap([(b"secret", CONTEXT)])
    assert caught.value.delay is KeyDelay.THROTTLED
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize("trouble", [*KeyDelay, KeyProblem.DENIED, KeyProblem.DISABLED, KeyProblem.UNKNOWN_KEY])
def test_no_error_leads_to_the_token(
    bao: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: KeyProblem | KeyDelay
) -> None:
    """The HTTP library's exceptions hold the request with its headers: none is behind an error of ours."""
    conformance = TestConformance()
    conformance.bao, conformance.key, conformance.folder = bao, bao.key(), tmp_path
    conformance.monkeypatch = monkeypatch
    expected = (KeyServiceError, KeyServiceUnavailableError)
    with conformance.in_trouble(trouble) as opens, pytest.raises(expected) as caught:
        opens().wrap([(b"sixteen secret b", CONTEXT)])
    everything = told_by(caught.value)
    assert caught.value.__context__ is None
    for secret in (bao.root, (tmp_path / "token").read_text() if (tmp_path / "token").exists() else bao.root):
        assert secret not in everything


def test_no_log_has_a_secret(bao: Server, caplog: pytest.LogCaptureFixture) -> None:
    """At the most talkative level of every library."""
    caplog.set_level(0)
    service = opened(bao, bao.key())
    wrapped = service.wrap([(b"sixteen secret b", CONTEXT)])[0]
    assert isinstance(wrapped, bytes)
    service.unwrap([(wrapped, CONTEXT), (wrapped, OTHER_CONTEXT)])
    for secret in (bao.root, "sixteen secret b", "c2l4dGVlbiBzZWNyZXQgYg"):
        assert secret not in caplog.text
        assert secret not in repr(service)


# --- signing ---


def test_signatures_verify_offline(bao: Server) -> None:
    """By `cryptography`, under the public key that the server shows; a rotation of the key changes neither."""
    key = bao.key(type="ed25519", derived=False)
    signer = VaultKeyService.open_signer(f"{bao.url}/transit/{key}", directory=Path())
    bao.ask("POST", f"transit/keys/{key}/rotate")
    rotated = VaultKeyService.open_signer(f"{bao.url}/transit/{key}", directory=Path())
    assert signer.public_key == rotated.public_key == openbao.public_key(bao, key)
    public = Ed25519PublicKey.from_public_bytes(signer.public_key)
    for message in (b"", b"x" * 5000):
        public.verify(signer.sign(message), message)
        public.verify(rotated.sign(message), message)
    second = VaultKeyService.open_signer(f"{bao.url}/transit/{key}?version=2", directory=Path())
    assert second.public_key == openbao.public_key(bao, key, 2)
    with pytest.raises(InvalidSignature):
        public.verify(second.sign(b"x"), b"x")


@pytest.mark.parametrize("kind", [{"derived": True}, {"type": "ecdsa-p256", "derived": False}])
def test_keys_that_do_not_sign_so(bao: Server, kind: dict[str, object]) -> None:
    """An encryption key and another curve are refused at opening; so is a version that is not there."""
    for suffix in ("", "?version=7"):
        with pytest.raises(KeyServiceError, match="no Ed25519 key"):
            VaultSigner.open(VaultAddress.parse(f"{bao.url}/transit/{bao.key(**kind)}{suffix}"), Path())
