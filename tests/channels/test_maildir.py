"""Notices into a Maildir."""

import email
import mailbox
import os
import stat
from dataclasses import replace
from email import policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from migrator.channels.interface import ChannelAddress, NoticeChannel
from migrator.channels.maildir import MaildirChannel
from migrator.core.errors import ChannelError, ConfigError
from tests.channels.conformance import ChannelConformance, make_dispatch, no_secrets


def open_maildir(address: str, folder: Path) -> MaildirChannel:
    """The channel of an address."""
    return MaildirChannel.open(ChannelAddress.parse(address), directory=folder, resolve=no_secrets)


class TestMaildir(ChannelConformance):
    """The port's promises."""

    def opened(self, folder: Path) -> NoticeChannel:
        return open_maildir("maildir:outbox", folder)

    def arrived(self, folder: Path) -> list[EmailMessage]:
        return read_maildir(folder / "outbox")


def read_maildir(root: Path) -> list[EmailMessage]:
    """Every message, as another program's Maildir reader finds them."""
    box = mailbox.Maildir(root, create=False)
    try:
        return [email.message_from_bytes(box.get_bytes(key), policy=policy.default) for key in sorted(box.keys())]
    finally:
        box.close()


def test_recognised_after_a_reader_took_it(tmp_path: Path) -> None:
    """A notice that was moved to `cur` and flagged is not delivered again."""
    open_maildir("maildir:outbox", tmp_path).send(make_dispatch("k1"))
    (delivered,) = (tmp_path / "outbox" / "new").iterdir()
    delivered.rename(tmp_path / "outbox" / "cur" / f"{delivered.name}:2,FS")
    open_maildir("maildir:outbox", tmp_path).send(make_dispatch("k1"))
    assert len(read_maildir(tmp_path / "outbox")) == 1


def test_two_processes_deliver_one(tmp_path: Path) -> None:
    """Channels that were opened before either delivered still make one message."""
    channels = [open_maildir("maildir:outbox", tmp_path) for _ in range(3)]
    for key in ("first", "second"):
        for channel in channels:
            channel.send(make_dispatch(key))
    assert len(read_maildir(tmp_path / "outbox")) == 2


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    """Messages have addresses in them: files 0600, folders 0700, nothing left in `tmp`."""
    open_maildir("maildir:outbox", tmp_path).send(make_dispatch("k1"))
    root = tmp_path / "outbox"
    (delivered,) = (root / "new").iterdir()
    assert stat.S_IMODE(delivered.stat().st_mode) == 0o600
    assert {stat.S_IMODE((root / folder).stat().st_mode) for folder in ("tmp", "new", "cur")} == {0o700}
    assert list((root / "tmp").iterdir()) == []


def test_the_name_does_not_tell_the_key(tmp_path: Path) -> None:
    """A listing of the folder shows digests only."""
    open_maildir("maildir:outbox", tmp_path).send(make_dispatch("account-7"))
    (delivered,) = (tmp_path / "outbox" / "new").iterdir()
    assert "account-7" not in delivered.name


def test_opening_makes_nothing(tmp_path: Path) -> None:
    """A check that the channel opens leaves no trace."""
    open_maildir("maildir:outbox", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["", "a\0b", "file", "full", "x" * 5000])
def test_what_is_no_maildir_is_refused(tmp_path: Path, address: str) -> None:
    """No path, a file, a folder with other things in it: an error, and nothing written."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(ChannelError):
        open_maildir(f"maildir:{address}", tmp_path)
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == ["mine"]


def test_a_full_disk_is_the_channels_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails raises, leaves no message, and the next attempt delivers."""
    channel = open_maildir("maildir:outbox", tmp_path)

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    channel.send(make_dispatch("k0"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(ChannelError, match="No space left"):
            channel.send(make_dispatch("k1"))
    assert len(read_maildir(tmp_path / "outbox")) == 1
    channel.send(make_dispatch("k1"))
    assert len(read_maildir(tmp_path / "outbox")) == 2


def test_the_return_path_is_the_first_header(tmp_path: Path) -> None:
    """Whoever picks the mail up finds where bounces of this very notice are to go."""
    dispatch = replace(make_dispatch("k1"), return_path="bounces+k1@example.org")
    open_maildir("maildir:outbox", tmp_path).send(dispatch)
    (delivered,) = (tmp_path / "outbox" / "new").iterdir()
    assert delivered.read_bytes().startswith(b"Return-Path: <bounces+k1@example.org>\n")


def test_options_it_does_not_have(tmp_path: Path) -> None:
    """A slip in an option is an error; a `#` in a path that gives no option is part of the path."""
    with pytest.raises(ConfigError, match="password"):
        open_maildir("maildir:outbox#password=x", tmp_path)
    open_maildir("maildir:out#box#name=second", tmp_path).send(make_dispatch("k1"))
    assert len(read_maildir(tmp_path / "out#box")) == 1
