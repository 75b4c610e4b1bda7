"""One notice to an address of the operator's own, through the real channel: recorded nowhere, counts for nobody."""

import secrets

from migrator.campaign import Campaign
from migrator.channels.interface import Accepted, Deferred, Dispatch, Gone, NoticeChannel, Rejected
from migrator.core.errors import ChannelError, UsageError
from migrator.notices import messages, outlets, preview, templates
from migrator.notices.templates import Rendered


def send_test(
    campaign: Campaign, recipient: str, *, locale: str | None = None, notice_id: str = templates.DEFAULT_NOTICE,
    channel: str | None = None,
) -> Rendered:  # fmt: skip
    """Send a notice, marked as a test, to a mail address; over a channel that knows accounts by their id, to that id.

    `channel`: its name; the first one unless given. Raises `UsageError` and `ChannelError`.
    """
    settings, directory = campaign.settings, campaign.spec.directory
    now = campaign.clock.now()
    rendered = preview.preview(settings, directory, preview.reader(locale), now=now, notice_id=notice_id)
    key = f"test-{secrets.token_hex(16)}"
    sender = messages.parse_sender(settings.notify.sender)
    with outlets.opened(campaign) as opened:
        known = [outlet.name for outlet in opened.every]
        if channel is not None and channel not in known:
            raise UsageError(f"there is no channel {channel!r}", hint=f"there are: {', '.join(known)}")
        port = opened.named(channel or known[0]).port
        to = messages.parse_address(recipient)
        if port.by_mail and to is None:
            raise UsageError("this is not a mail address", hint="one address like somebody@example.org")
        message = messages.compose(
            rendered, sender=sender, to=to if port.by_mail else None, headers=messages.automatic(key, sender, now)
        )
        message.replace_header("Subject", f"[TEST] {rendered.subject}")
        _send(port, Dispatch(idempotency_key=key, account_id=recipient, message=message, facts={"test": "true"}))
    return rendered


def _send(port: NoticeChannel, dispatch: Dispatch) -> None:
    match port.send(dispatch):
        case Accepted():
            return
        case Rejected(detail=detail) | Gone(detail=detail):
            raise ChannelError(
                f"the channel refused the test notice: {detail}", hint="check the address, then the channel"
            )
        case Deferred(detail=detail):
            raise ChannelError(f"the channel does not take the test notice now: {detail}", hint="try again later")
