"""SSH signatures: OpenSSH verifies ours, we verify OpenSSH's, and what is not right is refused."""

import base64
import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from migrator.core import sshsig
from migrator.core.sshsig import PassphraseNeededError, SshSignature, SshSignatureError

MESSAGE = b"sha256:" + b"ab" * 32
NAMESPACE = "migrator-plan"
KEYGEN = shutil.which("ssh-keygen")
needs_openssh = pytest.mark.skipif(KEYGEN is None, reason="OpenSSH's ssh-keygen is not installed")
KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
SCALAR = int.from_bytes(hashlib.sha256(b"a test key").digest(), "big") >> 1
"""OpenSSH refuses private scalars that are too short."""
KEYS: dict[str, sshsig.PrivateKey] = {
    "ed25519": KEY,
    "p256": ec.derive_private_key(SCALAR, ec.SECP256R1()),
    "p384": ec.derive_private_key(SCALAR, ec.SECP384R1()),
    "p521": ec.derive_private_key(SCALAR << 200, ec.SECP521R1()),
    "rsa": rsa.generate_private_key(65537, 2048),
}


def keygen(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run ssh-keygen."""
    assert KEYGEN is not None
    return subprocess.run([KEYGEN, *arguments], input=stdin, capture_output=True, check=False)


def public_line(key: sshsig.PrivateKey) -> str:
    """`type base64` of a public key."""
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return line.decode()


def openssh_accepts(folder: Path, line: str, signature: bytes, message: bytes = MESSAGE) -> bool:
    """Whether `ssh-keygen -Y verify` takes a signature."""
    (folder / "allowed").write_text(f"somebody {line}\n", encoding="utf-8")
    (folder / "sig").write_bytes(signature)
    done = keygen(
        "-Y", "verify", "-f", str(folder / "allowed"), "-I", "somebody", "-n", NAMESPACE, "-s", str(folder / "sig"),
        stdin=message,
    )  # fmt: skip
    return done.returncode == 0


@needs_openssh
@pytest.mark.parametrize("kind", KEYS)
def test_openssh_verifies_ours(kind: str, tmp_path: Path) -> None:
    """And refuses it over another text."""
    signature = sshsig.sign(KEYS[kind], MESSAGE, NAMESPACE)
    assert openssh_accepts(tmp_path, public_line(KEYS[kind]), signature)
    assert not openssh_accepts(tmp_path, public_line(KEYS[kind]), signature, MESSAGE + b"\n")


@needs_openssh
@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_we_verify_openssh(kind: str, hash_name: str, tmp_path: Path) -> None:
    """Whatever key and hash it signs with."""
    path = tmp_path / "key"
    path.write_bytes(
        KEYS[kind].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)
    done = keygen("-Y", "sign", "-f", str(path), "-n", NAMESPACE, "-O", f"hashalg={hash_name}", stdin=MESSAGE)
    assert done.returncode == 0, done.stderr
    signature = SshSignature.parse(done.stdout)
    assert signature.hash_name == hash_name
    assert signature.public_key == sshsig.public_blob(KEYS[kind])
    signature.require_valid(MESSAGE, NAMESPACE)
    with pytest.raises(SshSignatureError, match="not right"):
        signature.require_valid(MESSAGE + b"!", NAMESPACE)
    fingerprint = keygen("-l", "-f", "-", stdin=public_line(KEYS[kind]).encode()).stdout.decode().split()[1]
    assert sshsig.fingerprint(signature.public_key) == fingerprint


@needs_openssh
@pytest.mark.parametrize("kind", ["ed25519", "rsa", "p256"])
def test_a_certificate_signs_nothing(kind: str, tmp_path: Path) -> None:
    """It is another form of a key that may be listed already, and nobody checks here whether it is still good."""
    for name, key in (("ca", KEY), ("key", KEYS[kind])):
        path = tmp_path / name
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
        )
        path.chmod(0o600)
    (tmp_path / "key.pub").write_text(public_line(KEYS[kind]) + "\n", encoding="utf-8")
    made = keygen("-s", str(tmp_path / "ca"), "-I", "id", "-n", "somebody", str(tmp_path / "key.pub"))
    assert made.returncode == 0, made.stderr
    certificate = base64.b64decode((tmp_path / "key-cert.pub").read_text(encoding="utf-8").split()[1])
    own = SshSignature.parse(sshsig.sign(KEYS[kind], MESSAGE, NAMESPACE))
    with pytest.raises(SshSignatureError, match=r"not accepted|not a public key"):
        replace(own, public_key=certificate).require_valid(MESSAGE, NAMESPACE)


def string(data: bytes) -> bytes:
    """RFC 4251's string."""
    return len(data).to_bytes(4, "big") + data


def security_key(kind: str, flags: int) -> tuple[bytes, bytes]:
    """A security key's public blob, and the armoured signature that device and OpenSSH make of `MESSAGE`."""
    application = b"ssh:"
    blob = b"SSHSIG" + b"".join(map(string, (NAMESPACE.encode(), b"", b"sha512", hashlib.sha512(MESSAGE).digest())))
    challenge = hashlib.sha256(application).digest() + bytes([flags]) + bytes(4) + hashlib.sha256(blob).digest()
    if kind == "ed25519":
        name = b"sk-ssh-ed25519@openssh.com"
        public = string(name) + string(KEY.public_key().public_bytes_raw()) + string(application)
        raw = KEY.sign(challenge)
    else:
        name = b"sk-ecdsa-sha2-nistp256@openssh.com"
        key = ec.derive_private_key(SCALAR, ec.SECP256R1())
        point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        public = string(name) + string(b"nistp256") + string(point) + string(application)
        r, s = decode_dss_signature(key.sign(challenge, ec.ECDSA(hashes.SHA256())))
        raw = string(b"\0" + r.to_bytes(32, "big")) + string(b"\0" + s.to_bytes(32, "big"))
    signature = string(name) + string(raw) + bytes([flags]) + bytes(4)
    fields = (public, NAMESPACE.encode(), b"", b"sha512", signature)
    return public, armour(b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(map(string, fields)))


def armour(blob: bytes) -> bytes:
    """The text form of a signature."""
    return b"-----BEGIN SSH SIGNATURE-----\n" + base64.b64encode(blob) + b"\n-----END SSH SIGNATURE-----\n"


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_security_keys(kind: str) -> None:
    """FIDO keys count where somebody touched them, and not otherwise."""
    public, signature = security_key(kind, 0x01)
    found = SshSignature.parse(signature)
    assert found.public_key == public
    found.require_valid(MESSAGE, NAMESPACE)
    with pytest.raises(SshSignatureError, match="not right"):
        found.require_valid(MESSAGE + b"!", NAMESPACE)
    with pytest.raises(SshSignatureError, match="touched"):
        SshSignature.parse(security_key(kind, 0x00)[1]).require_valid(MESSAGE, NAMESPACE)


@needs_openssh
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_openssh_agrees_on_security_keys(kind: str, tmp_path: Path) -> None:
    """What the test above takes for a security key's signature is one to OpenSSH."""
    public, signature = security_key(kind, 0x01)
    name = public[4 : 4 + int.from_bytes(public[:4], "big")].decode()
    assert openssh_accepts(tmp_path, f"{name} {base64.b64encode(public).decode()}", signature)


def test_another_namespace_does_not_count() -> None:
    """A signature over a git commit or a file approves no plan."""
    signature = SshSignature.parse(sshsig.sign(KEY, MESSAGE, "git"))
    with pytest.raises(SshSignatureError, match="'git'"):
        signature.require_valid(MESSAGE, NAMESPACE)


def test_weak_and_foreign_kinds_are_refused() -> None:
    """RSA under 2,048 bits, and SHA-1."""
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - weak on purpose
    with pytest.raises(SshSignatureError, match="2048 bits"):
        SshSignature.parse(sshsig.sign(small, MESSAGE, NAMESPACE)).require_valid(MESSAGE, NAMESPACE)
    good = SshSignature.parse(sshsig.sign(KEYS["rsa"], MESSAGE, NAMESPACE))
    sha1 = string(b"ssh-rsa") + string(bytes(256))
    weak = SshSignature(public_key=good.public_key, namespace=NAMESPACE, hash_name="sha512", signature=sha1)
    with pytest.raises(SshSignatureError, match="not accepted"):
        weak.require_valid(MESSAGE, NAMESPACE)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----",
                                  armour(b"SSHSIG"), armour(b"SSHSIG" + (2).to_bytes(4, "big") + bytes(40)),
                                  armour(b"SSHSIG" + (1).to_bytes(4, "big") + b"\xff\xff\xff\xff"),
                                  b"-----BEGIN SSH SIGNATURE-----\nA\n-----END SSH SIGNATURE-----",
                                  sshsig.sign(KEY, MESSAGE, NAMESPACE) * 2, b" " * (sshsig.MAX_BYTES + 1)])  # fmt: skip
def test_what_is_no_signature(data: bytes) -> None:
    """Each is refused with a reason."""
    with pytest.raises(SshSignatureError):
        SshSignature.parse(data)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_altered_byte_passes(place: int, change: int) -> None:
    """Neither in the key, the names, the reserved field's length nor the signature."""
    armoured = sshsig.sign(KEY, MESSAGE, NAMESPACE)
    blob = bytearray(base64.b64decode(b"".join(armoured.split(b"\n")[1:-2])))
    blob[place % len(blob)] ^= change
    with pytest.raises(SshSignatureError):
        SshSignature.parse(armour(bytes(blob))).require_valid(MESSAGE, NAMESPACE)


def test_private_keys() -> None:
    """With a passphrase, without, and what is none."""
    plain = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    locked = KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(1).build(b"open sesame"),
    )
    assert sshsig.public_blob(sshsig.load_private_key(plain, None)) == sshsig.public_blob(KEY)
    assert sshsig.public_blob(sshsig.load_private_key(locked, b"open sesame")) == sshsig.public_blob(KEY)
    with pytest.raises(PassphraseNeededError):
        sshsig.load_private_key(locked, None)
    with pytest.raises(SshSignatureError, match="passphrase does not open"):
        sshsig.load_private_key(locked, b"open barley")
    with pytest.raises(SshSignatureError, match="not a private key"):
        sshsig.load_private_key(b"hello", None)
