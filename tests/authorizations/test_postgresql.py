"""The import of authorisations on PostgreSQL: bulk writes, the lock between two imports, crashes, salts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.campaign import CampaignSpec, open_campaign
from tests.authorizations.support import Desk, initialise
from tests.authorizations.test_counting import test_accounts_count_by_their_newest_answer
from tests.authorizations.test_importing import (
    test_a_grant_is_recorded_whole,
    test_a_repeat_is_already_and_changes_nothing,
    test_a_salt_is_made_once,
    test_batches_add_up,
    test_killed_at_the_commit,
    test_two_imports_at_once,
)
from tests.authorizations.test_scopes import test_only_unknown_ids_are_looked_up_again
from tests.support import postgres

__all__ = [
    "test_a_grant_is_recorded_whole",
    "test_a_repeat_is_already_and_changes_nothing",
    "test_a_salt_is_made_once",
    "test_accounts_count_by_their_newest_answer",
    "test_batches_add_up",
    "test_killed_at_the_commit",
    "test_only_unknown_ids_are_looked_up_again",
    "test_two_imports_at_once",
]


@pytest.fixture
def spec(tmp_path: Path) -> Iterator[CampaignSpec]:
    """A campaign of the test's own, on a server."""
    with postgres.database() as url:
        (tmp_path / "campaign").mkdir()
        yield initialise(tmp_path / "campaign", database={"url": url})


@pytest.fixture
def desk(spec: CampaignSpec) -> Iterator[Desk]:
    """The campaign, open."""
    with open_campaign(spec) as campaign:
        yield Desk(campaign)
