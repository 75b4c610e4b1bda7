"""One conversation on its way through a worker."""

from dataclasses import dataclass

from migrator.core.model import Conversation


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A conversation that the policy lets open now, with all that opening it needs.

    `planned` is the plan's count of its messages, `exporters` the accounts whose exports may be used, `visible` whether
    readers see an earlier state of it, `partial` whether an earlier transaction wrote some of it.
    """

    conversation_no: int
    conversation: Conversation
    ref: str
    region: str | None
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
        return {
            "messages": self.conversation.messages,
            "last_sent_at": self.conversation.last_sent_at,
            "export_no": self.newest_export_no,
        }
