"""Views of notices."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from migrator.cli.output import View
from migrator.cli.views.text import Row, counted, table
from migrator.core.clock import format_time
from migrator.notices.lint import Finding
from migrator.notices.receipts import ReceiptsResult
from migrator.notices.sending import SendResult
from migrator.notices.status import NoticeStatus
from migrator.notices.templates import Rendered, Template

_ALWAYS_SHOWN: Final = ("queued", "sent", "unreachable", "blocked", "failed")


def templates(found: Sequence[Template], saved: Sequence[Path]) -> View:
    """The notices that there are, and the copies that were made of them."""
    return View(
        document={
            "schema": "migrator.notice_templates/1",
            "templates": [
                {"notice_id": t.notice_id, "version": t.version, "locale": t.locale, "sha256": t.sha256} for t in found
            ],
        },
        lines=[
            *table(
                ["notice_id", "version", "locale", "sha256"],
                [(t.notice_id, t.version, t.locale, t.sha256) for t in found],
            ),
            *([""] if saved else []),
            *(f"to be changed: {path}" for path in saved),
        ],
    )


def findings(found: Sequence[Template], faults: Sequence[Finding], missing: Sequence[tuple[str, str]]) -> View:
    """What is wrong with which template, and which languages are not complete."""
    lines = [
        f"{fault.template.file}{f':{fault.line}' if fault.line else ''}: {fault.rule.value}: {fault.reason}"
        for fault in faults
    ]
    lines += [f"{notice_id} has no template in {locale}: its readers will not be told" for notice_id, locale in missing]
    return View(
        document={
            "schema": "migrator.notice_lint/1",
            "ok": not faults,
            "templates": len(found),
            "findings": [
                {"file": fault.template.file, "line": fault.line, "rule": fault.rule.value, "reason": fault.reason}
                for fault in faults
            ],
            "untranslated": [{"notice_id": notice_id, "locale": locale} for notice_id, locale in missing],
        },
        lines=[*lines, f"{counted(len(found), 'template')} checked, {counted(len(faults), 'finding')}"],
    )


def rendered(notice: Rendered, html: Path | None) -> View:
    """A notice as its reader sees it, and where its HTML was written."""
    template = notice.template
    return View(
        document={
            "schema": "migrator.notice_preview/1",
            "notice_id": template.notice_id,
            "version": template.version,
            "locale": template.locale,
            "subject": notice.subject,
            "body": notice.body,
            "sha256": notice.sha256,
            "html": None if html is None else str(html),
        },
        lines=[f"Subject: {notice.subject}", "", *notice.body.split("\n")],
    )


def sent(result: SendResult) -> View:
    """What one sending did."""
    lines = [f"{result.sent:,} sent, {result.already:,} had what was due"]
    if result.unreachable or result.blocked:
        lines.append(f"{result.unreachable:,} without an address, {result.blocked:,} without a template they can read")
    if result.failed or result.given_up:
        lines.append(f"{result.failed:,} refused, {result.given_up:,} refused or returned before")
    if result.waiting:
        lines.append(f"{result.waiting:,} put off: a later `migrator notify send` tries them again")
    if result.stopped:
        lines.append(f"stopped: {result.stopped}; nothing is sent until `migrator notify resume`")
    if result.paused:
        lines.append("stopped: somebody paused sending; `migrator notify resume` lets it go on")
    return View(document={"schema": "migrator.notice_sending/1", **asdict(result)}, lines=lines)


def held(*, paused: bool, done: bool) -> View:
    """Sending was paused or resumed, or had been before."""
    what = "paused" if paused else "resumed"
    return View(
        document={"schema": "migrator.notice_control/1", "paused": paused, "changed": done},
        lines=[f"sending notices is {what}" if done else f"already {what}"],
    )


def received(result: ReceiptsResult) -> View:
    """What an import of receipts brought."""
    said = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in result.recorded.items() if count)
    lines = [f"recorded: {said or 'nothing new'}"]
    lines.append(
        f"{result.already:,} known before, {result.unmatched:,} of no notice here, {result.ignored:,} no report"
    )
    if result.stopped is not None:
        lines.append(f"sending is stopped: {result.stopped}")
    return View(document={"schema": "migrator.notice_receipts/1", **asdict(result)}, lines=lines)


def status(found: NoticeStatus) -> View:
    """How far a notice has reached."""
    first, last = (None if t is None else format_time(t) for t in (found.first_sent_at, found.last_sent_at))
    shown = [state for state, count in found.states.items() if count or state in _ALWAYS_SHOWN]
    rows: list[Row] = [(locale, *(counts.get(state, 0) for state in shown)) for locale, counts in found.locales.items()]
    rows.append(("all", *(found.states[state] for state in shown)))
    reach = f"{counted(found.accounts, 'account')}, {found.waiting:,} still waiting"
    lines = [f"notice {found.notice_id} over {found.channel}: {reach}", "", *table(["locale", *shown], rows), ""]
    lines += table(["evidence", "accounts"], list(found.evidence.items()))
    for title, counts in (("wave", found.waves), ("not told", found.not_told)):
        if counts:
            lines += ["", *table([title, "accounts"], list(counts.items()))]
    if found.complaints or found.reminders_off:
        lines += ["", f"{found.complaints:,} complaints; {found.reminders_off:,} want no reminders"]
    if first and last:
        lines += ["", f"sent from {first} to {last}"]
    if found.control.paused_at:
        lines += ["", f"paused since {found.control.paused_at}: {found.control.reason}"]
    lines += [
        f"channel {held.channel} is not used {'before ' + held.not_before if held.not_before else 'any more'}: "
        f"{held.detail}"
        for held in found.held_channels
    ]
    document = {**asdict(found), "schema": "migrator.notice_status/1", "first_sent_at": first, "last_sent_at": last}
    held = document.pop("control")
    return View(document={**document, "paused_at": held["paused_at"], "paused_because": held["reason"]}, lines=lines)


def tested(address: str, notice: Rendered) -> View:
    """A test that went out."""
    return View(
        document={"schema": "migrator.notice_test/1", "address": address, "sha256": notice.sha256},
        lines=[f"sent to {address}: {notice.subject}"],
    )
