"""One conversation on its way through a worker."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from migrator.core.model import Conversation, source_through


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A conversation that the policy lets open now, with all that opening it needs.

    `regions` decide who wraps its data key (`migrator.key_routing`). `exporters`: accounts whose exports may be used,
    `visible`: readers see an earlier state of it, `partial`: an earlier transaction wrote some of it.
    """

    conversation_no: int
    conversation: Conversation
    ref: str
    regions: frozenset[str | None]
    exporters: tuple[str, ...]
    newest_export_no: int
    visible: bool
    partial: bool

    @property
    def conversation_id(self) -> str:
        """The conversation's id."""
        return self.conversation.conversation_id

    def source_through(self) -> dict[str, int | None]:
        """What of source and exports the history covers once this work is done."""
        return source_through(self.conversation, self.newest_export_no)


def units(works: Sequence[Work], page_size: int) -> Iterator[list[Work]]:
    """Conversations in order, together as long as their messages make up one page."""
    unit: list[Work] = []
    size = 0
    for work in works:
        if unit and size + work.conversation.messages > page_size:
            yield unit
            unit, size = [], 0
        unit.append(work)
        size += work.conversation.messages
    if unit:
        yield unit
