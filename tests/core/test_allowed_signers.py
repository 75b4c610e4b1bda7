"""OpenSSH's file of allowed signers: who is named, when, for what; and lines that name nobody."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core import allowed_signers
from migrator.core.allowed_signers import AllowedSignersError
from tests.support.operators import ALICE, BOB, line

MAY = datetime(2026, 5, 1, tzinfo=UTC)


def test_lines_comments_and_blank_lines() -> None:
    """One person may have several names; a comment may follow the key."""
    text = f"# who may approve\n\n{line('alice@example.org,alice', ALICE)}  {line('bob', BOB).strip()} bob's laptop\n"
    alice, bob = allowed_signers.parse(text)
    assert alice.name == "alice@example.org"
    assert alice.principals == frozenset({"alice@example.org", "alice"})
    assert bob.name == "bob"
    assert alice.public_key != bob.public_key


@pytest.mark.parametrize(
    ("options", "at", "may"),
    [
        ("", MAY, True),
        ('namespaces="git,migrator-plan"', MAY, True),
        ('namespaces="git"', MAY, False),
        ('valid-after="20260501Z"', MAY, True),
        ('valid-after="20260501000001Z"', MAY, False),
        ('valid-before="20260501Z"', MAY, False),
        ('valid-before="202605010001Z"', MAY, True),
        ('namespaces="migrator-plan",valid-after="20260101Z",valid-before="20270101Z"', MAY, True),
        ('Valid-Before="20200101Z"', MAY, False),
    ],
)
def test_options(options: str, at: datetime, may: bool) -> None:
    """Namespaces, and the time from and until which a key counts."""
    (signer,) = allowed_signers.parse(line("alice", ALICE, options))
    assert signer.may_sign("migrator-plan", at) is may


def test_names_in_quotes() -> None:
    """As OpenSSH has it: a principals field may be quoted."""
    (signer,) = allowed_signers.parse(line('"alice,root"', ALICE))
    assert signer.principals == {"alice", "root"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (line("*@example.org", ALICE), "nobody in particular"),
        (line("alice,!bob", ALICE), "nobody in particular"),
        (line("alice", ALICE, "cert-authority"), "cert-authority"),
        (line("alice", ALICE, "frobnicate"), "frobnicate"),
        (line("alice", ALICE, 'namespaces="a",namespaces="b"'), "once each"),
        (line("alice", ALICE, 'valid-before="20260501"'), "time zone"),
        (line("alice", ALICE, 'valid-before="20261301Z"'), "a time reads"),
        (line("alice", ALICE, 'namespaces="git'), "line 1"),
        ("alice\n", "line 1"),
        ("alice ssh-ed25519\n", "line 1"),
        ("alice ssh-ed25519 AAAA\n", "no key of type"),
        ("alice ssh-ed25519 ü\n", "no key of type"),
        (line("alice", ALICE).replace("ssh-ed25519 ", "ssh-rsa "), "no key of type"),
        ("\n" + line("a", ALICE) + "what is this\n", "line 3"),
    ],
)
def test_lines_that_name_nobody(text: str, reason: str) -> None:
    """The error has the line's number and what is wrong."""
    with pytest.raises(AllowedSignersError, match=reason):
        allowed_signers.parse(text)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else comes of it, and nobody is named who has no key."""
    with suppress(AllowedSignersError):
        assert all(signer.public_key for signer in allowed_signers.parse(text))
