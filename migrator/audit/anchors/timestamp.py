"""RFC 3161: an authority says that a checkpoint was there at a time. `openssl ts -verify` checks the same answer."""

from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from migrator.audit.anchors.http import AnchorError, missing_package, post
from migrator.core.errors import ConfigError

if TYPE_CHECKING:
    import httpx

MAX_CERTIFICATES_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Where timestamps are asked for, and the certificates that they chain to: roots, and what stands between."""

    url: str
    roots: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...] = ()


def load_authority(url: str, certificates: Path) -> Authority:
    """An authority with its certificates from a PEM file; a certificate that signed itself is a root."""
    try:
        with certificates.open("rb") as file:
            data = file.read(MAX_CERTIFICATES_BYTES)
        found = x509.load_pem_x509_certificates(data)
    except (OSError, ValueError):
        raise ConfigError(
            f"audit.timestamp_certificates: {certificates} can't be read as certificates in PEM",
            hint="put the authority's root certificate there",
        ) from None
    roots = tuple(certificate for certificate in found if certificate.issuer == certificate.subject)
    if not roots:
        raise ConfigError(f"audit.timestamp_certificates: {certificates} has no root certificate")
    return Authority(url=url, roots=roots, intermediates=tuple(c for c in found if c not in roots))


def require_package() -> None:
    """`ConfigError` where the package that makes and checks timestamps is missing."""
    if find_spec("rfc3161_client") is None:
        raise missing_package("rfc3161-client")


def stamp(connections: "httpx.Client", authority: Authority, data: bytes) -> bytes:
    """The authority's verified answer for some data (DER, a `TimeStampResp`); `AnchorError`."""
    require_package()
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    request = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
    answer = post(connections, authority.url, request.as_bytes(), "application/timestamp-query")
    if answer.status != 200:
        raise AnchorError(f"the timestamp authority {authority.url} refuses with status {answer.status}")
    time_of(authority, answer.body, data, nonce=request.nonce)
    return answer.body


def time_of(authority: Authority, answer: bytes, data: bytes, *, nonce: int | None = None) -> datetime:
    """The time that an answer states for some data, once everything about it holds; `AnchorError` otherwise."""
    require_package()
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    builder = VerifierBuilder()
    for root in authority.roots:
        builder = builder.add_root_certificate(root)
    for certificate in authority.intermediates:
        builder = builder.add_intermediate_certificate(certificate)
    if nonce is not None:
        builder = builder.nonce(nonce)
    try:
        response = decode_timestamp_response(answer)
        builder.build().verify_message(response, data)
    except (ValueError, VerificationError) as error:
        raise AnchorError(
            f"a timestamp of {authority.url} does not verify: {error}",
            hint="check audit.timestamp_certificates, and that the answer is for this checkpoint",
        ) from None
    return response.tst_info.gen_time
