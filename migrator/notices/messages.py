"""A notice as a mail message. Addresses come from the source and are trusted with nothing."""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from email import policy
from email.errors import MessageError
from email.headerregistry import Address, AddressHeader
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from migrator.core.encoding import canonical_json
from migrator.core.errors import ConfigError
from migrator.notices.templates import Rendered

_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
_LONGEST_LOCAL: Final = 64
_LONGEST: Final = 254
_POLICY: Final = policy.SMTP.clone(cte_type="7bit")
"""Lines end as RFC 2049 has them before they are encoded; not every server on the way takes 8-bit text (RFC 6152)."""


def parse_address(text: str) -> Address | None:
    """One mail address (RFC 5321, Mailbox, without quoted local parts); an international domain in its ASCII form.

    None for anything else: lists, display names, line breaks, comments.
    """
    local, at, domain = text.rpartition("@")
    if not at or len(text) > _LONGEST or len(local) > _LONGEST_LOCAL or not _LOCAL.match(local):
        return None
    try:
        domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        return None
    if len(local) + 1 + len(domain) > _LONGEST or not all(_LABEL.match(label) for label in domain.split(".")):
        return None
    return Address(username=local, domain=domain)


def parse_sender(text: str) -> Address:
    """`notify.sender`: an address, with or without a name before it. Raises `ConfigError`."""
    message = EmailMessage()
    try:
        message["From"] = text
        header: AddressHeader = message["From"]
        found = header.addresses
    except (ValueError, MessageError, IndexError):
        found = ()
    if len(found) != 1 or parse_address(found[0].addr_spec) is None:
        raise ConfigError(f"notify.sender is not a mail address: {text!r}", hint="for example no-reply@example.org")
    return Address(display_name=found[0].display_name, addr_spec=found[0].addr_spec)


def idempotency_key(campaign: str, reference: str, notice_id: str, channel: str, *further: str) -> str:
    """The same for every attempt to tell one account of one notice over one channel; does not name the account.

    `reference` is the account's keyed reference, so that nobody can guess the account from a Message-ID. `further`
    tells apart what has the same notice id: days of the schedule, and a notice that is sent again after it bounced.
    """
    return hashlib.sha256(canonical_json([campaign, reference, notice_id, channel, *further])).hexdigest()[:40]


def compose(rendered: Rendered, *, sender: Address, to: Address | None, headers: Mapping[str, str]) -> EmailMessage:
    """Text and HTML, of which mail programs show the last that they can (RFC 2046, section 5.1.4), in one language.

    `headers` are those that the message's way demands, such as `automatic`'s. Raises `ValueError` for one that has a
    line break in it, or that is written here already. `to` is None for a channel that knows its readers otherwise.
    """
    message = EmailMessage(_POLICY)
    message["From"] = sender
    if to is not None:
        message["To"] = to
    message["Subject"] = rendered.subject
    for name, value in headers.items():
        message[name] = value
    message.set_content(rendered.body)  # drops what it finds of Content headers
    message.add_alternative(rendered.html, subtype="html")
    message["Content-Language"] = rendered.template.locale
    return message


def automatic(key: str, sender: Address, now: datetime) -> dict[str, str]:
    """Headers of a message that a program sent (RFC 3834) at a time, under a key."""
    return {"Date": format_datetime(now), "Message-ID": message_id(key, sender), "Auto-Submitted": "auto-generated"}


def message_id(key: str, sender: Address) -> str:
    """Stable over attempts, so that a reader's mail program shows one message even where a channel sent two."""
    return f"<{key}@{sender.domain}>"
