"""Sending: each account once, recorded as it was, whatever happens in between."""

import hashlib
import json
import os
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.channels.interface import Accepted, Answer, Dispatch, Rejected
from migrator.channels.maildir import MaildirChannel
from migrator.core.clock import FixedClock, format_time
from migrator.core.errors import ChannelError, ConfigError, UsageError
from migrator.database import tables
from migrator.notices import sending, status, templates, testing
from migrator.notices.pacing import Pacer
from migrator.notices.sending import SendOptions, SendResult
from tests.channels.test_maildir import read_maildir
from tests.notices.support import (
    NOW,
    PLAIN,
    account_row,
    notice_rows,
    opened,
    own_templates,
    put_accounts,
    shown_sha256,
)

KILLED = 77


def _send(campaign: Campaign, notice_id: str | None = None, **options: Any) -> SendResult:
    return sending.send(campaign, SendOptions(notice_id=notice_id, **options), pacer=Pacer(1e9))


def _mail(folder: Path) -> dict[str, EmailMessage]:
    """What is in the outbox by reader; fails if somebody has two messages."""
    found = read_maildir(folder / "outbox") if (folder / "outbox").exists() else []
    by_reader = {str(message["To"]): message for message in found}
    assert len(by_reader) == len(found)
    return by_reader


def _events(campaign: Campaign, noun: str) -> list[dict[str, Any]]:
    return [entry for line in campaign.audit.lines() if (entry := json.loads(line))["type"].startswith(noun)]


def test_everybody_gets_one(tmp_path: Path) -> None:
    """Each account once, in its language, with its text's digest; a second send says `already`."""
    rows = [account_row("ana", locale="de-AT"), account_row("ben", locale=""), account_row("chika", locale="ja")]
    with opened(tmp_path, rows) as campaign:
        assert _send(campaign) == SendResult(sent=3)
        assert _send(campaign) == SendResult(already=3)
        mail = _mail(tmp_path)
        recorded = notice_rows(campaign)
    assert {reader: m["Content-Language"] for reader, m in mail.items()} == {
        "ana@example.org": "de",
        "ben@example.org": "en",
        "chika@example.org": "ja",
    }
    for account_id, row in recorded.items():
        message = mail[f"{account_id}@example.org"]
        assert (row["state"], row["sent_at"], row["message_id"]) == ("sent", format_time(NOW), message["Message-ID"])
        assert row["rendered_sha256"] == shown_sha256(message)
        assert message["Auto-Submitted"] == "auto-generated"
        assert account_id not in message["Message-ID"]


def test_what_went_out_is_published(tmp_path: Path) -> None:
    """Only the templates that somebody was sent are published, with their text and digest."""
    with opened(tmp_path, [account_row("ana", locale="de")]) as campaign:
        _send(campaign)
        with campaign.database.read() as connection:
            (row,) = connection.execute(sa.select(tables.notice_template)).mappings()
        catalogue = templates.catalogue(campaign.settings, tmp_path)
        template = templates.current(catalogue, "cutover")["de"]
        assert (row["locale"], row["sha256"], row["source"]) == ("de", template.sha256, template.source.decode())
        (published,) = _events(campaign, "dev.migrator.notice.published")
    assert published["data"] == {"notice_id": "cutover", "version": "2", "locale": "de", "sha256": template.sha256}


def test_the_audit_log_counts_and_names_nobody(tmp_path: Path) -> None:
    """One event a page with counts by language and a digest over the recipients; no ids, no addresses."""
    rows = [account_row("ana", locale="de"), account_row("ben"), account_row("cleo", email=None)]
    with opened(tmp_path, rows) as campaign:
        _send(campaign)
        (event,) = _events(campaign, "dev.migrator.notice.sent")
        (failed,) = _events(campaign, "dev.migrator.notice.failed")
        with campaign.database.read() as connection:
            references = campaign.references.accounts(connection, ["ana", "ben"])
        lines = sorted(
            f"{references[a]} {row['rendered_sha256']}\n" for a, row in notice_rows(campaign).items() if a != "cleo"
        )
        log = campaign.audit.path.read_text()
    assert event["data"]["sent"] == 2
    assert event["data"]["locales"] == {"de": 1, "en": 1}
    assert event["data"]["recipients_sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert failed["data"]["reasons"] == {"unreachable": 1}
    assert not any(name in log for name in ("ana", "ben@", "cleo", "example.org"))


def test_who_cannot_be_told(tmp_path: Path) -> None:
    """No address, a hostile address, a language without template: recorded with the reason, counted, nothing sent."""
    rows = [
        account_row("none", email=None),
        account_row("hostile", email="a@example.org\nBcc: eve@example.org"),
        account_row("two", email="a@example.org, b@example.org"),
        account_row("swedish", locale="sv"),
        account_row("odd", locale="%s" * 300),
        account_row("fine"),
    ]
    with opened(tmp_path, rows) as campaign:
        assert _send(campaign) == SendResult(sent=1, unreachable=3, blocked=2)
        found = {account_id: (row["state"], row["detail"]) for account_id, row in notice_rows(campaign).items()}
        assert len(_events(campaign, "dev.migrator.notice.failed")) == 1
        assert _send(campaign) == SendResult(already=1, unreachable=3, blocked=2)
        assert len(_events(campaign, "dev.migrator.notice.failed")) == 1
    assert found == {
        "none": ("unreachable", "no address"),
        "hostile": ("unreachable", "invalid address"),
        "two": ("unreachable", "invalid address"),
        "swedish": ("blocked", "unavailable locale"),
        "odd": ("blocked", "unavailable locale"),
        "fine": ("sent", None),
    }
    assert list(_mail(tmp_path)) == ["fine@example.org"]


def test_the_unreached_are_tried_again(tmp_path: Path) -> None:
    """An address or a translation that comes later makes the next send reach them, and them only."""
    rows = [account_row("ana", email=None), account_row("sven", locale="sv"), account_row("ben")]
    notify = own_templates(tmp_path, cutover_1_en=PLAIN)
    with opened(tmp_path, rows, notify=notify) as campaign:
        _send(campaign)
        put_accounts(tmp_path, [account_row("ana")])
        own_templates(tmp_path, cutover_1_sv=PLAIN)
        assert _send(campaign) == SendResult(sent=2, already=1)
        assert {row["state"] for row in notice_rows(campaign).values()} == {"sent"}
    assert len(_mail(tmp_path)) == 3


def test_an_id_that_no_database_takes_costs_itself_only(tmp_path: Path) -> None:
    """An account with a NUL in its id is counted as failed, the others are told."""
    with opened(tmp_path, [account_row("a\0b", email="x@example.org"), account_row("ben")]) as campaign:
        result = _send(campaign)
    assert result.sent == 1
    assert list(_mail(tmp_path)) == ["ben@example.org"]


def test_a_new_version_is_not_sent_to_those_who_were_told(tmp_path: Path) -> None:
    """One message per account and notice; the next version goes to the others."""
    notify = own_templates(tmp_path, cutover_1_en=PLAIN)
    with opened(tmp_path, [account_row("ana"), account_row("ben", email=None)], notify=notify) as campaign:
        _send(campaign)
        own_templates(tmp_path, cutover_2_en=PLAIN.replace("About", "Second"))
        put_accounts(tmp_path, [account_row("ben")])
        assert _send(campaign) == SendResult(sent=1, already=1)
        assert {a: row["version"] for a, row in notice_rows(campaign).items()} == {"ana": "1", "ben": "2"}


def test_a_published_text_cannot_change(tmp_path: Path) -> None:
    """The same id, version and locale with another text is refused before anything is sent."""
    notify = own_templates(tmp_path, cutover_1_en=PLAIN)
    with opened(tmp_path, [account_row("ana")], notify=notify) as campaign:
        _send(campaign)
        put_accounts(tmp_path, [account_row("ben")])
        own_templates(tmp_path, cutover_1_en=PLAIN + "More.\n")
        with pytest.raises(ConfigError, match="was changed") as caught:
            _send(campaign)
    assert "cutover.1.en.txt" in caught.value.message
    assert "next version" in caught.value.hint
    assert list(_mail(tmp_path)) == ["ana@example.org"]


def test_another_notice_is_another_message(tmp_path: Path) -> None:
    """Notices are apart: one account can have several."""
    notify = own_templates(tmp_path, reminder_1_en=PLAIN)
    with opened(tmp_path, [account_row("ana")], notify=notify) as campaign:
        assert _send(campaign) == SendResult(sent=1)
        assert _send(campaign, "reminder") == SendResult(sent=1)
        with pytest.raises(UsageError, match="no notice"):
            _send(campaign, "unknown")
    assert len(read_maildir(tmp_path / "outbox")) == 2


def test_a_correction_is_for_those_who_were_told(tmp_path: Path) -> None:
    """Who has had no notice yet gets the right one, not word of a wrong one; each gets one correction."""
    with opened(tmp_path, [account_row("ana")]) as campaign:
        assert _send(campaign).sent == 1
        put_accounts(tmp_path, [account_row("late")])
        assert _send(campaign, "correction") == SendResult(sent=1, already=1)
        assert _send(campaign, "correction") == SendResult(already=2)
        assert [m["To"] for m in read_maildir(tmp_path / "outbox")] == ["ana@example.org"] * 2
        assert _send(campaign).sent == 1


def test_what_an_older_program_had_published_can_be_read_no_more(tmp_path: Path) -> None:
    """A notice that was queued in words that are no template today is decided anew, in those of today."""
    with opened(tmp_path, [account_row("ana")]) as campaign:
        _send(campaign)
        with campaign.database.write("notices-sent") as connection:
            connection.execute(
                tables.notice_template.update().values(source="Subject: S\n\n{% if minor %}A{% endif %}\n")
            )
            connection.execute(tables.notice_template.update().values(version="1"))
            connection.execute(
                tables.notice.update().values(version="1", state="queued", sent_at=None, accepted_at=None)
            )
        assert _send(campaign).sent == 1
        assert notice_rows(campaign)["ana"]["version"] == "2"


@pytest.mark.parametrize("sender", ["nobody", "a@example.org, b@example.org"])
def test_a_bad_sender_sends_nothing(tmp_path: Path, sender: str) -> None:
    """The setting is refused before the first account is looked at."""
    with opened(tmp_path, [account_row("ana")], notify={"sender": sender}) as campaign:
        with pytest.raises(ConfigError, match=r"notify\.sender"):
            _send(campaign)
        assert notice_rows(campaign) == {}


def test_pages_follow_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More accounts than fit in a page are all told, an event for each page."""
    monkeypatch.setattr(sending, "PAGE", 4)
    with opened(tmp_path, [account_row(f"a{n:02}") for n in range(10)]) as campaign:
        assert _send(campaign) == SendResult(sent=10)
        assert [event["data"]["sent"] for event in _events(campaign, "dev.migrator.notice.sent")] == [4, 4, 2]


# --- when something happens in between ---


def _die_while_sending(folder: Path, when: Callable[[Campaign], None]) -> None:
    """Send in another process, which is made to end without clean-up."""
    child = os.fork()
    if child == 0:
        with opened(folder) as campaign:
            when(campaign)
            _send(campaign)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


@pytest.mark.parametrize(
    ("label", "moment"),
    [("notices-queue", "before"), ("notices-queue", "after"), ("notices-sent", "before"), ("notices-sent", "after"),
     ("audit-wal-sync", "before"), ("audit-acknowledge", "after")],
)  # fmt: skip
def test_killed_at_a_commit(tmp_path: Path, label: str, moment: str) -> None:
    """Wherever it dies, the next send completes: one message each, one event each, the evidence true."""
    with opened(tmp_path, [account_row("ana"), account_row("ben", locale="de")]):
        pass

    def when(campaign: Campaign) -> None:
        def boundary(at: str, at_moment: str) -> None:
            if (at, at_moment) == (label, moment):
                os._exit(KILLED)

        campaign.database.boundary = boundary

    _die_while_sending(tmp_path, when)
    _check_completed(tmp_path)


@pytest.mark.parametrize("delivered", [0, 1, 2])
def test_killed_between_deliveries(tmp_path: Path, delivered: int) -> None:
    """What had been delivered, read and moved by its reader is not delivered again."""
    with opened(tmp_path, [account_row("ana"), account_row("ben", locale="de")]):
        pass

    def when(_: Campaign) -> None:
        real = MaildirChannel.send
        count = 0

        def send(self: MaildirChannel, dispatch: Dispatch) -> Answer:
            nonlocal count
            if count == delivered:
                os._exit(KILLED)
            answer = real(self, dispatch)
            count += 1
            if count == 2:
                os._exit(KILLED)
            return answer

        MaildirChannel.send = send  # type: ignore[method-assign]

    _die_while_sending(tmp_path, when)
    outbox = tmp_path / "outbox"
    for path in (outbox / "new").iterdir() if outbox.exists() else ():
        path.rename(outbox / "cur" / f"{path.name}:2,S")
    _check_completed(tmp_path)


def _check_completed(folder: Path) -> None:
    with opened(folder) as campaign:
        result = _send(campaign)
        assert result.sent + result.already == 2
        assert sum(event["data"]["sent"] for event in _events(campaign, "dev.migrator.notice.sent")) == 2
        assert len(_events(campaign, "dev.migrator.notice.published")) == 2
        mail = _mail(folder)
        assert len(mail) == 2
        for account_id, row in notice_rows(campaign).items():
            message = mail[f"{account_id}@example.org"]
            assert row["state"] == "sent"
            assert row["rendered_sha256"] == shown_sha256(message)


def test_a_crash_then_a_new_version(tmp_path: Path) -> None:
    """What a killed process had delivered stays the evidence, also where a newer template has come since."""
    notify = own_templates(tmp_path, cutover_1_en=PLAIN)
    with opened(tmp_path, [account_row("ana")], notify=notify) as campaign:
        _send(campaign)
        with campaign.database.write("test") as connection:
            connection.execute(tables.notice.update().values(state="queued", sent_at=None))
        own_templates(tmp_path, cutover_2_en=PLAIN.replace("About", "Second"))
        campaign.clock = FixedClock(NOW + timedelta(days=3))
        assert _send(campaign) == SendResult(sent=1)
        row = notice_rows(campaign)["ana"]
    message = _mail(tmp_path)["ana@example.org"]
    assert row["version"] == "1"
    assert row["sent_at"] == format_time(NOW + timedelta(days=3))
    assert row["rendered_sha256"] == shown_sha256(message)


def _channel_that(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], Accepted | Rejected]) -> None:
    real = MaildirChannel.send

    def send(self: MaildirChannel, dispatch: Dispatch) -> Answer:
        given = answer(str(dispatch.message["To"]))
        return real(self, dispatch) if isinstance(given, Accepted) else given

    monkeypatch.setattr(MaildirChannel, "send", send)


def test_a_refused_notice_costs_itself_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the channel rejects is recorded as failed; another address, or an operator, makes it go out again."""
    with opened(tmp_path, [account_row("ana"), account_row("ben"), account_row("cleo")]) as campaign:
        with monkeypatch.context() as patch:
            _channel_that(patch, lambda to: Rejected("mailbox full") if to.startswith("ben") else Accepted())
            assert _send(campaign) == SendResult(sent=2, failed=1)
            row = notice_rows(campaign)["ben"]
            assert (row["state"], row["detail"], row["sent_at"]) == ("failed", "mailbox full", None)
            assert _events(campaign, "dev.migrator.notice.failed")[0]["data"]["reasons"] == {"failed": 1}
            assert _send(campaign) == SendResult(already=2, given_up=1)
            put_accounts(tmp_path, [account_row("ben", email="ben.new@example.org")])
            assert _send(campaign) == SendResult(already=2, failed=1)
        assert _send(campaign, retry_failed=True) == SendResult(sent=1, already=2)
    assert sorted(_mail(tmp_path)) == ["ana@example.org", "ben.new@example.org", "cleo@example.org"]


def test_a_channel_that_fails_keeps_what_got_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised, those before it are recorded and reported, the next send goes on with the others."""

    def answer(to: str) -> Accepted | Rejected:
        if to.startswith("ben"):
            raise ChannelError("the channel is down")
        return Accepted()

    with opened(tmp_path, [account_row("ana"), account_row("ben"), account_row("cleo")]) as campaign:
        with monkeypatch.context() as patch:
            _channel_that(patch, answer)
            with pytest.raises(ChannelError) as caught:
                _send(campaign)
            assert "is recorded" in caught.value.changed
        assert {a: row["state"] for a, row in notice_rows(campaign).items()} == {
            "ana": "sent", "ben": "queued", "cleo": "queued",
        }  # fmt: skip
        assert len(_events(campaign, "dev.migrator.notice.sent")) == 1
        assert _send(campaign) == SendResult(sent=2, already=1)
    assert len(_mail(tmp_path)) == 3


def test_the_rate_is_kept(tmp_path: Path) -> None:
    """Every delivery asks the pacer first; those who are not told don't."""

    class Counting(Pacer):
        count = 0

        def wait(self) -> None:
            self.count += 1

    pacer = Counting(1.0)
    with opened(tmp_path, [account_row("ana"), account_row("ben"), account_row("cleo", email=None)]) as campaign:
        sending.send(campaign, pacer=pacer)
        sending.send(campaign, pacer=pacer)
    assert pacer.count == 2


# --- tests and status ---


def test_a_test_notice_counts_for_nobody(tmp_path: Path) -> None:
    """It arrives, marked; nothing is recorded, published or put in the audit log; each is a message of its own."""
    with opened(tmp_path, []) as campaign:
        size = campaign.audit.state().size
        testing.send_test(campaign, "ops@example.org", locale="fr")
        testing.send_test(campaign, "ops@example.org")
        assert notice_rows(campaign) == {}
        with campaign.database.read() as connection:
            assert connection.execute(sa.select(tables.notice_template)).first() is None
        campaign.audit.flush()
        assert campaign.audit.state().size == size
        with pytest.raises(UsageError, match="address"):
            testing.send_test(campaign, "not an address")
    found = read_maildir(tmp_path / "outbox")
    assert sorted(str(message["Content-Language"]) for message in found) == ["en", "fr"]
    assert all(str(message["Subject"]).startswith("[TEST] ") for message in found)


def test_status_counts_every_account(tmp_path: Path) -> None:
    """States by locale, who is unreachable, who waits, and when it began and ended."""
    rows = [account_row("ana", locale="de-AT"), account_row("ben", email=None), account_row("sven", locale="sv"),
            account_row("odd", locale="?")]  # fmt: skip
    with opened(tmp_path, rows) as campaign:
        before = status.status(campaign)
        assert (before.accounts, before.waiting, before.first_sent_at) == (4, 4, None)
        _send(campaign)
        put_accounts(tmp_path, [account_row("late")])
        found = status.status(campaign)
        with pytest.raises(UsageError):
            status.status(campaign, notice_id="unknown")
    assert (found.accounts, found.waiting) == (5, 1)
    assert found.states == {
        "queued": 0,
        "sent": 1,
        "unreachable": 1,
        "blocked": 2,
        "failed": 0,
        "bounced": 0,
        "expired": 0,
    }
    assert found.locales == {
        "de-AT": {"sent": 1},
        "en": {"unreachable": 1},
        "sv": {"blocked": 1},
        "und": {"blocked": 1},
    }
    assert found.first_sent_at == found.last_sent_at == NOW
