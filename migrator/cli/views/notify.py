"""Views of notices."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from migrator.cli.output import View
from migrator.cli.views.text import Row, counted, table
from migrator.core.clock import format_time
from migrator.notices.lint import Finding
from migrator.notices.sending import SendResult
from migrator.notices.status import NoticeStatus
from migrator.notices.templates import Rendered, Template


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
    counts = asdict(result)
    lines = [f"{result.sent:,} sent, {result.already:,} had been sent it before"]
    if result.unreachable or result.blocked:
        lines.append(f"{result.unreachable:,} without an address, {result.blocked:,} without a template they can read")
    if result.failed:
        lines.append(f"{result.failed:,} refused by the channel")
    return View(document={"schema": "migrator.notice_sending/1", **counts}, lines=lines)


def status(found: NoticeStatus) -> View:
    """How far a notice has reached."""
    first, last = (None if t is None else format_time(t) for t in (found.first_sent_at, found.last_sent_at))
    rows: list[Row] = [
        (locale, *(counts.get(state, 0) for state in found.states)) for locale, counts in found.locales.items()
    ]
    rows.append(("all", *found.states.values()))
    reach = f"{counted(found.accounts, 'account')}, {found.waiting:,} still waiting"
    lines = [
        f"notice {found.notice_id} over {found.channel}: {reach}",
        "",
        *table(["locale", *found.states], rows),
    ]
    if first and last:
        lines += ["", f"sent from {first} to {last}"]
    return View(
        document={
            "schema": "migrator.notice_status/1",
            "notice_id": found.notice_id,
            "channel": found.channel,
            "accounts": found.accounts,
            "waiting": found.waiting,
            "states": found.states,
            "locales": found.locales,
            "first_sent_at": first,
            "last_sent_at": last,
        },
        lines=lines,
    )


def tested(address: str, notice: Rendered) -> View:
    """A test that went out."""
    return View(
        document={"schema": "migrator.notice_test/1", "address": address, "sha256": notice.sha256},
        lines=[f"sent to {address}: {notice.subject}"],
    )
