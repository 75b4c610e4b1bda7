"""Notices as mail: addresses that can be trusted, headers that can't be injected."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.headerregistry import Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.errors import ConfigError
from migrator.notices import language, messages
from migrator.notices.templates import Rendered, Template


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ana@example.org", "ana@example.org"),
        ("ana.maria+chat@mail.example.org", "ana.maria+chat@mail.example.org"),
        ("o'neil@example.org", "o'neil@example.org"),
        ("ana@münchen.example", "ana@xn--mnchen-3ya.example"),
        ("ana@localhost", "ana@localhost"),
    ],
)
def test_addresses(text: str, expected: str) -> None:
    """Ordinary addresses pass; international domains in their ASCII form."""
    address = messages.parse_address(text)
    assert address is not None
    assert address.addr_spec == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "ana", "ana@", "@example.org", "a@b@c", "ana@example.org\nBcc: eve@example.org", "ana@exam ple.org",
        "ana@example.org, eve@example.org", "Ana <ana@example.org>", "ana@example.org\0", "ana@-example.org",
        "ana@example..org", ".ana@example.org", "ana.@example.org", "a..b@example.org", "ana\r@example.org",
        '"a b"@example.org', "ana@[127.0.0.1]", "ana(x)@example.org", "x" * 65 + "@example.org",
        "ana@" + "x" * 64 + ".org", "ana@" + "x." * 200 + "org", "aña@example.org", "=?utf-8?q?a?=@example.org\r\n",
        "ana@" + "ü" * 300,
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    """Lists, names, line breaks, comments, quoted parts, overlong parts: no address."""
    assert messages.parse_address(text) is None


@given(st.text(max_size=80))
def test_any_text_makes_one_address_or_none(text: str) -> None:
    """Whatever the source holds, one address without control characters comes out, or None."""
    address = messages.parse_address(text)
    assert address is None or (address.addr_spec.isprintable() and address.addr_spec.count("@") == 1)


@pytest.mark.parametrize("text", ["", "nobody", "a@example.org, b@example.org", "x\n <a@example.org>"])
def test_a_sender_is_one_address(text: str) -> None:
    """`notify.sender` is checked before anything is sent."""
    with pytest.raises(ConfigError, match=r"notify\.sender"):
        messages.parse_sender(text)


def test_a_sender_may_have_a_name() -> None:
    """A display name is kept."""
    assert str(messages.parse_sender("Ünser Dienst <no-reply@example.org>")) == "Ünser Dienst <no-reply@example.org>"


def test_keys_are_stable_and_apart() -> None:
    """The key depends on campaign, account, notice and channel, each of them, and on nothing else."""
    base = ["c", "ref", "cutover", "maildir"]
    key = messages.idempotency_key(*base)
    assert key == messages.idempotency_key(*base)
    changed = [["other" if i == j else part for j, part in enumerate(base)] for i in range(4)]
    others = {messages.idempotency_key(*parts) for parts in changed}
    assert len(others | {key}) == 5
    assert messages.idempotency_key("c", "r", "ef", "x") != messages.idempotency_key("c", "re", "f", "x")


# --- the message ---

SENDER = messages.parse_sender("Dienst <no-reply@example.org>")
TO = Address(addr_spec="ana@example.org")
WHEN = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def _rendered(
    subject: str = "Ihre Unterhaltungen 変更", body: str = "Größe\n", html: str = "<p>مرحبا</p>\n"
) -> Rendered:
    template = Template(notice_id="cutover", version="2", locale="de", sha256="", source=b"", file="f")
    return Rendered(template=template, subject=subject, body=body, html=html, sha256="")


def test_text_and_html_are_alternatives() -> None:
    """RFC 2046: the text first, the HTML last; the subject is encoded, the language named; all survives the wire."""
    headers = {**messages.automatic("key", SENDER, WHEN), "Feedback-ID": "wave-1"}
    message = messages.compose(_rendered(), sender=SENDER, to=TO, headers=headers)
    read = message_from_bytes(message.as_bytes(policy=policy.SMTP), policy=policy.default)
    assert read.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in read.iter_parts()] == ["text/plain", "text/html"]
    assert [part.get_content() for part in read.iter_parts()] == ["Größe\r\n", "<p>مرحبا</p>\r\n"]
    assert (read["Subject"], read["Content-Language"]) == ("Ihre Unterhaltungen 変更", "de")
    assert (read["Message-ID"], read["Auto-Submitted"]) == ("<key@example.org>", "auto-generated")
    assert (read["Feedback-ID"], read["Date"].datetime) == ("wave-1", WHEN)
    assert message.as_bytes(policy=policy.SMTP).isascii()


@pytest.mark.parametrize("name", ["X-Note", "Subject", "Message-ID"])
@pytest.mark.parametrize("value", ["a\r\nBcc: eve@example.org", "a\nBcc: eve@example.org", "a\r\n\r\nbody"])
def test_no_header_can_be_injected(name: str, value: str) -> None:
    """A line break in a value is refused, not folded into another header."""
    with pytest.raises(ValueError, match=r"."):
        messages.compose(_rendered(), sender=SENDER, to=TO, headers={name: value})
    with pytest.raises(ValueError, match=r"."):
        messages.compose(_rendered(subject=value), sender=SENDER, to=TO, headers={})


@pytest.mark.parametrize("name", ["From", "To", "Subject"])
def test_what_is_written_once_stays_so(name: str) -> None:
    """Whoever adds headers can't add a second sender, reader or subject."""
    with pytest.raises(ValueError, match="may be at most"):
        messages.compose(_rendered(), sender=SENDER, to=TO, headers={name: "x@example.org"})


@given(st.text(max_size=60))
def test_any_platform_name_makes_one_subject(platform: str) -> None:
    """A value in the subject never becomes a header of its own, whatever it holds."""
    subject = language.check(b"Subject: On {{ platform }}\n\nA\n", "f").render({"platform": platform}).subject
    message = messages.compose(_rendered(subject=subject), sender=SENDER, to=TO, headers={})
    read = message_from_bytes(message.as_bytes(policy=policy.SMTP), policy=policy.default)
    assert sorted(read.keys()) == ["Content-Language", "Content-Type", "From", "MIME-Version", "Subject", "To"]


@given(st.text(max_size=60))
def test_any_sender_makes_one_header_or_none(name: str) -> None:
    """Names come from settings and are trusted with nothing either."""
    try:
        sender = messages.parse_sender(f"{name} <no-reply@example.org>")
    except ConfigError:
        return
    message = messages.compose(_rendered(), sender=sender, to=TO, headers={})
    read = message_from_bytes(message.as_bytes(policy=policy.SMTP), policy=policy.default)
    assert sorted(read.keys()) == ["Content-Language", "Content-Type", "From", "MIME-Version", "Subject", "To"]
    assert [address.addr_spec for address in read["From"].addresses] == ["no-reply@example.org"]
