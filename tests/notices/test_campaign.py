"""A notice campaign through its days: schedule, answers, waves, failover, stops; over real servers, and killed."""

import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrator import lease
from migrator.campaign import Campaign
from migrator.channels.interface import Accepted, Answer, Deferred, Dispatch, Rejected
from migrator.channels.maildir import MaildirChannel
from migrator.core.clock import FixedClock, format_time
from migrator.core.errors import ChannelError, GateError, LeaseHeldError, UsageError
from migrator.database import tables
from migrator.notices import control, receipts, sending, status
from migrator.notices.pacing import Pacer
from migrator.notices.sending import SendOptions, SendResult
from migrator.notices.waves import Wave
from tests.notices.support import account_row, notice_rows, opened, put_accounts
from tests.support.mail_server import HOST, Mailbox, mail_server
from tests.support.receiver import receiver

SECRET = "whsec_" + "A" * 32


def _send(campaign: Campaign, **options: Any) -> SendResult:
    return sending.send(campaign, SendOptions(**options), pacer=Pacer(1e9))


def _at(campaign: Campaign, days: float) -> Campaign:
    """The same campaign, so many days from its cutover."""
    campaign.clock = FixedClock(campaign.settings.campaign.cutover_at + timedelta(days=days))
    return campaign


def _smtp(mailbox: Mailbox) -> str:
    return f"smtp://{HOST}:{mailbox.port}#tls=none"


@contextmanager
def _over(mailbox: Mailbox, folder: Path, names: list[str] | None, *channels: str, **notify: Any) -> Iterator[Campaign]:
    """A campaign over a mail server, and other channels after it."""
    rows = None if names is None else [account_row(name) for name in names]
    with opened(folder, rows, notify={"channel": [_smtp(mailbox), *channels], **notify}) as campaign:
        yield campaign


def _answer(campaign: Campaign, account: str, answer: str = "grant", **columns: Any) -> None:
    """An authorisation, as an import records it."""
    with campaign.database.write("test") as connection:
        connection.execute(
            tables.authorization.insert().values(
                record_id=f"record-{account}-{answer}", record_sha256="", account_id=account, answer=answer,
                covers_all=True, decided_at=format_time(campaign.clock.now()), notice_id="cutover", notice_version="1",
                notice_locale="en", recorded_at=format_time(campaign.clock.now()), record="", **columns,
            )
        )  # fmt: skip


def _kinds(campaign: Campaign) -> dict[str, list[str]]:
    """What each account was sent, in order of sending."""
    table = tables.notice.c
    found: dict[str, list[str]] = {}
    with campaign.database.read() as connection:
        query = sa.select(table.account_id, table.notice_id, table.occasion).where(table.state == "sent")
        for account, notice, occasion in connection.execute(query.order_by(table.sent_at, table.notice_id)):
            found.setdefault(account, []).append(f"{notice} {occasion}" if occasion.startswith("T") else notice)
    return found


def test_from_the_first_notice_to_the_last_call(tmp_path: Path) -> None:
    """By the day, each once, however often it runs; an answer ends reminders and is confirmed; so does an opt-out."""
    with opened(tmp_path, [account_row(name) for name in ("ana", "ben", "cleo")]) as campaign:
        for days in (-60, -60, -45, -30, -29.9):
            _send(_at(campaign, days))
        _answer(_at(campaign, -20), "ben")
        with campaign.database.write("test") as connection:
            connection.execute(tables.notice_preference.insert().values(account_id="cleo", reminders_off_at="2026"))
        for days in (-19, -14, -7, -3, -1, -0.5, 0):
            _send(_at(campaign, days))
        assert _kinds(campaign) == {
            "ana": ["cutover", "reminder T-30", "reminder T-14", "reminder T-7", "last_call"],
            "ben": ["cutover", "reminder T-30", "received"],
            "cleo": ["cutover", "reminder T-30", "last_call"],
        }


def test_a_reminder_by_name_is_for_who_has_not_answered(tmp_path: Path) -> None:
    """Sent by hand, it still spares those who answered or opted out; an opt-out is no answer to the last call."""
    with opened(tmp_path, [account_row(name) for name in ("ana", "ben", "cleo")]) as campaign:
        _send(_at(campaign, -60))
        _answer(campaign, "ana")
        with campaign.database.write("test") as connection:
            connection.execute(tables.notice_preference.insert().values(account_id="ben", reminders_off_at=""))
        assert _send(campaign, notice_id="reminder").sent == 1
        assert _send(campaign, notice_id="last_call").sent == 2
        assert _kinds(campaign) == {
            "ana": ["cutover"],
            "ben": ["cutover", "last_call"],
            "cleo": ["cutover", "last_call", "reminder"],
        }


def test_quiet_hours_and_who_came_late(tmp_path: Path) -> None:
    """Nobody is woken; who is new gets the first notice, not what others were sent before."""
    with opened(tmp_path, [account_row("ana")], notify={"quiet_hours": "21:00-08:00"}) as campaign:
        assert _send(_at(campaign, -10)) == SendResult(already=1)  # midnight UTC is 2 in the morning in Berlin
        assert _send(_at(campaign, -9.5)) == SendResult(sent=1)
        assert _send(_at(campaign, -9.4)) == SendResult(already=1)
        assert _kinds(campaign) == {"ana": ["cutover"]}


def test_guardians_are_told_as_such_and_answer_for_their_wards(tmp_path: Path) -> None:
    """A minor's reminders end with the guardian's record, not with its own grant; the guardian's with both records."""
    rows = [account_row("kid", age_band="minor", guardian_account_id="mum"), account_row("mum")]
    with opened(tmp_path, rows) as campaign:
        _send(_at(campaign, -60))
        _answer(_at(campaign, -50), "kid")
        _answer(campaign, "mum")
        _send(_at(campaign, -30))
        _answer(_at(campaign, -20), "kid", "refuse", guardian_id="mum")
        _send(_at(campaign, -14))
        kinds = _kinds(campaign)
    assert "reminder T-30" in kinds["kid"]
    assert "reminder T-30" in kinds["mum"]
    assert not any("T-14" in kind for kind in kinds["kid"] + kinds["mum"])
    assert kinds["mum"].count("received") == 2


def test_a_guardian_hears_of_each_ward(tmp_path: Path) -> None:
    """Records for two wards that are imported together are confirmed one by one."""
    kids = [account_row(name, age_band="minor", guardian_account_id="mum") for name in ("kid", "tot")]
    with opened(tmp_path, [*kids, account_row("mum")]) as campaign:
        _send(_at(campaign, -60))
        for kid in ("kid", "tot"):
            _answer(_at(campaign, -20), kid, guardian_id="mum")
        _send(campaign)
        assert _kinds(campaign)["mum"].count("received") == 2


def test_a_ward_that_has_come_of_age(tmp_path: Path) -> None:
    """Nobody is reminded of an answer for somebody who now answers alone, or whose guardian is another."""
    kids = [account_row(name, age_band="minor", guardian_account_id="mum") for name in ("kid", "tot")]
    with opened(tmp_path, [*kids, account_row("mum"), account_row("dad")]) as campaign:
        _send(_at(campaign, -60))
        _answer(campaign, "mum")
        put_accounts(tmp_path, [account_row("kid"), {**kids[1], "guardian_account_id": "dad"}])
        _send(_at(campaign, -30))
        kinds = _kinds(campaign)
    assert kinds["mum"] == ["cutover", "received"]
    assert kinds["kid"] == kinds["dad"] == ["cutover", "reminder T-30"]


def test_what_became_of_it(tmp_path: Path) -> None:
    """After the cutover and a completed run: moved or kept sealed; before that, nobody is told anything."""
    with opened(tmp_path, [account_row("ana"), account_row("ben"), account_row("cleo")]) as campaign:
        _send(_at(campaign, -60))
        assert _send(_at(campaign, 2)) == SendResult(already=3)
        run = {"run_id": "r", "run_no": 1, "plan_id": "p", "state": "completed", "generation": 1, "started_at": ""}
        with campaign.database.write("test") as connection:
            connection.execute(tables.run.insert().values(**run))
            control.write(connection, campaign.name, results_for="r None")
            results = [{"account_id": "ana", "moved": 2, "sealed": 1}, {"account_id": "ben", "moved": 0, "sealed": 1}]
            connection.execute(tables.notice_result.insert(), results)
        for days in (2.5, 3, 30, 31):
            _send(_at(campaign, days))
        assert _kinds(campaign) == {
            "ana": ["cutover", "done T+1", "kept_sealed T+30"],
            "ben": ["cutover", "kept_sealed T+1", "kept_sealed T+30"],
            "cleo": ["cutover"],
        }


# --- waves, pauses, stops ---


def test_waves_hold_each_other(tmp_path: Path) -> None:
    """Each share contains the smaller ones, nobody gets it twice, and the counts say who came with which."""
    with opened(tmp_path, [account_row(f"a{n:03}") for n in range(200)]) as campaign:
        waves = [
            {n for n in range(200) if Wave.parse(p).has(f"a{n:03}", campaign.references)} for p in ("1%", "10%", "50%")
        ]
        assert waves[0] <= waves[1] <= waves[2]
        assert 0 < len(waves[1]) < 45
        assert _send(campaign, wave=Wave.parse("10%")).sent == len(waves[1])
        assert _send(campaign, wave=Wave.parse("50%")) == SendResult(
            sent=len(waves[2] - waves[1]), already=len(waves[1])
        )
        assert status.status(campaign).waves == {"10%": len(waves[1]), "50%": len(waves[2] - waves[1])}


@pytest.mark.parametrize("text", ["0%", "101%", "10", "", "x"])
def test_waves_that_are_none(text: str) -> None:
    """A percentage above 0."""
    with pytest.raises(UsageError, match="percentage"):
        Wave.parse(text)


def test_too_many_refusals_stop_it(tmp_path: Path) -> None:
    """At once, recorded, for every later send too, until somebody resumes it; then they count anew."""
    names = [f"a{n:02}" for n in range(30)]
    with mail_server() as mailbox, _over(mailbox, tmp_path, names) as campaign:
        mailbox.on_recipient = lambda to: None if to.startswith("a0") else "550 5.1.1 no such user"
        stopped = _send(campaign)
        assert (stopped.sent, stopped.failed, stopped.stopped) == (10, 6, "6 bounces among 16 notices, more than 5%")
        with pytest.raises(GateError, match="6 bounces among 16"):
            _send(campaign)
        assert status.status(campaign).control.paused_at is not None
        assert control.resume(campaign)
        mailbox.on_recipient = lambda _: None
        _at(campaign, -59)
        assert _send(campaign) == SendResult(sent=14, already=10, given_up=6)
        assert "override.used" in campaign.audit.path.read_text()


def test_complaints_stop_it(tmp_path: Path) -> None:
    """More than the settings allow, before anything is sent."""
    with opened(tmp_path, [account_row("ana"), account_row("ben")], notify={"max_complaints": "0"}) as campaign:
        _send(campaign, wave=Wave.parse("100%"))
        with campaign.database.write("test") as connection:
            connection.execute(tables.notice.update().values(complained_at=format_time(campaign.clock.now())))
        assert _send(_at(campaign, -14)).stopped == "2 complaints among 2 notices, more than 0"


def test_what_comes_back_during_a_wave_stops_it(tmp_path: Path) -> None:
    """The import counts too: a wave that takes days does not go on to its end over bounces that came meanwhile."""
    names = [f"a{n:02}" for n in range(12)]
    with mail_server() as mailbox, _over(mailbox, tmp_path, names) as campaign:

        def bounces(taken: int) -> None:
            if taken == 9:
                keys = [row["delivery_key"] for row in notice_rows(campaign).values()][:6]
                lines = [f'{{"webhook_id":"{key}","event":"failed"}}' for key in keys]
                (tmp_path / "app.jsonl").write_text("\n".join(lines))
                imported.append(receipts.import_receipts(campaign, [tmp_path / "app.jsonl"]).stopped)

        imported: list[str | None] = []
        mailbox.on_taken = bounces
        first = _send(campaign)
        assert (first.sent, first.paused) == (9, True)
        assert imported == ["6 bounces among 8 notices, more than 5%"]
        with pytest.raises(GateError, match="6 bounces"):
            _send(campaign)


def test_a_pause_holds_a_send_that_is_under_way(tmp_path: Path) -> None:
    """After the notice at hand; nothing begins until it is resumed."""
    with mail_server() as mailbox, _over(mailbox, tmp_path, ["ana", "ben", "cleo"]) as campaign:

        def pause(_: int) -> None:
            control.pause(campaign, "wrong template")

        mailbox.on_taken = pause
        first = _send(campaign)
        assert (first.sent, first.paused) == (1, True)
        with pytest.raises(GateError, match="wrong template"):
            _send(campaign)
        assert not control.pause(campaign, "again")
        assert control.resume(campaign)
        assert not control.resume(campaign)
        mailbox.on_taken = lambda _: None
        assert _send(campaign).sent == 2


@pytest.mark.parametrize("answer", [Accepted(), Rejected("550"), Deferred("451")])
def test_a_pause_holds_whatever_became_of_the_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    """Also over a Maildir, and where a server refuses or puts off one notice after the other."""
    with opened(tmp_path, [account_row(name) for name in ("ana", "ben", "cleo")]) as campaign:
        tried = []

        def pausing(_: MaildirChannel, dispatch: Dispatch) -> Answer:
            tried.append(dispatch)
            control.pause(campaign, "wrong template")
            return answer

        monkeypatch.setattr(MaildirChannel, "send", pausing)
        assert _send(campaign).paused
        assert len(tried) == 1


def test_who_has_lost_the_lease_hands_nothing_more_over(tmp_path: Path) -> None:
    """What left is recorded; the other sender goes on with the rest, and nobody gets two."""
    with mail_server() as mailbox, _over(mailbox, tmp_path, ["ana", "ben", "cleo"]) as campaign:

        def take_over(_: int) -> None:
            with campaign.database.write("test") as connection:
                connection.execute(tables.lease.update().values(token=tables.lease.c.token + 1, holder=None))

        mailbox.on_taken = take_over
        with pytest.raises(LeaseHeldError, match="taken over"):
            _send(campaign)
        mailbox.on_taken = lambda _: None
        assert _send(campaign) == SendResult(sent=2, already=1)
        assert len(mailbox.taken) == 3


def test_what_comes_back_before_it_counts_as_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bounce that is imported while its page is still going out is not forgotten: the next channel has its turn."""
    monkeypatch.setenv("S", SECRET)
    with receiver() as app, mail_server() as mailbox:
        gateway = f"webhook:http://{HOST}:{app.port}/#secret=env:S&private=allow&name=app"
        with _over(mailbox, tmp_path, ["ana", "ben"], gateway) as campaign:

            def bounce(_: int) -> None:
                campaign_key = notice_rows(campaign)["ana"]["delivery_key"]
                (tmp_path / "app.jsonl").write_text(f'{{"webhook_id":"{campaign_key}","event":"failed"}}')
                receipts.import_receipts(campaign, [tmp_path / "app.jsonl"])

            mailbox.on_taken = bounce
            assert _send(campaign).sent == 2
            mailbox.on_taken = lambda _: None
            assert _send(_at(campaign, -59)) == SendResult(sent=1, already=1)
            found = status.status(campaign)
    assert len(app.requests) == 1
    assert found.channels == {"app": {"sent": 1}, "smtp": {"bounced": 1, "sent": 1}}


def test_one_sender_at_a_time(tmp_path: Path) -> None:
    """Another host that sends at the same time is told so, and changes nothing."""
    with opened(tmp_path, [account_row("ana")]) as campaign:
        with (
            lease.hold(campaign, purpose="notify send", name=lease.SENDING),
            pytest.raises(LeaseHeldError, match="sender"),
        ):
            _send(campaign)
        assert notice_rows(campaign) == {}
        assert _send(campaign) == SendResult(sent=1)


# --- channels ---


def test_greylisting_then_delivery(tmp_path: Path) -> None:
    """Put off, tried again when its time has come, under the same id."""
    with mail_server() as mailbox, _over(mailbox, tmp_path, ["ana", "ben"]) as campaign:
        mailbox.on_recipient = lambda to: "451 4.7.1 later" if to.startswith("ana") else None
        assert _send(campaign) == SendResult(sent=1, waiting=1)
        mailbox.on_recipient = lambda _: None
        assert _send(campaign) == SendResult(waiting=1, already=1)
        campaign.clock = FixedClock(campaign.clock.now() + timedelta(minutes=10))
        assert _send(campaign) == SendResult(sent=1, already=1)
        assert notice_rows(campaign)["ana"]["message_id"] == mailbox.messages[-1]["Message-ID"]


def test_failover_for_each_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No address, refused, or come back: the app tells them; who had the mail gets nothing twice."""
    monkeypatch.setenv("NOTICE_SECRET", SECRET)
    rows = [account_row("ana"), account_row("ben"), account_row("cleo", email=None), account_row("dan")]
    with mail_server() as mailbox, receiver() as app:
        hook = f"webhook:http://127.0.0.1:{app.port}/#secret=env:NOTICE_SECRET&private=allow&name=app"
        with opened(tmp_path, rows, notify={"channel": [_smtp(mailbox), hook]}) as campaign:
            mailbox.on_recipient = lambda to: "550 no" if to.startswith("ben") else None
            assert _send(campaign) == SendResult(sent=4)
            with campaign.database.write("test") as connection:
                row = tables.notice.c
                bounced = tables.notice.update().where(row.account_id == "dan", row.channel == "smtp")
                connection.execute(bounced.values(state="bounced", bounced_at=format_time(campaign.clock.now())))
            assert _send(campaign) == SendResult(sent=1, already=3)
            assert _send(campaign) == SendResult(already=4)
            found = status.status(campaign)
        told = Counter(json.loads(request.body)["data"]["account_id"] for request in app.requests)
    assert told == {"ben": 1, "cleo": 1, "dan": 1}
    assert [recipient for _, recipient, _ in mailbox.taken] == ["ana@example.org", "dan@example.org"]
    assert found.channels == {"app": {"sent": 3}, "smtp": {"bounced": 1, "failed": 1, "sent": 1}}
    assert found.states["sent"] == 4


def test_a_gateway_that_is_gone_or_asks_for_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """429: nothing more before its time; 410: never again until somebody resumes it."""
    monkeypatch.setenv("NOTICE_SECRET", SECRET)
    with receiver() as app:
        hook = f"webhook:http://127.0.0.1:{app.port}/#secret=env:NOTICE_SECRET&private=allow"
        names = [account_row("ana"), account_row("ben")]
        with opened(tmp_path, names, notify={"channel": hook}) as campaign:
            app.answer = lambda _: (429, {"retry-after": "600"})
            assert _send(campaign) == SendResult(waiting=2)
            assert _send(campaign) == SendResult(waiting=2)
            assert len(app.requests) == 1
            campaign.clock = FixedClock(campaign.clock.now() + timedelta(seconds=700))
            app.answer = lambda _: (410, {})
            _send(campaign)
            with pytest.raises(ChannelError, match="410"):
                _send(campaign)
            assert len(app.requests) == 2
            assert control.resume(campaign)
            app.answer = lambda _: (204, {})
            assert _send(campaign) == SendResult(sent=2)
    assert app.requests[0].headers["webhook-id"] in {r.headers["webhook-id"] for r in app.requests[2:]}


def test_headers_can_not_be_injected(tmp_path: Path) -> None:
    """Whatever stands in names and addresses: one recipient, the headers that we wrote, nothing else."""
    hostile = "eve@example.org\r\nBcc: all@example.org"
    rows = [account_row("a\r\nBcc: x", email="ana@example.org"), account_row("b", email=hostile)]
    with mail_server() as mailbox, opened(tmp_path, rows, notify={"channel": _smtp(mailbox)}) as campaign:
        assert _send(campaign) == SendResult(sent=1, unreachable=1)
    (message,) = mailbox.messages
    assert message["Bcc"] is None
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == "en"


# --- killed on the way ---


def _send_in(folder: Path, port: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with opened(folder, notify={"channel": f"smtp://{HOST}:{port}#tls=none"}) as campaign:
        _send(campaign)


@pytest.mark.parametrize("after", [1, 7])
def test_killed_during_a_wave(tmp_path: Path, after: int) -> None:
    """SIGKILL while notices leave: at most the one in flight comes twice, and its Message-ID is the same."""
    names = [f"a{n:02}" for n in range(20)]
    with mail_server() as mailbox:
        with _over(mailbox, tmp_path, names):
            pass
        child = multiprocessing.get_context("fork").Process(target=_send_in, args=(tmp_path, mailbox.port))

        def kill(taken: int) -> None:
            if taken == after:
                assert child.pid is not None
                os.kill(child.pid, signal.SIGKILL)

        mailbox.on_taken = kill
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        mailbox.on_taken = lambda _: None
        with _over(mailbox, tmp_path, None) as campaign:
            result = _send(campaign)
            rows = notice_rows(campaign)
            events = [json.loads(line) for line in campaign.audit.lines()]
        ids = Counter(str(message["Message-ID"]) for message in mailbox.messages)
    assert result.sent + result.already == 20
    assert len(ids) == 20
    assert sum(ids.values()) <= 21
    assert {row["state"] for row in rows.values()} == {"sent"}
    assert {row["message_id"] for row in rows.values()} == set(ids)
    assert sum(e["data"]["sent"] for e in events if e["type"] == "dev.migrator.notice.sent") == 20
