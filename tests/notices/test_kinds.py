"""The kinds of notices."""

import pytest

from migrator.notices import kinds, templates
from migrator.notices.kinds import NoticeKind


def test_the_first_notice_keeps_its_id() -> None:
    """Authorisations name it; it is what `send` sends unless told otherwise."""
    assert NoticeKind.FIRST.value == templates.DEFAULT_NOTICE == "cutover"


@pytest.mark.parametrize("kind", [NoticeKind.FIRST, NoticeKind.LAST_CALL, NoticeKind.DONE, NoticeKind.KEPT_SEALED])
def test_only_reminders_can_be_silenced(kind: NoticeKind) -> None:
    """The first and the last notice reach everybody."""
    assert kind not in kinds.CAN_BE_SILENCED
    assert kinds.kind_of(kind.value) is kind
    assert kinds.kind_of("operators-own") is None
