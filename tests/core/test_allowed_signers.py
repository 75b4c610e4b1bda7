"""OpenSSH's file of allowed signers: who is named, when, for what; and lines that name nobody."""

import shutil
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core import allowed_signers, sshsig
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


@pytest.mark.parametrize(
    ("patterns", "may"),
    [
        ("migrator-*", True),
        ("*", True),
        ("migrator-pla?", True),
        ("migrator-plan?", False),
        ("migrator", False),
        ("migrator-plan,!migrator-plan", False),
        ("!migrator-plan,*", False),
        ("*,!migrator-*", False),
        ("!git", False),
        ("!git,*", True),
        ("migrator.plan", False),
        ("git, migrator-plan", False),
        ("MIGRATOR-PLAN", False),
        ("", False),
    ],
)
def test_namespaces_are_patterns_as_openssh_has_them(patterns: str, may: bool, tmp_path: Path) -> None:
    """What `!` excludes is excluded wherever it stands; `ssh-keygen -Y verify` decides the same."""
    text = line("alice", ALICE, f'namespaces="{patterns}"')
    (signer,) = allowed_signers.parse(text)
    assert signer.may_sign("migrator-plan", MAY) is may
    if (keygen := shutil.which("ssh-keygen")) is not None:
        (tmp_path / "allowed").write_text(text, encoding="utf-8")
        (tmp_path / "sig").write_bytes(sshsig.sign(ALICE, b"a plan", "migrator-plan"))
        command = [keygen, "-Y", "verify", "-f", "allowed", "-I", "alice", "-n", "migrator-plan", "-s", "sig"]
        done = subprocess.run(command, input=b"a plan", capture_output=True, check=False, cwd=tmp_path)
        assert (done.returncode == 0) is may


def test_lines_end_as_openssh_has_them() -> None:
    """With a line feed, or what Windows writes; nobody hides behind another separator in a comment."""
    hidden = line("alice", ALICE).strip() + f" laptop\u2028{line('mallory', BOB).strip()}\x0b{line('eve', BOB)}"
    assert [signer.name for signer in allowed_signers.parse(hidden)] == ["alice"]
    crlf = (line("alice", ALICE) + "\n" + line("bob", BOB, 'valid-before="20270101Z"')).replace("\n", "\r\n")
    assert [signer.name for signer in allowed_signers.parse(crlf)] == ["alice", "bob"]


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
        ("\ufeff" + line("alice", ALICE), "invisible"),
        (line("al\u200bice", ALICE), "invisible"),
        (line('"alice","bob"', ALICE), "quotes"),
        (line('al"ic"e', ALICE), "quotes"),
        ("alice ssh-rsa-cert-v01@openssh.com AAAA\n", "certificate"),
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
