"""Checks of single settings: each gives the value back, or raises `ValueError` with what it should read like."""

import re
from datetime import UTC, datetime
from urllib.parse import urlsplit

from migrator.core.cohorts import Rule
from migrator.core.durations import seconds_of
from migrator.core.encoding import b64url_decode
from migrator.core.load import LoadLimits
from migrator.core.notes import KeyKind, parse_vkey
from migrator.core.quantities import Share, per_second
from migrator.core.schedule import QuietHours, Schedule
from migrator.core.window import Window

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}\Z")
_SERVER_NAME = re.compile(r"([A-Za-z0-9.-]{1,230}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?\Z")
"""A Matrix server name: a host or an address, and perhaps a port (Matrix specification, appendices, "Server Name")."""


def campaign_name(value: str) -> str:
    """A name that is part of ids and file names."""
    if not _NAME.match(value):
        raise ValueError("a name has 1 to 100 of a-z, 0-9, '.', '_' and '-', and begins with a letter or digit")
    return value


def share(value: str) -> str:
    """`25` or `1%`."""
    Share.parse(value)
    return value


def rate(value: str) -> str:
    """`50/s`, `30/min`, `1000/h`."""
    per_second(value)
    return value


def duration(value: str) -> str:
    """`90s`, `15m`, `8h`."""
    if seconds_of(value) == 0:
        raise ValueError("no time at all is no limit")
    return value


def load(value: str) -> str:
    """Limits on latency and error rate."""
    LoadLimits.parse(value)
    return value


def window(value: str) -> str:
    """Hours of the day in a zone."""
    Window.parse(value)
    return value


def quiet_hours(value: str) -> str:
    """Hours in which nobody is written to."""
    QuietHours.parse(value)
    return value


def schedule(value: dict[str, str]) -> dict[str, str]:
    """When users are told what."""
    Schedule.parse(value)
    return value


def public_key(value: str) -> str:
    """An Ed25519 public key in base64url."""
    if len(b64url_decode(value)) != 32:
        raise ValueError("an issuer's key is an Ed25519 public key, 32 bytes in base64url without padding")
    return value


def server_name(value: str) -> str:
    """The name of a homeserver."""
    if not _SERVER_NAME.match(value):
        raise ValueError("a server name reads like example.org: what stands behind the first colon of a user's id")
    return value


def cohort_rule(value: str) -> str:
    """Who belongs to a cohort."""
    Rule.parse(value)
    return value


def web_address(value: str) -> str:
    """An HTTP address without secrets."""
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("an address reads like https://host/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("this address is shown in plain: it can't hold a password")
    return value


def witness_key(value: str) -> str:
    """A witness's verifier key."""
    if parse_vkey(value).kind is not KeyKind.COSIGNATURE:
        raise ValueError("a witness's key is a verifier key for cosignatures, of type 0x04")
    return value


def blob_address(value: str) -> str:
    """Where sealed attachments go."""
    if not value.startswith("file:") and "://" not in value:
        raise ValueError("a place for attachments reads like file:blobs or s3://bucket/prefix")
    if urlsplit(value).password is not None or urlsplit(value).query:
        raise ValueError("this address is shown in plain: credentials belong to the store's own client")
    return value


def utc(value: datetime) -> datetime:
    """The same moment in UTC."""
    return value.astimezone(UTC)
