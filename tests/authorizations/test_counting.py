"""The overview of who has answered what."""

from migrator.authorizations import import_paths, status
from migrator.core.policy import Answer
from tests.authorizations.support import Desk


def test_nobody_has_answered(desk: Desk) -> None:
    """Every answer is there, with nothing to it."""
    nothing = dict.fromkeys(Answer, 0)
    found = status(desk.campaign)
    assert (found.accounts, found.records, found.issuer_records, found.guardian_records) == (nothing,) * 4


def test_accounts_count_by_their_newest_answer(desk: Desk) -> None:
    """Each account once, by the newest decision, on a tie the more restrictive; records each by itself."""
    texts = [
        desk.record("alice", decided_at="2026-03-01T11:00:00Z", decision="withdraw"),
        desk.record("alice", decided_at="2026-03-01T11:00:00Z"),
        desk.record("alice", decided_at="2026-02-01T11:00:00Z", decision="refuse"),
        desk.record("bob", decided_at="2026-02-01T11:00:00Z", decision="refuse"),
        desk.issuers("bob", decided_at="2026-02-02T11:00:00Z"),
        desk.guardians(),
        desk.record("child", decision="refuse", decided_at="2026-02-01T11:00:00Z"),
    ]
    assert import_paths(desk.campaign, [desk.jsonl(texts)]).recorded == 7
    found = status(desk.campaign)
    assert found.accounts == {Answer.GRANT: 2, Answer.REFUSE: 0, Answer.WITHDRAW: 1}
    assert found.records == {Answer.GRANT: 3, Answer.REFUSE: 3, Answer.WITHDRAW: 1}
    assert found.issuer_records == {Answer.GRANT: 1, Answer.REFUSE: 0, Answer.WITHDRAW: 0}
    assert found.guardian_records == {Answer.GRANT: 1, Answer.REFUSE: 0, Answer.WITHDRAW: 0}
