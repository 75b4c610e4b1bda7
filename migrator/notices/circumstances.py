"""What a notice says of one account beyond the settings of the campaign."""

from dataclasses import dataclass
from datetime import datetime

from migrator.core.policy import Answer
from migrator.notices.kinds import Audience


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAnswer:
    """An authorisation record as a receipt confirms it: the answer, when it was recorded, under which number."""

    answer: Answer
    recorded_at: datetime
    record_id: str
    all_conversations: bool = True
    """Whether it is about all of them, or about those that the record names."""
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """One account's case. What is None is not known, or 0: the notice does not speak of it."""

    audience: Audience | None = None
    """None: `minor` for a minor's account, else `everyone`. A guardian is known only from the minors' accounts.

    A receipt says `guardian` where it confirms to the guardian an answer for the minor's account.
    """
    first_noticed_at: datetime | None = None
    """When the account was first told, for its notice period; None: this is the first notice."""
    moved: int | None = None
    """Conversations whose history has been moved."""
    sealed: int | None = None
    """Conversations whose history is kept sealed."""
    destroyed: int | None = None
    """Conversations whose sealed history has been destroyed."""
    answer: RecordedAnswer | None = None
    """The answer that a receipt confirms."""
