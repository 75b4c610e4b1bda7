"""The import of exports on PostgreSQL: parts as binary columns, the lock between two imports, crashes, counts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.campaign import Campaign
from tests.exports.support import campaign_in, database_at
from tests.exports.test_importing import (
    test_a_kill_at_the_commit_leaves_all_or_nothing,
    test_a_repeat_is_already_there,
    test_a_rival_that_was_faster_is_seen_under_the_lock,
    test_an_export_is_stored_sealed_as_it_is,
    test_many_conversations_go_in_batches,
    test_the_same_export_imported_at_once_is_recorded_once,
    test_what_the_reference_client_writes_is_taken_and_opens,
)
from tests.exports.test_status import test_claims_are_added_up_by_kind, test_exports_are_counted
from tests.support import postgres

__all__ = [
    "test_a_kill_at_the_commit_leaves_all_or_nothing",
    "test_a_repeat_is_already_there",
    "test_a_rival_that_was_faster_is_seen_under_the_lock",
    "test_an_export_is_stored_sealed_as_it_is",
    "test_claims_are_added_up_by_kind",
    "test_exports_are_counted",
    "test_many_conversations_go_in_batches",
    "test_the_same_export_imported_at_once_is_recorded_once",
    "test_what_the_reference_client_writes_is_taken_and_opens",
]


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    """A campaign that is set up on a server, with nothing imported."""
    with postgres.database() as url, database_at(url), campaign_in(tmp_path) as opened:
        yield opened
