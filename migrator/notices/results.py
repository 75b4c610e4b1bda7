"""What became of each account's conversations, for the notices after the cutover.

The source knows a conversation's accounts, the migrator database whether it was moved; a walk over the population
brings the two together in `migrator_notice_result`. Before a run has been completed nobody can be told anything, and
neither while conversations were only ever left out of cohorts: who is in no canary would read that theirs stay
sealed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from migrator import left_out
from migrator.campaign import Campaign
from migrator.core.lifecycle import RunState
from migrator.core.model import Conversation
from migrator.database import tables
from migrator.database.bulk import chunks, insert_rows
from migrator.notices import control


def refresh(campaign: Campaign) -> bool:
    """Walk the population if the latest run was completed after the last walk; whether results are there."""
    with campaign.database.read() as connection:
        wanted = _latest_completed(connection)
        done = control.read(connection, campaign.name).results_for
    if wanted is None:
        return False
    if wanted == done:
        return True
    with campaign.database.write("notices-results") as connection:
        control.write(connection, campaign.name, results_for=None)
        connection.execute(tables.notice_result.delete())
    for page in campaign.store.population():
        _add(campaign, page)
    with campaign.database.write("notices-results") as connection:
        control.write(connection, campaign.name, results_for=wanted)
    return True


def _latest_completed(connection: sa.Connection) -> str | None:
    """The latest run and when it ended; None where it is not completed: what it leaves is not final then."""
    table = tables.run
    query = sa.select(table.c.run_id, table.c.state, table.c.finished_at).order_by(table.c.run_no.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None or row.state != RunState.COMPLETED.value or left_out.count(connection):
        return None
    return f"{row.run_id} {row.finished_at}"


def _add(campaign: Campaign, page: list[Conversation]) -> None:
    counted = [conversation for conversation in page if conversation.messages and not conversation.fault]
    with campaign.database.read() as connection:
        moved = _moved(connection, [conversation.conversation_id for conversation in counted])
    found: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for conversation in counted:
        found[conversation.conversation_id in moved].update(_whose(conversation))
    with campaign.database.write("notices-results") as connection:
        _put(connection, found)


def _whose(conversation: Conversation) -> Iterable[str]:
    """A mailbox's copy is its owner's; a shared room is everybody's in it."""
    return (conversation.owner_id,) if conversation.owner_id is not None else set(conversation.participants)


def _moved(connection: sa.Connection, conversation_ids: list[str]) -> set[str]:
    table = tables.conversation
    found: set[str] = set()
    for chunk in chunks(conversation_ids):
        query = sa.select(table.c.conversation_id).where(table.c.conversation_id.in_(chunk), table.c.mode == "server")
        found.update(connection.scalars(query))
    return found


def _put(connection: sa.Connection, found: Mapping[bool, Counter[str]]) -> None:
    """Add a page's counts to what earlier pages gave."""
    table = tables.notice_result
    for chunk in chunks(sorted(account for account in {*found[True], *found[False]} if "\0" not in account)):
        query = sa.select(table.c.account_id, table.c.moved, table.c.sealed).where(table.c.account_id.in_(chunk))
        before = {row[0]: (row[1], row[2]) for row in connection.execute(query)}
        connection.execute(table.delete().where(table.c.account_id.in_(chunk)))
        rows = []
        for account in chunk:
            moved, sealed = before.get(account, (0, 0))
            rows.append((account, moved + found[True][account], sealed + found[False][account]))
        insert_rows(connection, table, ("account_id", "moved", "sealed"), rows)
