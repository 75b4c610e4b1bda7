"""What became of each account's conversations: counted from the source and from what was moved."""

from pathlib import Path

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.database import tables
from migrator.notices import results
from migrator.stores import labyrinth_tables
from tests.notices.support import account_row, opened


def _put_threads(folder: Path, *threads: tuple[str, str, int]) -> None:
    """(owner, thread, messages) into the source."""
    engine = sa.create_engine(f"sqlite:///{folder}/store.db")
    with engine.begin() as connection:
        for owner in sorted({owner for owner, _, _ in threads}):
            connection.execute(labyrinth_tables.inbox.insert().values(inbox_id=f"i-{owner}", account_id=owner))
        for owner, thread, messages in threads:
            place = {"inbox_id": f"i-{owner}", "thread_id": thread}
            connection.execute(labyrinth_tables.thread.insert().values(**place, kind="group"))
            connection.execute(labyrinth_tables.thread_member.insert().values(**place, account_id=owner))
            for n in range(messages):
                row = {**place, "sent_at": n, "message_id": f"m{n}", "sender_id": owner, "epoch_id": "e", "version": 4}
                connection.execute(labyrinth_tables.message.insert().values(**row, encrypted_message_data=b""))
    engine.dispose()


def _run(campaign: Campaign, number: int, state: str, *moved: str) -> None:
    run = {"run_id": f"r{number}", "run_no": number, "plan_id": "p", "generation": 1, "started_at": ""}
    with campaign.database.write("test") as connection:
        connection.execute(tables.run.insert().values(**run, state=state))
        for conversation_id in moved:
            connection.execute(tables.conversation.insert().values(conversation_id=conversation_id, mode="server"))


def _counts(campaign: Campaign) -> dict[str, tuple[int, int]]:
    table = tables.notice_result.c
    with campaign.database.read() as connection:
        rows = connection.execute(sa.select(table.account_id, table.moved, table.sealed))
        return {account: (moved, sealed) for account, moved, sealed in rows}


def test_counted_once_a_run_is_completed(tmp_path: Path) -> None:
    """Moved and sealed by owner, threads without a message left out; anew after each run, never added up."""
    with opened(tmp_path, [account_row("ana"), account_row("ben")]) as campaign:
        _put_threads(tmp_path, ("ana", "t1", 2), ("ana", "t2", 1), ("ana", "t3", 0), ("ben", "t1", 2))
        assert not results.refresh(campaign)
        _run(campaign, 1, "completed", "i-ana/t1")
        assert results.refresh(campaign)
        assert _counts(campaign) == {"ana": (1, 1), "ben": (0, 1)}
        _run(campaign, 2, "executing")
        assert not results.refresh(campaign)  # nobody is told what may be otherwise in an hour
        _run(campaign, 3, "completed", "i-ben/t1")
        assert results.refresh(campaign)
        assert results.refresh(campaign)
        assert _counts(campaign) == {"ana": (1, 1), "ben": (1, 0)}
