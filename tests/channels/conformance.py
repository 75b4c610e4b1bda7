"""What every notice channel must do: subclass `ChannelConformance` and say how to open it and what arrived."""

import os
from collections.abc import Iterator
from dataclasses import replace
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path

import pytest

from migrator.channels.interface import Accepted, Dispatch, NoticeChannel
from migrator.core.secret import Secret

KILLED = 77


def no_secrets(reference: str) -> Secret:
    """A resolver for channels that need none."""
    raise AssertionError(f"nobody asked for {reference}")


def make_dispatch(key: str, body: str = "A notice.\n", **headers: str) -> Dispatch:
    """A dispatch as the notices service makes them."""
    message = EmailMessage()
    message["From"] = Address("", "no-reply", "example.org")
    message["To"] = Address("", "ana", "example.org")
    message["Message-ID"] = f"<{key}@example.org>"
    for name, value in {"Subject": "About your chats", **headers}.items():
        message[name] = value
    message.set_content(body)
    return Dispatch(idempotency_key=key, account_id="ana", message=message)


class ChannelConformance:
    """The port's promises, kept by each implementation."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Where the channel lives."""
        return tmp_path

    @pytest.fixture(autouse=True)
    def _closed(self) -> Iterator[None]:
        """Channels that a test opened are closed after it."""
        self._opened: list[NoticeChannel] = []
        yield
        for channel in self._opened:
            channel.close()

    def open(self, folder: Path) -> NoticeChannel:
        """The channel, as a process opens it; closed at the end."""
        channel = self.opened(folder)
        self._opened.append(channel)
        return channel

    def opened(self, folder: Path) -> NoticeChannel:
        """The channel, as a process opens it."""
        raise NotImplementedError

    def arrived(self, folder: Path) -> list[EmailMessage]:
        """Every message that a reader would find."""
        raise NotImplementedError

    def test_a_notice_arrives_as_it_was_sent(self, folder: Path) -> None:
        """Headers and text come through in any script; long lines and dots at line starts too."""
        body = "Grüße\n.\n..\nFrom here\n" + "長い文" * 400 + "\nتغيير\n"
        assert self.open(folder).send(make_dispatch("k1", body, Subject="Änderung 変更 تغيير")) == Accepted()
        (message,) = self.arrived(folder)
        assert message.get_content() == body
        assert message["Subject"] == "Änderung 変更 تغيير"
        assert message["To"] == "ana@example.org"
        assert message["Message-ID"] == "<k1@example.org>"

    def test_the_same_key_can_be_told(self, folder: Path) -> None:
        """A second dispatch under a key makes no second message, or one that is known for the same by its id."""
        channel = self.open(folder)
        for opened in (channel, channel, self.open(folder)):
            assert opened.send(make_dispatch("k1")) == Accepted()
        arrived = self.arrived(folder)
        assert {message["Message-ID"] for message in arrived} == {"<k1@example.org>"}
        assert len(arrived) == 1 or not channel.remembers

    def test_different_keys_arrive_apart(self, folder: Path) -> None:
        """Each key is a message of its own."""
        keys = ["a", "A", "a-b", "ab", "a" * 500]
        channel = self.open(folder)
        for key in keys:
            dispatch = replace(make_dispatch("any"), idempotency_key=key)
            assert channel.send(dispatch) == Accepted()
        assert len(self.arrived(folder)) == len(keys)

    def test_accepted_means_delivered_for_good(self, folder: Path) -> None:
        """A process that ends without clean-up right after `send` has delivered."""
        child = os.fork()
        if child == 0:
            self.open(folder).send(make_dispatch("k1"))
            os._exit(KILLED)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
        assert len(self.arrived(folder)) == 1
        channel = self.open(folder)
        channel.send(make_dispatch("k1"))
        assert len(self.arrived(folder)) == 1 or not channel.remembers
