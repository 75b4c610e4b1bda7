"""Sends what is due: each account each notice once, over the first channel that takes it.

A page of accounts at a time: what is known of them is read, the schedule says what is due (`core.schedule`), routing
over which channel (`routing`), the decisions are recorded as `queued` (`deciding`), and delivery hands the notices over
and records how that ended (`delivery`). What a channel refuses goes to the next one in another round. One process sends
at a time, by a lease of its own; one that is killed leaves `queued` rows, and the next goes on from there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from migrator import lease
from migrator.audit.references import ensure_salts
from migrator.campaign import Campaign
from migrator.core import schedule
from migrator.core.model import Account
from migrator.core.progress import NoProgress, Progress
from migrator.core.quantities import per_second
from migrator.core.schedule import Case, QuietHours, Schedule, StepKind
from migrator.database.bulk import chunks
from migrator.lease import Lease
from migrator.notices import cases, control, outlets, queue, reporting, results, verp
from migrator.notices.cases import Known, can_be_stored
from migrator.notices.control import Watch
from migrator.notices.deciding import Decider, Decision, Subject
from migrator.notices.delivery import Delivery, Ended
from migrator.notices.kinds import CAN_BE_SILENCED, ONLY_UNANSWERED, NoticeKind
from migrator.notices.outlets import Outlets
from migrator.notices.pacing import Lanes, Pacer
from migrator.notices.queue import Errand, NoticeState, Stored
from migrator.notices.waves import EVERYBODY, Wave

PAGE: Final = 500
"""Accounts in one pair of transactions, and in one event of the audit log."""
_KEPT: Final = "what was sent is recorded; `migrator notify send` goes on with the others"
KINDS: Final = {
    StepKind.FIRST: NoticeKind.FIRST,
    StepKind.REMINDER: NoticeKind.REMINDER,
    StepKind.LAST_CALL: NoticeKind.LAST_CALL,
    StepKind.MOVED: NoticeKind.DONE,
    StepKind.SEALED: NoticeKind.KEPT_SEALED,
    StepKind.RECEIVED: NoticeKind.RECEIVED,
}
"""The notice that a step of the schedule sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOptions:
    """What to send to whom. `notice_id`: this one now, whatever the schedule says; None: what is due by it."""

    notice_id: str | None = None
    wave: Wave = EVERYBODY
    retry_failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SendResult:
    """What became of notices in this `send`.

    `already`: accounts for which nothing was due, or what was due they had. `waiting`: put off, until a later attempt.
    `given_up`: refused or returned before, and nothing has changed. `stopped`: too much came back, and how much;
    `paused`: an operator asked for it.
    """

    sent: int = 0
    already: int = 0
    unreachable: int = 0
    blocked: int = 0
    failed: int = 0
    waiting: int = 0
    given_up: int = 0
    stopped: str | None = None
    paused: bool = False


@dataclass(slots=True)
class _Tally:
    """Counts so far, by `SendResult`'s names."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, count: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + count


def send(
    campaign: Campaign, options: SendOptions | None = None, *, progress: Progress | None = None,
    pacer: Pacer | None = None,
) -> SendResult:  # fmt: skip
    """Send what is due. Idempotent and resumable.

    Raises `ConfigError` for settings and templates that can't be used, before anything is sent, `LeaseHeldError` while
    another process sends, `GateError` while sending is paused, and `ChannelError` for a channel that failed.
    """
    progress = progress or NoProgress()
    options = options or SendOptions()
    verp.check(campaign.settings.notify.return_path)
    with campaign.database.read() as connection:
        control.refuse_paused(connection, campaign.name)
    with outlets.opened(campaign) as opened, lease.hold(campaign, purpose="notify send", name=lease.SENDING) as held:
        sender = _Sender(campaign, options, opened, held, pacer or Pacer(per_second(campaign.settings.notify.rate)))
        progress.phase("sending notices", total=None, unit="accounts")
        try:
            for page in _pages(campaign, options.wave):
                sender.send(page)
                progress.advance(len(page))
                if sender.over:
                    break
        finally:
            campaign.audit.flush()
    return sender.result


def _pages(campaign: Campaign, wave: Wave) -> Iterator[list[Account]]:
    references = campaign.references
    for accounts in campaign.store.all_accounts():
        yield from chunks((a for a in accounts if wave.has(a.account_id, references)), PAGE)


class _Sender:
    """One `send`: what stays the same over all pages."""

    def __init__(self, campaign: Campaign, options: SendOptions, opened: Outlets, held: Lease, pacer: Pacer) -> None:
        settings = campaign.settings
        self._campaign = campaign
        self._options = options
        self._outlets = opened
        self._schedule = Schedule.parse(settings.notify.schedule)
        self._quiet = QuietHours.parse(settings.notify.quiet_hours) if settings.notify.quiet_hours else None
        self._tally = _Tally()
        self._decider = Decider(campaign, opened, options.notice_id, options.wave)
        with campaign.database.read() as connection:
            opened.recall(connection, campaign.clock.now())
            watch = Watch.since_resumed(connection, campaign)
        opened.require_one()
        rate = settings.notify.rate_per_domain
        self._delivery = Delivery(campaign, opened, Lanes(pacer, per_second(rate) if rate else None), watch, held)
        self._held = held
        cases.note_wards(campaign)
        self._results = self._after_cutover() and results.refresh(campaign)

    @property
    def over(self) -> bool:
        """Whether nothing more can be sent in this `send`. A channel that failed is raised once it was the only one."""
        self._raise_trouble(only=True)
        return self._delivery.paused or self._delivery.stopped is not None

    @property
    def result(self) -> SendResult:
        """What became of it. Raises the trouble of a channel, if one had any."""
        self._raise_trouble(only=False)
        return SendResult(**self._tally.counts, stopped=self._delivery.stopped, paused=self._delivery.paused)

    def send(self, page: Sequence[Account]) -> None:
        """Decide, record, deliver and mark one page."""
        accounts = [account for account in page if can_be_stored(account.account_id)]
        self._tally.add("failed", len(page) - len(accounts))
        errands = self._due(accounts)
        busy = [account for account in accounts if errands[account.account_id][1]]
        self._tally.add("already", len(accounts) - len(busy))
        retry = self._options.retry_failed
        while busy and not self._delivery.paused and not self._delivery.stopped:
            ended = self._round(busy, errands, retry_failed=retry)
            refused = {e.job.entry.errand for e in ended if e.state is NoticeState.FAILED and e.job.others}
            busy = [account for account in busy if account.account_id in {errand.account_id for errand in refused}]
            errands = {i: (known, [e for e in wanted if e in refused]) for i, (known, wanted) in errands.items()}
            retry = False

    def _due(self, accounts: Sequence[Account]) -> dict[str, tuple[Known, list[Errand]]]:
        """What each account is to have; what was queued for a day that has passed is taken off the queue."""
        now = self._campaign.clock.now()
        named = self._options.notice_id
        with self._campaign.database.read() as connection:
            rows = queue.stored(connection, [account.account_id for account in accounts], None)
            known = cases.gather(connection, accounts, rows, now, results=self._results)
        found: dict[str, tuple[Known, list[Errand]]] = {}
        stale: list[Stored] = []
        for account in accounts:
            identifier = account.account_id
            mine = known[identifier]
            if named is not None:
                meant = _is_meant(named, mine.case, rows.get(identifier, ()))
                found[identifier] = (mine, [Errand(identifier, named)] if meant else [])
                continue
            due = schedule.due(mine.case, self._schedule, self._quiet, self._campaign.settings.campaign.cutover_at, now)
            errands = [Errand(identifier, KINDS[step.kind].value, step.occasion) for step in due]
            unreported = [row for row in rows.get(identifier, ()) if row.state is NoticeState.QUEUED]
            held = self._quiet is not None and self._quiet.hold(now, mine.case.zone)
            stale += [r for r in unreported if r.errand not in errands and r.accepted_at is None and not held]
            errands += [r.errand for r in unreported if r.errand not in errands and r.accepted_at is not None]
            found[identifier] = (mine, errands)
        stale = [row for row in stale if self._decider.is_scheduled(row.notice_id)]
        if stale:
            with self._campaign.database.write("notices-expire") as connection:
                queue.expire(connection, stale)
        return found

    def _round(
        self, accounts: Sequence[Account], errands: Mapping[str, tuple[Known, list[Errand]]], *, retry_failed: bool
    ) -> list[Ended]:
        """One way for each errand: decide and record, then hand over."""
        ids = [account.account_id for account in accounts]
        with self._campaign.database.read() as connection:
            rows = queue.stored(connection, ids, None)
        if all(_settled(errands[i][1], rows.get(i, ())) for i in ids):
            self._tally.add("already", sum(len(errands[i][1]) for i in ids))
            return []
        with self._campaign.database.write("notices-queue") as connection:
            ensure_salts(connection, ids)
            subjects = self._subjects(connection, accounts, errands, rows)
            decided = Decision()
            for subject in subjects:
                wanted = errands[subject.account.account_id][1]
                self._decider.decide(subject, wanted, decided, retry_failed=retry_failed)
            references = {subject.account.account_id: subject.reference for subject in subjects}
            queue.put(connection, decided.new)
            reporting.publish(connection, self._campaign, decided.templates)
            reporting.failed(connection, self._campaign, decided.news)
            self._delivery.report(connection, decided.unreported, references)
        for what, count in decided.counts.items():
            self._tally.add(what, count)
        ended = self._delivery.deliver(decided.jobs, references)
        self._count(ended, len(decided.jobs))
        return ended

    def _subjects(
        self, connection: sa.Connection, accounts: Sequence[Account],
        errands: Mapping[str, tuple[Known, list[Errand]]], rows: Mapping[str, list[Stored]],
    ) -> list[Subject]:  # fmt: skip
        """The accounts of a round, with their references; an address is kept as a reference only."""
        known = self._campaign.references
        references = known.accounts(connection, [account.account_id for account in accounts])
        addresses = {a.account_id: f"{a.account_id}\0{a.email}" for a in accounts if a.email}
        address_refs = known.of(connection, {text: account_id for account_id, text in addresses.items()})
        found = []
        for account in accounts:
            identifier = account.account_id
            address_ref = address_refs.get(addresses.get(identifier, ""))
            found.append(
                Subject(
                    account=account, known=errands[identifier][0], rows=rows.get(identifier, ()),
                    reference=references[identifier], address_ref=address_ref,
                    ways=self._outlets.ways(account, address_ref),
                )
            )  # fmt: skip
        return found

    def _count(self, ended: Sequence[Ended], jobs: int) -> None:
        self._tally.add("sent", sum(e.state is NoticeState.SENT for e in ended))
        self._tally.add("failed", sum(e.state is NoticeState.FAILED and not e.job.others for e in ended))
        self._tally.add("waiting", sum(e.state is NoticeState.QUEUED for e in ended) + jobs - len(ended))

    def _after_cutover(self) -> bool:
        cutover = self._campaign.settings.campaign.cutover_at
        return bool(self._schedule.after) and self._campaign.clock.now() >= cutover + self._schedule.after[0]

    def _raise_trouble(self, *, only: bool) -> None:
        """Raise what a channel failed of, `only` where no other channel is left."""
        if only and not all(outlet.resting or outlet.disabled for outlet in self._outlets.every):
            return
        for outlet in self._outlets.every:
            if outlet.trouble is not None:
                outlet.trouble.changed = _KEPT
                raise outlet.trouble


def _is_meant(notice_id: str, case: Case, rows: Sequence[Stored]) -> bool:
    """Whether a notice that is named is for an account: what an answer or an opt-out ends, it ends here as well.

    A correction is for those who were told something before; other notices are for everybody.
    """
    if (notice_id in ONLY_UNANSWERED and case.answered) or (notice_id in CAN_BE_SILENCED and case.reminders_off):
        return False
    told = any(row.told_at is not None and row.notice_id != notice_id for row in rows)
    return told or notice_id != NoticeKind.CORRECTION


def _settled(errands: Sequence[Errand], rows: Sequence[Stored]) -> bool:
    """Whether every errand is done, so that nothing has to be written."""
    sent = {row.errand for row in rows if row.state is NoticeState.SENT}
    return all(errand in sent for errand in errands)
