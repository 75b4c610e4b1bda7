"""What the audit log says: a closed set of event types, and the value that services hand to the outbox."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

EventData = Mapping[str, "str | int | bool | Mapping[str, int] | Mapping[str, str] | None"]

SHREDDED: Final = "shredded"
"""Reason in a `key.destroyed` event: a conversation's history was destroyed on purpose (`migrator keys destroy`)."""


class EventType(StrEnum):
    """`dev.migrator.<noun>.<verb>` without its prefix (formats, section 7)."""

    LOG_OPENED = "log.opened"
    LOG_HEARTBEAT = "log.heartbeat"
    NOTICE_PUBLISHED = "notice.published"
    NOTICE_SENT = "notice.sent"
    NOTICE_FAILED = "notice.failed"
    RECEIPT_RECORDED = "receipt.recorded"
    AUTHORIZATION_RECORDED = "authorization.recorded"
    AUTHORIZATION_REFUSED = "authorization.refused"
    EXPORT_RECORDED = "export.recorded"
    EXPORT_REFUSED = "export.refused"
    PLAN_CREATED = "plan.created"
    PLAN_APPROVED = "plan.approved"
    APPROVAL_REVOKED = "approval.revoked"
    RUN_STARTED = "run.started"
    RUN_RESUMED = "run.resumed"
    RUN_PAUSED = "run.paused"
    RUN_ABORTED = "run.aborted"
    RUN_STOP_REQUESTED = "run.stop_requested"
    RUN_LIMITS_CHANGED = "run.limits_changed"
    LEASE_RELEASED = "lease.released"
    RUN_COMPLETED = "run.completed"
    CONVERSATION_REWRAPPED = "conversation.rewrapped"
    CONVERSATION_SKIPPED = "conversation.skipped"
    KEY_CREATED = "key.created"
    KEY_REWRAPPED = "key.rewrapped"
    KEY_DESTROYED = "key.destroyed"
    VERIFICATION_COMPLETED = "verification.completed"
    ROLLBACK_COMPLETED = "rollback.completed"
    SOURCE_RETIRED = "source.retired"
    HISTORY_READ = "history.read"
    LOG_READ = "log.read"
    OVERRIDE_USED = "override.used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. `subject`: a keyed reference, or a run, plan or key id. `data`: no personal data."""

    type: EventType
    data: EventData = field(default_factory=dict)
    subject: str | None = None
    run_id: str | None = None
