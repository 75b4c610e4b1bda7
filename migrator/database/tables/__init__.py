"""Every table of the migrator database. The contract names those of the server history; the rest is migrator's own.

Times are RFC 3339 text (see `migrator.core.clock`). Enumerations are text: the closed sets stand in `core`.
Alembic's revisions make these tables; a test holds the two together.
"""

from migrator.database.tables.attachments import attachment, stray_blob
from migrator.database.tables.audit import (
    audit_checkpoint,
    audit_state,
    outbox,
)
from migrator.database.tables.campaign import (
    authorization,
    authorization_scope,
    campaign,
    export,
    export_conversation,
    export_part,
    reference_salt,
)
from migrator.database.tables.history import (
    claim,
    conversation,
    data_key,
    gap,
    item,
    message,
    recipient_key,
)
from migrator.database.tables.kinds import metadata
from migrator.database.tables.notices import (
    notice,
    notice_channel,
    notice_control,
    notice_preference,
    notice_result,
    notice_template,
    notice_ward,
)
from migrator.database.tables.plans import approval, plan, plan_item, plan_order, rehearsal
from migrator.database.tables.runs import (
    addition,
    extension,
    finalization,
    hook_call,
    lease,
    progress,
    rewrap,
    run,
    run_sample,
    shard,
    verification,
    verification_mismatch,
)

__all__ = [
    "addition",
    "approval",
    "attachment",
    "audit_checkpoint",
    "audit_state",
    "authorization",
    "authorization_scope",
    "campaign",
    "claim",
    "conversation",
    "data_key",
    "export",
    "export_conversation",
    "export_part",
    "extension",
    "finalization",
    "gap",
    "hook_call",
    "item",
    "lease",
    "message",
    "metadata",
    "notice",
    "notice_channel",
    "notice_control",
    "notice_preference",
    "notice_result",
    "notice_template",
    "notice_ward",
    "outbox",
    "plan",
    "plan_item",
    "plan_order",
    "progress",
    "recipient_key",
    "reference_salt",
    "rehearsal",
    "rewrap",
    "run",
    "run_sample",
    "shard",
    "stray_blob",
    "verification",
    "verification_mismatch",
]
