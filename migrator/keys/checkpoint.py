"""How far a rewrap is, so that one that was interrupted goes on there."""

import secrets
from dataclasses import dataclass

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.database import tables


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """A rewrap that is under way. Data keys of conversations up to `through_no` are done."""

    rewrap_id: str
    through_no: int
    rewrapped: int
    refused: int


def begin(campaign: Campaign, target: str) -> Checkpoint:
    """The unfinished rewrap that is after the same, or a new one; what was after something else is given up."""
    table = tables.rewrap
    with campaign.database.write("rewrap-begin") as connection:
        row = connection.execute(
            sa.select(table).where(table.c.finished_at.is_(None), table.c.target == target).limit(1)
        ).one_or_none()
        if row is not None:
            return Checkpoint(
                rewrap_id=row.rewrap_id, through_no=row.through_no, rewrapped=row.rewrapped, refused=row.refused
            )
        connection.execute(table.delete().where(table.c.finished_at.is_(None)))
        made = Checkpoint(rewrap_id=f"rewrap-{secrets.token_hex(8)}", through_no=0, rewrapped=0, refused=0)
        connection.execute(
            table.insert().values(
                rewrap_id=made.rewrap_id,
                target=target,
                through_no=0,
                rewrapped=0,
                refused=0,
                started_at=format_time(campaign.clock.now()),
            )
        )
        return made


def save(connection: sa.Connection, checkpoint: Checkpoint) -> None:
    """Note how far it is, in the transaction that brought it there."""
    table = tables.rewrap
    connection.execute(
        table.update()
        .where(table.c.rewrap_id == checkpoint.rewrap_id)
        .values(through_no=checkpoint.through_no, rewrapped=checkpoint.rewrapped, refused=checkpoint.refused)
    )


def finish(campaign: Campaign, checkpoint: Checkpoint) -> None:
    """Every key was looked at."""
    table = tables.rewrap
    with campaign.database.write("rewrap-finish") as connection:
        connection.execute(
            table.update()
            .where(table.c.rewrap_id == checkpoint.rewrap_id)
            .values(finished_at=format_time(campaign.clock.now()))
        )
