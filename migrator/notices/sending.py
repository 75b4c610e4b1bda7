"""Sends a notice to every account of the source, once.

A page at a time: the decision for each account is recorded (`queued`), then the channel delivers, then what it
accepted is marked `sent`. A process that is killed in between leaves `queued` rows; the next `send` hands the
channel the same dispatch under the same key, which is how the channel knows that it has delivered it.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from typing import Final

import sqlalchemy as sa

from migrator import plugins
from migrator.audit.references import ensure_salts
from migrator.campaign import Campaign
from migrator.channels.interface import Dispatch, NoticeChannel, Rejected
from migrator.core.errors import ChannelError, UsageError
from migrator.core.model import Account
from migrator.core.progress import NoProgress, Progress
from migrator.core.settings import per_second
from migrator.database.bulk import chunks
from migrator.notices import lint, messages, preview, queue, templates
from migrator.notices.pacing import Pacer
from migrator.notices.queue import Entry, NoticeState, Stored
from migrator.notices.templates import Template

PAGE: Final = 500
"""Accounts in one pair of transactions, and in one event of the audit log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendResult:
    """Accounts by what became of their notice in this `send`. `already`: they had been sent it before."""

    sent: int = 0
    already: int = 0
    unreachable: int = 0
    blocked: int = 0
    failed: int = 0

    def __add__(self, other: "SendResult") -> "SendResult":
        return SendResult(
            sent=self.sent + other.sent,
            already=self.already + other.already,
            unreachable=self.unreachable + other.unreachable,
            blocked=self.blocked + other.blocked,
            failed=self.failed + other.failed,
        )


def send(
    campaign: Campaign,
    *,
    notice_id: str = templates.DEFAULT_NOTICE,
    progress: Progress | None = None,
    pacer: Pacer | None = None,
) -> SendResult:
    """Send a notice to every account that has not been sent it over this channel. Idempotent and resumable.

    Raises `ConfigError` for templates that can't be used, before anything is sent, and `ChannelError`.
    """
    progress = progress or NoProgress()
    sender = _Sender(campaign, notice_id, pacer or Pacer(per_second(campaign.settings.notify.rate)))
    progress.phase("sending notices", total=None, unit="accounts")
    result = SendResult()
    try:
        for accounts in campaign.store.all_accounts():
            for page in chunks(accounts, PAGE):
                result += sender.send(page)
                progress.advance(len(page))
    except ChannelError as error:
        error.changed = "what was sent is recorded; `migrator notify send` goes on with the others"
        raise
    finally:
        campaign.audit.flush()
    return result


def send_test(
    campaign: Campaign, address: str, *, locale: str | None = None, notice_id: str = templates.DEFAULT_NOTICE
) -> templates.Rendered:
    """Send one notice, marked as a test, to an address of the operator's; nothing is recorded or published."""
    settings, directory = campaign.settings, campaign.spec.directory
    to = messages.parse_address(address)
    if to is None:
        raise UsageError("this is not a mail address", hint="one address like somebody@example.org")
    now = campaign.clock.now()
    rendered = preview.preview(settings, directory, preview.reader(locale), now=now, notice_id=notice_id)
    key = f"test-{secrets.token_hex(16)}"
    sender = messages.parse_sender(settings.notify.sender)
    message = messages.compose(rendered, sender=sender, to=to, headers=messages.automatic(key, sender, now))
    message.replace_header("Subject", f"[TEST] {rendered.subject}")
    answer = _open_channel(campaign)[1].send(Dispatch(idempotency_key=key, message=message))
    if isinstance(answer, Rejected):
        raise ChannelError(f"the channel refused the test notice: {answer.detail}")
    return rendered


def _open_channel(campaign: Campaign) -> tuple[str, NoticeChannel]:
    """The configured channel and its kind, which is the name that notices are recorded under."""
    address = campaign.settings.notify.channel
    implementation, rest = plugins.channel_class(address)
    return address.partition(":")[0], implementation.open(rest, directory=campaign.spec.directory)


class _Sender:
    """One `send`: what stays the same over all pages."""

    def __init__(self, campaign: Campaign, notice_id: str, pacer: Pacer) -> None:
        self._campaign = campaign
        self._notice_id = notice_id
        self._pacer = pacer
        self._from = messages.parse_sender(campaign.settings.notify.sender)
        catalogue = templates.catalogue(campaign.settings, campaign.spec.directory)
        self._available = templates.current(catalogue, notice_id)
        lint.require_clean(self._available.values())
        self._version = next(iter(self._available.values())).version
        self._channel, self._port = _open_channel(campaign)
        self._references = campaign.references
        with campaign.database.read() as connection:
            queue.refuse_changed(connection, self._available.values())

    def send(self, page: Sequence[Account]) -> SendResult:
        """Decide, record, deliver and mark one page."""
        accounts = [account for account in page if _can_be_stored(account.account_id)]
        with self._campaign.database.write("notices-queue") as connection:
            decided, references = self._queue(connection, accounts)
        ready = [entry for entry in decided if entry.state is NoticeState.QUEUED]
        addresses = {account.account_id: account.email or "" for account in accounts}
        delivered = self._deliver(ready, addresses, references)
        rejected = sum(1 for _, rejection in delivered if rejection is not None)
        return SendResult(
            sent=len(delivered) - rejected,
            already=len(accounts) - len(decided),
            unreachable=sum(1 for entry in decided if entry.state is NoticeState.UNREACHABLE),
            blocked=sum(1 for entry in decided if entry.state is NoticeState.BLOCKED),
            failed=rejected + len(page) - len(accounts),
        )

    def _queue(self, connection: sa.Connection, accounts: Sequence[Account]) -> tuple[list[Entry], dict[str, str]]:
        """Decide for each account that was not sent the notice; record what is new."""
        ids = [account.account_id for account in accounts]
        before = queue.stored(connection, ids, self._notice_id, self._channel)
        open_ = [account for account in accounts if not _is_sent(before.get(account.account_id))]
        ensure_salts(connection, [account.account_id for account in open_])
        references = self._references.accounts(connection, [account.account_id for account in open_])
        published = queue.published(connection, self._notice_id)
        now = self._campaign.clock.now()
        decided: list[Entry] = []
        new: list[Entry] = []
        for account in open_:
            known = before.get(account.account_id)
            reference = references[account.account_id]
            entry = self._again(account, known, published, reference) if known else None
            if entry is None:
                entry = self._decide(account, reference, now)
                new.append(entry)
            decided.append(entry)
        queue.put(connection, self._campaign, self._channel, new, before, notice_id=self._notice_id, now=now)
        return decided, references

    def _again(
        self, account: Account, known: Stored, published: Mapping[tuple[str, str], Template], reference: str
    ) -> Entry | None:
        """The very notice that a killed process had queued, perhaps delivered; None if it would read differently."""
        template = published.get((known.version, known.locale or ""))
        if known.state is not NoticeState.QUEUED or template is None or _address_of(account) is None:
            return None
        rendered = templates.render(template, account, self._campaign.settings, known.queued_at)
        if rendered.sha256 != known.rendered_sha256:
            return None
        wanted = templates.wanted_locale(account, self._campaign.settings)
        return self._entry(account, wanted, reference, rendered)

    def _decide(self, account: Account, reference: str, now: datetime) -> Entry:
        settings = self._campaign.settings
        wanted = templates.wanted_locale(account, settings)
        template = templates.for_reader(self._available, wanted)
        if _address_of(account) is None:
            detail = "invalid address" if account.email else "no address"
            return self._untold(account, NoticeState.UNREACHABLE, wanted, detail)
        if template is None:
            return self._untold(account, NoticeState.BLOCKED, wanted, "unavailable locale")
        rendered = templates.render(template, account, settings, now)
        return self._entry(account, wanted, reference, rendered)

    def _untold(self, account: Account, state: NoticeState, wanted: str | None, detail: str) -> Entry:
        return Entry(account_id=account.account_id, state=state, version=self._version, wanted=wanted, detail=detail)

    def _entry(self, account: Account, wanted: str | None, reference: str, rendered: templates.Rendered) -> Entry:
        return Entry(
            account_id=account.account_id,
            state=NoticeState.QUEUED,
            version=rendered.template.version,
            wanted=wanted,
            rendered=rendered,
            message_id=messages.message_id(self._key(reference), self._from),
        )

    def _key(self, reference: str) -> str:
        return messages.idempotency_key(self._campaign.name, reference, self._notice_id, self._channel)

    def _deliver(
        self, ready: Sequence[Entry], addresses: Mapping[str, str], references: Mapping[str, str]
    ) -> list[tuple[Entry, str | None]]:
        """Hand each notice to the channel; what got through is marked even if the channel then fails."""
        delivered: list[tuple[Entry, str | None]] = []
        try:
            for entry in ready:
                dispatch = self._dispatch(entry, addresses[entry.account_id], references[entry.account_id])
                self._pacer.wait()
                answer = self._port.send(dispatch)
                delivered.append((entry, answer.detail if isinstance(answer, Rejected) else None))
        finally:
            if delivered:
                with self._campaign.database.write("notices-sent") as connection:
                    queue.finish(
                        connection, self._campaign, self._channel, delivered, references, notice_id=self._notice_id
                    )
        return delivered

    def _dispatch(self, entry: Entry, address: str, reference: str) -> Dispatch:
        to = messages.parse_address(address)
        if entry.rendered is None or to is None:
            raise ValueError("only a notice with a text and an address is queued")
        key = self._key(reference)
        headers = messages.automatic(key, self._from, self._campaign.clock.now())
        message = messages.compose(entry.rendered, sender=self._from, to=to, headers=headers)
        return Dispatch(idempotency_key=key, message=message)


def _address_of(account: Account) -> Address | None:
    return messages.parse_address(account.email) if account.email else None


def _is_sent(known: Stored | None) -> bool:
    return known is not None and known.state is NoticeState.SENT


def _can_be_stored(account_id: str) -> bool:
    """Databases take no NUL and no broken UTF-8; an account with such an id can't authorise anything either."""
    return "\0" not in account_id and account_id.encode("utf-8", "replace").decode() == account_id
