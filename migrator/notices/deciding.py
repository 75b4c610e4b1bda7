"""Decides for one account's errands: over which channel, in which words; and says why where there is no way."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from migrator.campaign import Campaign
from migrator.core.model import Account
from migrator.notices import lint, messages, queue, templates
from migrator.notices.cases import Known
from migrator.notices.delivery import Job
from migrator.notices.kinds import NoticeKind
from migrator.notices.language import FaultyTemplateError
from migrator.notices.outlets import Outlets
from migrator.notices.queue import Entry, Errand, NoticeState, Stored
from migrator.notices.routing import NoWay, Take, Told, Wait, Way, route
from migrator.notices.templates import Rendered, Template
from migrator.notices.waves import Wave

NO_TEMPLATE: Final = "unavailable locale"
_UNTOLD: Final = frozenset({NoticeState.UNREACHABLE, NoticeState.BLOCKED})


@dataclass(slots=True)
class Decision:
    """What a round has decided. `news`: what is to be reported as failed; `counts`: by the names of `SendResult`."""

    new: list[Entry] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    unreported: list[tuple[Entry, datetime]] = field(default_factory=list)
    templates: list[Template] = field(default_factory=list)
    news: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    counts: Counter[str] = field(default_factory=Counter)


class Decider:
    """Decides for one `send`: templates are read and checked once."""

    def __init__(self, campaign: Campaign, outlets: Outlets, notice_id: str | None, wave: Wave) -> None:
        self._campaign = campaign
        self._outlets = outlets
        self._wave = wave.label
        self._from = messages.parse_sender(campaign.settings.notify.sender)
        catalogue = templates.catalogue(campaign.settings, campaign.spec.directory)
        wanted = [notice_id] if notice_id is not None else [kind.value for kind in NoticeKind]
        self._available = {one: templates.current(catalogue, one) for one in wanted}
        self._scheduled = frozenset(wanted) if notice_id is None else frozenset()
        used = [template for available in self._available.values() for template in available.values()]
        lint.require_clean(used)
        with campaign.database.read() as connection:
            queue.refuse_changed(connection, used)
            self._published = queue.published(connection, wanted)

    def is_scheduled(self, notice_id: str) -> bool:
        """Whether this `send` keeps the schedule of a notice."""
        return notice_id in self._scheduled

    def decide(self, subject: "Subject", errands: Sequence[Errand], into: Decision, *, retry_failed: bool) -> None:
        """Decide for an account's errands, and add what comes of it to `into`."""
        now = self._campaign.clock.now()
        for errand in errands:
            rows = {row.channel: row for row in subject.rows if row.errand == errand}
            found = route(rows, subject.ways, now, retry_failed=retry_failed)
            match found:
                case Told(unreported=None):
                    into.counts["already"] += 1
                case Told(unreported=Stored() as row):
                    into.counts["sent"] += 1
                    into.unreported.append(self._unreported(row))
                case Take():
                    self._take(subject, errand, found, rows, into)
                case Wait():
                    into.counts["waiting"] += 1
                case NoWay():
                    self._no_way(subject, errand, found, rows, into)

    def _take(self, subject: "Subject", errand: Errand, take: Take, rows: Mapping[str, Stored], into: Decision) -> None:
        now, account = self._campaign.clock.now(), subject.account
        wanted = templates.wanted_locale(account, self._campaign.settings)
        rendered = self._again(subject, take.again)
        fresh = rendered is None
        if rendered is None:
            template = templates.for_reader(self._available[errand.notice_id], wanted)
            if template is None:
                self._untold(errand, take.channel, NoticeState.BLOCKED, NO_TEMPLATE, wanted, rows, into)
                into.counts[NoticeState.BLOCKED.value] += 1
                return
            case = subject.known.circumstances(errand.notice_id, errand.occasion)
            rendered = templates.render(template, account, self._campaign.settings, now, case)
        before = None if fresh else take.again
        key = self._key(errand, take, subject.reference)
        by_mail = self._outlets.named(take.channel).port.by_mail
        entry = Entry(
            errand=errand, channel=take.channel, state=NoticeState.QUEUED, version=rendered.template.version,
            wanted=wanted, rendered=rendered, message_id=messages.message_id(key, self._from), delivery_key=key,
            generation=take.generation, address_ref=subject.address_ref if by_mail else None, wave=self._wave,
            queued_at=before.queued_at if before else now, attempts=before.attempts if before else 0,
        )  # fmt: skip
        if fresh:
            into.new.append(entry)
            into.templates.append(rendered.template)
        to = messages.parse_address(account.email) if by_mail and account.email else None
        into.jobs.append(Job(entry=entry, to=to, others=_others(subject.ways, rows, take.channel)))

    def _again(self, subject: "Subject", before: Stored | None) -> Rendered | None:
        """The very notice that was queued before, perhaps delivered; None if it would read differently."""
        template = self._template(before) if before is not None else None
        if before is None or template is None:
            return None
        case = subject.known.circumstances(before.errand.notice_id, before.errand.occasion)
        try:
            rendered = templates.render(template, subject.account, self._campaign.settings, before.queued_at, case)
        except FaultyTemplateError:  # an older program had published it, and this one reads templates more strictly
            return None
        return rendered if rendered.sha256 == before.rendered_sha256 else None

    def _template(self, row: Stored) -> Template | None:
        return self._published.get((row.errand.notice_id, row.version, row.locale or ""))

    def _unreported(self, row: Stored) -> tuple[Entry, datetime]:
        """What a killed process had handed over, as recorded."""
        template = self._template(row)
        rendered = None
        if template is not None and row.rendered_sha256 is not None:
            rendered = Rendered(template=template, subject="", body="", html="", sha256=row.rendered_sha256)
        entry = Entry(
            errand=row.errand, channel=row.channel, state=row.state, version=row.version, wanted=None,
            rendered=rendered, queued_at=row.queued_at,
        )  # fmt: skip
        return entry, row.accepted_at or row.queued_at

    def _no_way(
        self, subject: "Subject", errand: Errand, found: NoWay, rows: Mapping[str, Stored], into: Decision
    ) -> None:
        """No channel reaches the account: say so of each that never could; the others have said it before."""
        wanted = templates.wanted_locale(subject.account, self._campaign.settings)
        for channel, detail in found.obstacles.items():
            self._untold(errand, channel, NoticeState.UNREACHABLE, detail, wanted, rows, into)
        into.counts["unreachable" if len(found.obstacles) == len(subject.ways) else "given_up"] += 1

    def _untold(
        self, errand: Errand, channel: str, state: NoticeState, detail: str, wanted: str | None,
        rows: Mapping[str, Stored], into: Decision,
    ) -> None:  # fmt: skip
        before = rows.get(channel)
        if before is not None and before.state is not state and before.state not in _UNTOLD:
            return  # it was tried: how that ended is worth more than that there is no address any more
        version = next(iter(self._available[errand.notice_id].values())).version
        into.new.append(
            Entry(
                errand=errand, channel=channel, state=state, version=version, wanted=wanted, detail=detail,
                wave=self._wave, queued_at=self._campaign.clock.now(),
            )
        )  # fmt: skip
        if before is None or before.state is not state:
            into.news[(errand.notice_id, channel)][state.value] += 1

    def _key(self, errand: Errand, take: Take, reference: str) -> str:
        again = (errand.occasion, str(take.generation)) if errand.occasion or take.generation else ()
        return messages.idempotency_key(self._campaign.name, reference, errand.notice_id, take.channel, *again)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One account as a round sees it: what is known and recorded of it, its references, the channels for it."""

    account: Account
    known: Known
    rows: Sequence[Stored]
    reference: str
    address_ref: str | None
    ways: Sequence[Way]


def _others(ways: Sequence[Way], rows: Mapping[str, Stored], channel: str) -> bool:
    """Whether a channel that has not been tried in vain is left beside this one."""
    vain = {name for name, row in rows.items() if row.state in (NoticeState.FAILED, NoticeState.BOUNCED)}
    return any(w.name not in {channel, *vain} and w.obstacle is None and not w.disabled for w in ways)
