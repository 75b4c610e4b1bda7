"""Hands notices to their channels, and records how each ended.

1. What a channel took is marked at once, in a transaction of its own that does not wait for the disk, before the next
   notice is handed over: whoever is killed has at most one notice in flight that the next `send` hands over again,
   under the same key and id. A channel that remembers keys itself (`remembers`) needs no mark.
2. Notices count as sent with the transaction that also reports them to the audit log, a page at a time.
3. After each notice, however it ended, it is looked at whether this process still holds the lease, whether somebody
   asked for a pause, and whether too much has come back. Then no further notice is handed over.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.headerregistry import Address
from typing import assert_never

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.channels.interface import Accepted, Answer, Deferred, Dispatch, Gone, Rejected
from migrator.core.errors import ChannelError, LeaseHeldError
from migrator.lease import SENDING, Lease, is_held
from migrator.notices import control, messages, outlets, queue, reporting, verp
from migrator.notices.control import Watch
from migrator.notices.outlets import Outlet, Outlets
from migrator.notices.pacing import Lanes
from migrator.notices.queue import Entry, NoticeState
from migrator.notices.routing import next_attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One notice to hand over. `others`: there are further channels that could take it."""

    entry: Entry
    to: Address | None
    others: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """How handing one notice over ended; `state` and `detail` as recorded, `at` as `queue.settle` has it."""

    job: Job
    state: NoticeState
    detail: str | None
    at: datetime | None


class Delivery:
    """Delivers for one `send`."""

    def __init__(self, campaign: Campaign, outlets: Outlets, lanes: Lanes, watch: Watch, lease: Lease) -> None:
        self._campaign = campaign
        self._outlets = outlets
        self._lanes = lanes
        self._watch = watch
        self._lease = lease
        self._from = messages.parse_sender(campaign.settings.notify.sender)
        self._return_path = campaign.settings.notify.return_path
        self.stopped: str | None = None
        self.paused = False
        self._lost = False

    def deliver(self, jobs: Sequence[Job], references: Mapping[str, str]) -> list[Ended]:
        """Hand over what may be handed over, and record it, even where a channel then fails as a whole."""
        answers: list[tuple[Job, Answer]] = []
        try:
            for job in self._lanes.paced(jobs, lambda job: job.to.domain if job.to else None):
                outlet = self._outlets.named(job.entry.channel)
                if self._held_back():
                    break
                if outlet.resting or outlet.disabled:
                    continue
                answer = self._hand_over(outlet, job)
                if answer is not None:
                    answers.append((job, answer))
                if self._lost:
                    raise LeaseHeldError(
                        "another process has taken over sending notices",
                        hint="let it go on; see `migrator notify status`",
                        changed="what was sent is recorded",
                    )
        finally:
            ended = [self._ended(job, answer) for job, answer in answers]
            if answers:
                with self._campaign.database.write("notices-sent") as connection:
                    self._record(connection, ended, references)
                    self._record_channels(connection, answers)
        return ended

    def report(
        self, connection: sa.Connection, entries: Sequence[tuple[Entry, datetime]], references: Mapping[str, str]
    ) -> None:
        """Count what a killed process had handed over as sent, at the time it marked."""
        ended = [
            Ended(Job(entry=entry, to=None, others=False), NoticeState.SENT, None, accepted_at)
            for entry, accepted_at in entries
        ]
        self._record(connection, ended, references)

    def _held_back(self) -> bool:
        """Whether nothing more may leave; an alarm is recorded, so that no other `send` goes on either."""
        alarm = self._watch.alarm
        if alarm is not None and self.stopped is None:
            self.stopped = alarm
            with self._campaign.database.write("notices-pause") as connection:
                control.stop(connection, self._campaign.name, self._campaign.clock.now(), alarm)
        return self.paused or self.stopped is not None

    def _hand_over(self, outlet: Outlet, job: Job) -> Answer | None:
        """One notice to its channel; None where the channel failed as a whole."""
        try:
            answer = outlet.port.send(self._dispatch(job))
        except ChannelError as error:
            outlet.resting, outlet.trouble = True, error
            return None
        if isinstance(answer, Accepted | Rejected):
            self._watch.count(bounced=isinstance(answer, Rejected))
        if isinstance(answer, Gone):
            outlet.disabled = True
        elif isinstance(answer, Deferred) and answer.throttled:
            outlet.resting = True
        if isinstance(answer, Accepted) and not outlet.port.remembers:
            with self._campaign.database.write("notices-accepted", synced=False) as connection:
                queue.accept(connection, job.entry, self._campaign.clock.now())
                self._look_around(connection)
        else:
            with self._campaign.database.read() as connection:
                self._look_around(connection)
        return answer

    def _look_around(self, connection: sa.Connection) -> None:
        """After each notice, however it ended."""
        self._lost = not is_held(connection, SENDING, self._lease)
        self.paused = control.read(connection, self._campaign.name).paused_at is not None

    def _dispatch(self, job: Job) -> Dispatch:
        entry = job.entry
        if entry.rendered is None or entry.delivery_key is None:
            raise ValueError("only a notice with a text is handed over")
        headers = messages.automatic(entry.delivery_key, self._from, self._campaign.clock.now())
        template = entry.rendered.template
        return Dispatch(
            idempotency_key=entry.delivery_key,
            account_id=entry.errand.account_id,
            message=messages.compose(entry.rendered, sender=self._from, to=job.to, headers=headers),
            return_path=verp.return_path(self._return_path, entry.delivery_key),
            facts={"notice_id": template.notice_id, "version": template.version, "template_sha256": template.sha256},
        )

    def _ended(self, job: Job, answer: Answer) -> Ended:
        now, entry = self._campaign.clock.now(), job.entry
        match answer:
            case Accepted():
                return Ended(job, NoticeState.SENT, None, now)
            case Rejected():
                return Ended(job, NoticeState.FAILED, answer.detail, None)
            case Gone():
                return Ended(job, NoticeState.QUEUED, answer.detail, now)
            case Deferred():
                again = next_attempt(entry.queued_at, entry.attempts, now, after=answer.after, others=job.others)
                state = NoticeState.FAILED if again is None else NoticeState.QUEUED
                return Ended(job, state, answer.detail, again)
            case _:
                assert_never(answer)

    def _record(self, connection: sa.Connection, ended: Sequence[Ended], references: Mapping[str, str]) -> None:
        queue.settle(connection, [(e.job.entry.errand, e.job.entry.channel, e.state, e.detail, e.at) for e in ended])
        sent = [e.job.entry for e in ended if e.state is NoticeState.SENT]
        reporting.sent(connection, self._campaign, sent, references)
        reasons: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for e in ended:
            if e.state is NoticeState.FAILED:
                reasons[(e.job.entry.errand.notice_id, e.job.entry.channel)][NoticeState.FAILED.value] += 1
        reporting.failed(connection, self._campaign, reasons)

    def _record_channels(self, connection: sa.Connection, answers: Sequence[tuple[Job, Answer]]) -> None:
        now = self._campaign.clock.now()
        for job, answer in answers:
            if isinstance(answer, Gone):
                outlets.disable(connection, job.entry.channel, now, answer.detail)
            elif isinstance(answer, Deferred) and answer.throttled:
                until = now + timedelta(seconds=answer.after or 0)
                outlets.rest(connection, job.entry.channel, until, answer.detail)
