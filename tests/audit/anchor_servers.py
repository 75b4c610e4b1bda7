"""A witness and a timestamp authority that answer over HTTP on this machine, as their specifications say."""

import base64
import hashlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from migrator.core.proofs import extends

Reply = tuple[int, str, bytes]
"""Status, content type, body."""


@contextmanager
def serving(answer: Callable[[str, bytes], Reply]) -> Iterator[str]:
    """A server on a free port; its address ends in a slash."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, content_type, reply = answer(self.path, body)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Witness:
    """c2sp.org/tlog-witness for one log, written after the specification; keeps the last tree head it cosigned."""

    def __init__(self, log_name: str, log_key: Ed25519PublicKey, *, name: str = "witness.example/w1") -> None:
        self.name = name
        self.log_name = log_name
        self.log_key = log_key
        self.key = Ed25519PrivateKey.generate()
        self.size, self.root = 0, hashlib.sha256().digest()
        self.time = 1_778_241_600
        self.requests: list[bytes] = []

    @property
    def vkey(self) -> str:
        """Its verifier key for cosignatures."""
        typed = b"\x04" + self.key.public_key().public_bytes_raw()
        return f"{self.name}+{self._key_id().hex()}+{base64.b64encode(typed).decode()}"

    def answer(self, path: str, body: bytes) -> Reply:
        """One request."""
        self.requests.append(body)
        if path != "/add-checkpoint":
            return 404, "text/plain", b"no such thing"
        head, _, note = body.partition(b"\n\n")
        first, *lines = head.decode().split("\n")
        old = int(first.removeprefix("old "))
        text, _, signatures = note.partition(b"\n\n")
        text += b"\n"
        origin, size_text, root_text = text.decode().splitlines()
        size, root = int(size_text), base64.b64decode(root_text)
        if origin != self.log_name:
            return 404, "text/plain", b"unknown log"
        if not self._signed(text, signatures.decode()):
            return 403, "text/plain", b"not its key"
        if old > size:
            return 400, "text/plain", b"old is newer"
        if old != self.size:
            return 409, "text/x.tlog.size", f"{self.size}\n".encode()
        if old == size and root != self.root:
            return 409, "text/plain", b"another root"
        if not extends(self.root, old, root, size, [base64.b64decode(line) for line in lines]):
            return 422, "text/plain", b"not consistent"
        self.size, self.root = size, root
        return 200, "text/plain; charset=utf-8", self.cosign(text)

    def cosign(self, text: bytes) -> bytes:
        """The signature line on a note's text."""
        signature = self.key.sign(f"cosignature/v1\ntime {self.time}\n".encode() + text)
        blob = self._key_id() + self.time.to_bytes(8, "big") + signature
        return f"— {self.name} {base64.b64encode(blob).decode()}\n".encode()

    def _key_id(self) -> bytes:
        typed = b"\x04" + self.key.public_key().public_bytes_raw()
        return hashlib.sha256(self.name.encode() + b"\n" + typed).digest()[:4]

    def _signed(self, text: bytes, signatures: str) -> bool:
        for line in signatures.splitlines():
            dash, name, blob = line.split(" ")
            if (dash, name) == ("—", self.log_name):
                try:
                    self.log_key.verify(base64.b64decode(blob)[4:], text)
                except Exception:  # noqa: BLE001 - whatever it is, the signature does not verify
                    return False
                return True
        return False


OPENSSL = shutil.which("openssl")


class Authority:
    """RFC 3161 by `openssl ts`, with a root and a signing certificate made here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.requests = 0
        self._make_certificates()
        (folder / "serial").write_text("01\n")
        (folder / "openssl.cnf").write_text(
            "[tsa]\ndefault_tsa = one\n[one]\n"
            f"serial = {folder}/serial\nsigner_cert = {folder}/tsa.pem\nsigner_key = {folder}/tsa.key\n"
            "signer_digest = sha256\ndefault_policy = 1.2.3.4.1\ndigests = sha256, sha512\naccuracy = secs:1\n"
            "ess_cert_id_alg = sha256\n"
        )

    @property
    def root(self) -> Path:
        """The root certificate in PEM."""
        return self.folder / "root.pem"

    def answer(self, _: str, body: bytes) -> Reply:
        """One timestamp."""
        self.requests += 1
        query = self.folder / f"{self.requests}.tsq"
        query.write_bytes(body)
        reply = query.with_suffix(".tsr")
        assert OPENSSL is not None
        subprocess.run(
            [OPENSSL, "ts", "-reply", "-config", self.folder / "openssl.cnf", "-queryfile", query, "-out", reply],
            check=True,
            capture_output=True,
        )
        return 200, "application/timestamp-reply", reply.read_bytes()

    def _make_certificates(self) -> None:
        root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Root of the tests")])
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Time of the tests")])
        now = datetime.now(UTC)

        def builder(subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
            return (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(root_name)
                .public_key(public_key)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - timedelta(days=1))
                .not_valid_after(now + timedelta(days=30))
                .add_extension(
                    x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
                )
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            )

        root = (
            builder(root_name, root_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        leaf = (
            builder(name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        (self.folder / "root.pem").write_bytes(root.public_bytes(pem))
        (self.folder / "tsa.pem").write_bytes(leaf.public_bytes(pem))
        (self.folder / "tsa.key").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
