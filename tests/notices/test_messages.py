"""Notices as mail: addresses that can be trusted, headers that can't be injected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.errors import ConfigError
from migrator.notices import messages


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
