"""The queue of notices on PostgreSQL: whoever dies where, each account is told once."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.campaign import Campaign, open_campaign
from migrator.notices import sending
from tests.notices.support import account_row, notice_rows, opened
from tests.support import postgres

ACCOUNTS = [account_row(name) for name in ("ana", "ben", "cem", "dee")]


class Killed(BaseException):
    """Nothing in the program catches this."""


def delivered(folder: Path) -> int:
    """How many messages arrived."""
    return sum(path.is_file() for path in (folder / "outbox").rglob("new/*"))


@pytest.mark.parametrize("label", ["notices-queue", "notices-sent"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_a_commit_each_is_told_once(tmp_path: Path, label: str, moment: str) -> None:
    """The next send completes it: one row, one message and one time for each, and nothing is sent a third time."""

    def pull_the_plug(campaign: Campaign) -> None:
        def boundary(at: str, when: str) -> None:
            if (at, when) == (label, moment):
                raise Killed

        campaign.database.boundary = boundary

    fast = {"channel": "maildir:outbox", "rate": "1000000/s"}
    with postgres.database() as url:
        with opened(tmp_path, ACCOUNTS, database={"url": url}, notify=fast) as campaign:
            spec = campaign.spec
            pull_the_plug(campaign)
            with pytest.raises(Killed):
                sending.send(campaign)
        for _ in range(2):
            with open_campaign(spec) as campaign:
                sending.send(campaign)
        with open_campaign(spec) as campaign:
            rows = notice_rows(campaign)
            assert set(rows) == {row["account_id"] for row in ACCOUNTS}
            assert all(row["state"] == "sent" and row["sent_at"] for row in rows.values())
            with campaign.database.read() as connection:
                assert connection.scalar(sa.text("SELECT count(*) FROM migrator_notice")) == len(ACCOUNTS)
        assert delivered(tmp_path) == len(ACCOUNTS)
