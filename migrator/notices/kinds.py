"""The notices that migrator ships, and whom their words are for.

A kind's value is the notice id of its templates, which authorisations name. An operator's folder may have notices of
other ids as well; no rule below asks anything of those, except that each is sent because somebody named it, and so
none of them begins anybody's notice period.
"""

from enum import StrEnum
from typing import Final


class NoticeKind(StrEnum):
    """What a notice is for."""

    FIRST = "cutover"
    """What happens, by when, what happens without an answer, and how to answer."""
    REMINDER = "reminder"
    """The same in short, to those who have not answered."""
    LAST_CALL = "last_call"
    """The same on the eve of the cutover, to those who have not answered; nobody can opt out of it."""
    DONE = "done"
    """After the cutover: history that was authorised has been moved."""
    KEPT_SEALED = "kept_sealed"
    """After the cutover: nothing was opened; until when it is kept."""
    DESTROYED = "destroyed"
    """The sealed history is gone."""
    RECEIVED = "received"
    """What was recorded of an answer, and how to take it back."""
    CORRECTION = "correction"
    """An earlier notice was wrong; what is true."""


class Audience(StrEnum):
    """Whom the words are for: a template has a branch for each, so that one digest covers all of them."""

    EVERYONE = "everyone"
    MINOR = "minor"
    """The account is a minor's: plain words, and whose authorisation counts."""
    GUARDIAN = "guardian"
    """The account is named as the guardian of a minor's: its own conversations, and the minor's."""


BEFORE_CUTOVER: Final = frozenset({NoticeKind.FIRST, NoticeKind.REMINDER, NoticeKind.LAST_CALL, NoticeKind.CORRECTION})
"""These must say what happens without an answer, and by when; a notice period begins with one of them."""

ONLY_UNANSWERED: Final = frozenset({NoticeKind.REMINDER, NoticeKind.LAST_CALL})
"""An answer ends these."""

CAN_BE_SILENCED: Final = frozenset({NoticeKind.REMINDER})
"""An account may opt out of these. Never of the first and the last notice, nor of what was done with its history."""


def kind_of(notice_id: str) -> NoticeKind | None:
    """The kind behind a notice id; None for an operator's own notice."""
    return NoticeKind(notice_id) if notice_id in set(NoticeKind) else None
