"""What a store of rooms can tell besides: it is asked for archives, and by nothing that migrates."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class KnowsRooms(Protocol):
    """A store whose conversations hold events that never were encrypted, and whose events say something in the clear.

    Matrix keeps relations (answers, edits, threads) beside the ciphertext, and most clients leave them out of it. Both
    methods raise `SourceError` as `MessageStore`'s do.
    """

    def clear_text(self, conversation_ids: Sequence[str]) -> dict[str, int]:
        """How many messages of some rooms were never encrypted; state events don't count. Rooms may be missing."""
        ...

    def relations(self, conversation_id: str, message_ids: Sequence[str]) -> dict[str, str]:
        """The JSON text of `m.relates_to` beside the ciphertext of some events: `null` where there is none.

        Events that the store does not have are missing from the result.
        """
        ...
