"""How many have answered, and what."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.policy import RESTRICTIVENESS, Answer
from migrator.database import tables


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationStatus:
    """Counts of what was imported.

    `accounts` by their newest answer, of whatever scope and whoever signed it, on a tie the more restrictive: an
    overview, not a decision. `records` by answer; those that an issuer or a guardian signed are also counted apart.
    """

    accounts: Mapping[Answer, int]
    records: Mapping[Answer, int]
    issuer_records: Mapping[Answer, int]
    guardian_records: Mapping[Answer, int]


def status(campaign: Campaign) -> AuthorizationStatus:
    """Count everything that was imported into this campaign."""
    table = tables.authorization
    with campaign.database.read() as connection:
        return AuthorizationStatus(
            accounts=_accounts(connection),
            records=_records(connection, sa.true()),
            issuer_records=_records(connection, table.c.issuer.is_not(None)),
            guardian_records=_records(connection, table.c.guardian_id.is_not(None)),
        )


def _records(connection: sa.Connection, which: sa.ColumnElement[bool]) -> dict[Answer, int]:
    answer = tables.authorization.c.answer
    query = sa.select(answer, sa.func.count()).where(which).group_by(answer)
    return _complete({row[0]: row[1] for row in connection.execute(query)})


def _accounts(connection: sa.Connection) -> dict[Answer, int]:
    table = tables.authorization
    severity = sa.case({answer.value: rank for answer, rank in RESTRICTIVENESS.items()}, value=table.c.answer)
    rank = sa.func.row_number().over(
        partition_by=table.c.account_id, order_by=(table.c.decided_at.desc(), severity.desc())
    )
    ranked = sa.select(table.c.answer, rank.label("rank")).subquery()
    query = sa.select(ranked.c.answer, sa.func.count()).where(ranked.c.rank == 1).group_by(ranked.c.answer)
    return _complete({row[0]: row[1] for row in connection.execute(query)})


def _complete(counted: Mapping[str, int]) -> dict[Answer, int]:
    return {answer: counted.get(answer.value, 0) for answer in Answer}
