"""OpenSSH's signatures of files: what `ssh-keygen -Y sign` writes and `ssh-keygen -Y verify` reads.

Source: PROTOCOL.sshsig and PROTOCOL.u2f of OpenSSH, RFC 4251 (wire types), RFC 8332 (rsa-sha2-*), RFC 5656 (ECDSA),
RFC 8709 (Ed25519). A signature is bound to a namespace, so that one made for another purpose does not count here.
What is read may be hostile: `SshSignatureError` says what is wrong with it.
"""

import base64
import binascii
import hashlib
import re
import textwrap
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

MAX_BYTES: Final = 16 * 1024
"""Longest armoured signature that is read; one by RSA with 16,384 bits has under 8 KiB."""
_MAGIC: Final = b"SSHSIG"
_VERSION: Final = 1
_BEGIN: Final = "-----BEGIN SSH SIGNATURE-----"
_END: Final = "-----END SSH SIGNATURE-----"
_LINE: Final = 70
_MIN_RSA_BITS: Final = 2048
_ED25519: Final = "ssh-ed25519"
_RSA: Final = "ssh-rsa"
_SECURITY_KEY: Final = {
    "sk-ssh-ed25519@openssh.com": _ED25519,
    "sk-ecdsa-sha2-nistp256@openssh.com": "ecdsa-sha2-nistp256",
}
_USER_PRESENT: Final = 0x01
_CURVES: Final[dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]]] = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
_RSA_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "rsa-sha2-256": hashes.SHA256(),
    "rsa-sha2-512": hashes.SHA512(),
}

PrivateKey = Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class SshSignatureError(ValueError):
    """A signature or key that is malformed, of a kind that is not accepted, or not right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSignature:
    """A parsed signature: `public_key` and `signature` are blobs of RFC 4253, section 6.6."""

    public_key: bytes
    namespace: str
    hash_name: str
    signature: bytes

    @classmethod
    def parse(cls, armoured: bytes) -> "SshSignature":
        """Read the text between its two marks; nothing else may stand around it but blank space."""
        reader = _Reader(_unarmour(armoured))
        if reader.take(len(_MAGIC)) != _MAGIC or reader.number() != _VERSION:
            raise SshSignatureError("not an SSH signature of version 1")
        public_key, namespace = reader.string(), reader.text()
        reader.string()  # reserved: readers ignore it
        hash_name, signature = reader.text(), reader.string()
        reader.end()
        if hash_name not in ("sha256", "sha512"):
            raise SshSignatureError("the signature's hash is neither sha256 nor sha512")
        return cls(public_key=public_key, namespace=namespace, hash_name=hash_name, signature=signature)

    def require_valid(self, message: bytes, namespace: str) -> None:
        """Raise `SshSignatureError` unless its key signed `message` for `namespace`."""
        if self.namespace != namespace:
            raise SshSignatureError(f"the signature is for namespace {self.namespace[:80]!r}, not {namespace!r}")
        _verify(self.public_key, self.signature, _signed_data(message, namespace, self.hash_name))


def sign(key: PrivateKey, message: bytes, namespace: str) -> bytes:
    """The armoured signature, as `ssh-keygen -Y sign -n NAMESPACE` writes it."""
    signature = _sign(key, _signed_data(message, namespace, "sha512"))
    fields = (public_blob(key), namespace.encode(), b"", b"sha512", signature)
    blob = _MAGIC + _VERSION.to_bytes(4, "big") + b"".join(map(_string, fields))
    lines = textwrap.wrap(base64.b64encode(blob).decode(), _LINE)
    return "\n".join([_BEGIN, *lines, _END, ""]).encode()


def load_private_key(data: bytes, passphrase: bytes | None) -> PrivateKey:
    """A private key in OpenSSH's format; `SshSignatureError` where it is none or of a kind that can't sign here.

    `PassphraseNeededError` where it is encrypted and `passphrase` is None.
    """
    try:
        key = serialization.load_ssh_private_key(data, passphrase)
    except TypeError:
        raise PassphraseNeededError("the key is protected by a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        reason = (
            "not a private key in OpenSSH's format" if passphrase is None else "the passphrase does not open the key"
        )
        raise SshSignatureError(reason) from None
    if not isinstance(key, Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise SshSignatureError("keys of this kind don't sign here: use Ed25519, ECDSA or RSA")
    return key


class PassphraseNeededError(SshSignatureError):
    """The private key is encrypted."""


def public_blob(key: PrivateKey) -> bytes:
    """The wire form of a private key's public half."""
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return base64.b64decode(line.split(b" ")[1])


def fingerprint(public_key: bytes) -> str:
    """`SHA256:…`, as `ssh-keygen -l` shows a key."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public_key).digest()).decode().rstrip("=")


def _signed_data(message: bytes, namespace: str, hash_name: str) -> bytes:
    digest = hashlib.new(hash_name, message).digest()
    return _MAGIC + b"".join(map(_string, (namespace.encode(), b"", hash_name.encode(), digest)))


def _sign(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        return _string(_ED25519.encode()) + _string(key.sign(data))
    if isinstance(key, rsa.RSAPrivateKey):
        algorithm = "rsa-sha2-512"
        return _string(algorithm.encode()) + _string(key.sign(data, padding.PKCS1v15(), _RSA_HASHES[algorithm]))
    curve = next((name for name, (kind, _) in _CURVES.items() if kind.name == key.curve.name), None)
    if curve is None:
        raise SshSignatureError("this elliptic curve is none of SSH's")
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(_CURVES[curve][1])))
    return _string(f"ecdsa-sha2-{curve}".encode()) + _string(_string(_mpint(r)) + _string(_mpint(s)))


def _verify(public_key: bytes, signature: bytes, data: bytes) -> None:
    reader = _Reader(signature)
    algorithm, raw = reader.text(), reader.string()
    key_type = _Reader(public_key).text()
    if key_type in _SECURITY_KEY:
        if algorithm != key_type:
            raise SshSignatureError("the signature's algorithm is not that of its key")
        public_key, application = _without_application(public_key, key_type)
        flags, counter = reader.take(1), reader.take(4)
        if not flags[0] & _USER_PRESENT:
            raise SshSignatureError("nobody touched the security key for this signature")
        data = hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(data).digest()
        key_type = algorithm = _SECURITY_KEY[key_type]
    reader.end()
    try:
        _verify_raw(_load(key_type, public_key), key_type, algorithm, raw, data)
    except InvalidSignature:
        raise SshSignatureError("the signature is not right: another text, another key, or altered") from None


def _verify_raw(key: object, key_type: str, algorithm: str, raw: bytes, data: bytes) -> None:
    if isinstance(key, rsa.RSAPublicKey) and key_type == _RSA and algorithm in _RSA_HASHES:
        if key.key_size < _MIN_RSA_BITS:
            raise SshSignatureError(f"an RSA key needs at least {_MIN_RSA_BITS} bits")
        key.verify(raw, data, padding.PKCS1v15(), _RSA_HASHES[algorithm])
    elif isinstance(key, Ed25519PublicKey) and algorithm == key_type:
        key.verify(raw, data)
    elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm == key_type:
        reader = _Reader(raw)
        r, s = reader.string(), reader.string()
        reader.end()
        der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        key.verify(der, data, ec.ECDSA(_CURVES[algorithm.removeprefix("ecdsa-sha2-")][1]))
    else:
        raise SshSignatureError(
            "keys or signatures of this kind are not accepted: use Ed25519, ECDSA or RSA with SHA-2"
        )


def _load(key_type: str, blob: bytes) -> object:
    line = key_type.encode("ascii", "replace") + b" " + base64.b64encode(blob)
    try:
        return serialization.load_ssh_public_key(line)
    except (ValueError, UnsupportedAlgorithm):
        raise SshSignatureError("not a public key that SSH knows") from None


def _without_application(blob: bytes, key_type: str) -> tuple[bytes, bytes]:
    """A security key's plain public key, and the application that it signs for."""
    reader = _Reader(blob)
    reader.string()
    fields = [reader.string() for _ in range(1 if _SECURITY_KEY[key_type] == _ED25519 else 2)]
    application = reader.string()
    reader.end()
    return b"".join(map(_string, (_SECURITY_KEY[key_type].encode(), *fields))), application


def _unarmour(armoured: bytes) -> bytes:
    if len(armoured) > MAX_BYTES:
        raise SshSignatureError("too long for an SSH signature")
    match = re.fullmatch(rf"\s*{_BEGIN}\s([A-Za-z0-9+/=\s]*){_END}\s*", armoured.decode("ascii", "replace"))
    if match is None:
        raise SshSignatureError("not an SSH signature")
    try:
        return base64.b64decode("".join(match[1].split()), validate=True)
    except binascii.Error:
        raise SshSignatureError("not an SSH signature: its base64 is damaged") from None


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _mpint(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


class _Reader:
    """Reads the wire types of RFC 4251, section 5."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise SshSignatureError("truncated")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        try:
            return self.string().decode("ascii")
        except UnicodeDecodeError:
            raise SshSignatureError("a name in it is not ASCII") from None

    def end(self) -> None:
        if self._at != len(self._data):
            raise SshSignatureError("more bytes than a signature has")
