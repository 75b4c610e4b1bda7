"""What comes back: bounces, complaints, what was seen; hostile, huge and repeated input."""

import mailbox
from collections import Counter
from datetime import timedelta
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.campaign import Campaign
from migrator.core.clock import FixedClock, format_time
from migrator.core.errors import UsageError
from migrator.core.evidence import Evidence
from migrator.core.policy import Untold
from migrator.notices import bounces, evidence, receipts, sending, status
from migrator.notices.marks import Kind, Mark
from migrator.notices.pacing import Pacer
from migrator.notices.sending import SendOptions
from tests.channels.test_maildir import read_maildir
from tests.notices.support import NOW, account_row, notice_rows, opened, own_templates

KEY = "ab" * 20
NOTIFY = {"return_path": "bounces@example.org"}


def bounce(
    *, to: str = "bounces@example.org", message_id: str = "", status: str = "5.1.1", action: str = "failed"
) -> bytes:
    """A delivery status notification as mail servers write it."""
    returned = f"Message-ID: {message_id}\r\nSubject: About your chats\r\n" if message_id else "Subject: x\r\n"
    return (
        f"From: MAILER-DAEMON@mx.example.net\r\nTo: {to}\r\nSubject: Undelivered\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nNo such user ana@example.org\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n"
        f"Final-Recipient: rfc822; ana@example.org\r\nAction: {action}\r\nStatus: {status}\r\n\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\n{returned}\r\n--b--\r\n"
    ).encode()


def complaint(message_id: str, kind: str = "abuse") -> bytes:
    """A feedback report (RFC 5965)."""
    return (
        "From: fbl@mx.example.net\r\nTo: abuse@example.org\r\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nAn abuse report\r\n"
        f"--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: {kind}\r\nVersion: 1\r\n\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: x@example.org\r\nMessage-ID: {message_id}\r\n"
        "\r\nhello\r\n--b--\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bounce(to=f"bounces+{KEY}@example.org"), Mark(key=KEY, kind=Kind.BOUNCED, detail="5.1.1")),
        (bounce(message_id=f"<{KEY}@example.org>"), Mark(key=KEY, kind=Kind.BOUNCED, detail="5.1.1")),
        (
            bounce(to=f'"x" <bounces+{KEY}@example.org>', status="junk"),
            Mark(key=KEY, kind=Kind.BOUNCED, detail="5.0.0"),
        ),
        (bounce(to=f"bounces+{KEY}@example.org", status="4.4.1", action="delayed"), None),
        (bounce(to=f"bounces+{KEY}@example.org", status="4.4.7"), Mark(key=KEY, kind=Kind.BOUNCED, detail="4.4.7")),
        (bounce(to=f"bounces+{KEY}@example.org", action="delivered", status="2.0.0"), None),
        (bounce(), None),
        (complaint(f"<{KEY}@example.org>"), Mark(key=KEY, kind=Kind.COMPLAINED, detail="complaint")),
        (complaint(f"<{KEY}@example.org>", "not-spam"), None),
        (b"", None),
        (b"To: bounces+" + KEY.encode() + b"@example.org\n\nI am on holiday\n", None),
        (b"\xff\xfe" * 1000, None),
        (bounce(to=f"bounces+{KEY}@example.org")[:200], None),
    ],
)
def test_reports(data: bytes, expected: Mark | None) -> None:
    """Failures and complaints count, by the bounce address or the returned id; delays do not."""
    assert bounces.read(data) == expected


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    """Hostile mail is no report, or one; it never raises."""
    bounces.read(data)
    bounces.read(b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n" + data)


def test_nested_without_end() -> None:
    """A thousand levels, a million headers: read in bounds."""
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(1000))
    bounces.read(deep)
    bounces.read(b"To: a@example.org, " * 100_000)


def test_a_message_of_blank_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser makes an object of each, of a kilobyte at least: a hostile message does not get to make a million."""
    made = Counter[str]()
    plain = Message.__init__

    def counted(self: Message, **options: Any) -> None:
        made["messages"] += 1
        plain(self, **options)

    monkeypatch.setattr(Message, "__init__", counted)
    head = bounce(to=f"bounces+{KEY}@example.org").partition(b"Final-Recipient")[0]
    bounces.read(head + b"\n" * 1_000_000)
    assert 1000 < made["messages"] < 150_000


def _sent(campaign: Campaign) -> dict[str, str]:
    sending.send(campaign, pacer=Pacer(1e9))
    return {account: row["delivery_key"] for account, row in notice_rows(campaign).items()}


def test_import(tmp_path: Path) -> None:
    """A Maildir, an mbox and JSON Lines; each mark once; the audit log counts and names nobody."""
    accounts = [account_row(name) for name in ("ana", "ben", "cleo", "dan")]
    with opened(tmp_path, accounts, notify=NOTIFY) as campaign:
        keys = _sent(campaign)
        returned = {str(m["To"]): str(m["Return-Path"]) for m in read_maildir(tmp_path / "outbox")}
        assert returned["ana@example.org"] == f"<bounces+{keys['ana']}@example.org>"
        inbox = mailbox.Maildir(tmp_path / "bounces")
        inbox.add(bounce(to=f"bounces+{keys['ana']}@example.org"))
        inbox.add(b"Subject: buy now\n\nspam\n")
        box = mailbox.mbox(tmp_path / "old.mbox")
        box.add(complaint(f"<{keys['ben']}@localhost>"))
        box.add(bounce(message_id=f"<{'0' * 40}@localhost>"))
        box.close()
        (tmp_path / "app.jsonl").write_text(
            f'{{"webhook_id":"{keys["cleo"]}","event":"seen","at":"2026-03-01T09:31:00Z"}}\n\n'
            f'{{"webhook_id":"{keys["dan"]}","event":"reminders_off"}}\nnonsense\n'
             '{"webhook_id":"' + "x" * 100_000 + '"}\n'
        )  # fmt: skip
        paths = [tmp_path / "bounces", tmp_path / "old.mbox", tmp_path / "app.jsonl"]
        campaign.clock = FixedClock(NOW + timedelta(days=1))
        first = receipts.import_receipts(campaign, paths)
        again = receipts.import_receipts(campaign, paths)
        rows = notice_rows(campaign)
        found = status.status(campaign)
        log = campaign.audit.path.read_text()
    assert first.recorded == {"bounced": 1, "complained": 1, "seen": 1, "reminders_off": 1, "reminders_on": 0}
    assert (first.already, first.unmatched, first.ignored) == (0, 1, 3)
    assert (sum(again.recorded.values()), again.already) == (0, 4)
    assert (rows["ana"]["state"], rows["ana"]["detail"]) == ("bounced", "5.1.1")
    assert rows["ben"]["state"] == "sent"
    assert rows["cleo"]["seen_at"] == "2026-03-01T09:31:00.000000Z"
    assert found.evidence == {"E0": 1, "E1": 2, "E2": 0, "E3": 1, "E4": 0}
    assert (found.complaints, found.reminders_off) == (1, 2)
    assert found.not_told == {"bounced: 5.1.1": 1}
    assert "receipt.recorded" in log
    assert not any(name in log for name in ("ana", "ben", "cleo", "example.org"))


def test_times_that_nobody_believes(tmp_path: Path) -> None:
    """Before it was sent, or in the future: the import's own time counts."""
    with opened(tmp_path, [account_row("ana"), account_row("ben")]) as campaign:
        keys = _sent(campaign)
        (tmp_path / "app.jsonl").write_text(
            f'{{"webhook_id":"{keys["ana"]}","event":"seen","at":"2020-01-01T00:00:00Z"}}\n'
            f'{{"webhook_id":"{keys["ben"]}","event":"seen","at":"2999-01-01T00:00:00Z"}}\n'
        )
        receipts.import_receipts(campaign, [tmp_path / "app.jsonl"])
        assert {row["seen_at"] for row in notice_rows(campaign).values()} == {format_time(NOW)}


def test_a_path_that_is_none(tmp_path: Path) -> None:
    """Said with its name."""
    with opened(tmp_path, []) as campaign, pytest.raises(UsageError, match="missing"):
        receipts.import_receipts(campaign, [tmp_path / "missing"])


def test_the_gate_takes_a_level(tmp_path: Path) -> None:
    """E1 at once, E2 after 72 hours without a bounce, E3 once seen; a bounce takes back what nobody saw."""
    with opened(tmp_path, [account_row("ana"), account_row("ben"), account_row("cleo", email=None)]) as campaign:
        keys = _sent(campaign)
        late = NOW + timedelta(hours=72)

        def told(required: Evidence, now: object = NOW) -> dict[str, object]:
            with campaign.database.read() as connection:
                found = evidence.told(connection, ["ana", "ben", "cleo", "nobody"], required, now)  # type: ignore[arg-type]
            return {account: one.at or one.cause for account, one in found.items()}

        assert told(Evidence.E1) == {"ana": NOW, "ben": NOW, "cleo": Untold.UNREACHABLE}
        assert told(Evidence.E2)["ana"] is Untold.EVIDENCE
        assert told(Evidence.E2, late)["ana"] == NOW
        assert told(Evidence.E3, late)["ana"] is Untold.EVIDENCE
        lines = [
            f'{{"webhook_id":"{keys["ana"]}","event":"seen"}}',
            f'{{"webhook_id":"{keys["ben"]}","event":"failed"}}',
        ]
        (tmp_path / "app.jsonl").write_text("\n".join(lines))
        receipts.import_receipts(campaign, [tmp_path / "app.jsonl"])
        assert told(Evidence.E3) == {"ana": NOW, "ben": Untold.BOUNCED, "cleo": Untold.UNREACHABLE}
        assert told(Evidence.E1)["ben"] is Untold.BOUNCED
        assert told(Evidence.E4)["ana"] is Untold.EVIDENCE


def test_a_notice_that_says_nothing_begins_no_period(tmp_path: Path) -> None:
    """An operator's own notice need not say what happens: who had nothing else was not told of the cutover (G2)."""
    notify = own_templates(tmp_path, window_1_en="Subject: S\n\nA maintenance window.\n")
    with opened(tmp_path, [account_row("ana")], notify=notify) as campaign:
        sending.send(campaign, SendOptions(notice_id="window"), pacer=Pacer(1e9))
        with campaign.database.read() as connection:
            assert evidence.told(connection, ["ana"], Evidence.E1, NOW) == {}
        _sent(campaign)
        with campaign.database.read() as connection:
            assert evidence.told(connection, ["ana"], Evidence.E1, NOW)["ana"].at == NOW
