"""One conversation on its way through a worker."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from migrator.core.model import Conversation
from migrator.core.source_through import source_through


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A conversation that the policy lets open now, with all that opening it needs.

    `regions` decide who wraps its data key (`migrator.key_routing`). `exporters`: accounts whose exports may be used,
    `visible`: readers see an earlier state of it, `partial`: an earlier transaction wrote some of it. `closed`: why
    nothing of it may be opened (an outcome); only what the source has taken back is removed. `covers`: what its history
    covers after that. `attachments`: they are taken over too. `withheld`: whose exports may not be used, as a number.
    """

    conversation_no: int
    conversation: Conversation
    ref: str
    regions: frozenset[str | None]
    exporters: tuple[str, ...]
    newest_export_no: int
    visible: bool
    partial: bool
    closed: str | None = None
    covers: Mapping[str, int | None] | None = None
    attachments: bool = False
    withheld: int = 0

    @property
    def conversation_id(self) -> str:
        """The conversation's id."""
        return self.conversation.conversation_id

    def source_through(self) -> dict[str, int | None]:
        """What of source and exports the history covers once this work is done."""
        if self.covers is not None:
            return dict(self.covers)
        return source_through(
            self.conversation, self.newest_export_no, attachments=self.attachments, withheld=self.withheld
        )


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
