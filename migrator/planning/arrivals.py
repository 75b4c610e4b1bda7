"""What came after the flip: messages of migrated conversations that no run has taken up, as the newest plan counted.

Counting them takes a walk over the source, which every plan makes anyway; whoever asks in between gets that figure and
when it was made.
"""

import json
from dataclasses import dataclass

import sqlalchemy as sa

from migrator.database import tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Conversations with messages that are newer than their flip, and how many these are, when a plan was made.

    Where that plan was executed, without what it took up.
    """

    plan_id: str
    counted_at: str
    conversations: int
    messages: int


def newest(connection: sa.Connection) -> Arrivals | None:
    """The newest plan's figure; None where it found nothing migrated."""
    plan = tables.plan
    row = connection.execute(
        sa.select(plan.c.plan_id, plan.c.created_at, plan.c.document, plan.c.consumed_by)
        .where(plan.c.state != "making")
        .order_by(plan.c.plan_no.desc())
        .limit(1)
    ).one_or_none()
    document = {} if row is None else json.loads(row.document)
    if row is None or "arrivals" not in document:
        return None
    taken = document["extend"]["tails"] if row.consumed_by is not None else {"conversations": 0, "messages": 0}
    found = document["arrivals"]
    return Arrivals(
        plan_id=row.plan_id,
        counted_at=row.created_at,
        conversations=found["conversations"] - taken["conversations"],
        messages=found["messages"] - taken["messages"],
    )
