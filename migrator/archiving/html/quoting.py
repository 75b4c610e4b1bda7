"""What a page says of messages that stand elsewhere: quotes of them, short ones, fetched for a whole page at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from migrator.archiving.html.index import Stands
from migrator.archiving.interface import History
from migrator.archiving.matrix_event import event_of
from migrator.archiving.plain_text import readable, summary, visible
from migrator.history import Place
from migrator.reading import ReadMessage

_MOST: Final = 2000
"""Characters of a quote."""
_TOGETHER: Final = 100
"""Messages that are opened at once: with what is quoted of each, memory stays small whatever they hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The beginning of what a message says; `reaction`: if it is one."""

    sender: str
    text: str = field(repr=False)
    reaction: str = field(repr=False)


class Quotes:
    """Quotes of some messages of a conversation."""

    def __init__(self, history: History, wanted: Iterable[Stands]) -> None:
        self._found: dict[Place, Quote] = {}
        places = iter({stands.place for stands in wanted if stands.gap is None})
        while batch := list(islice(places, _TOGETHER)):
            self._found.update((place, _quote(message)) for place, message in history.at(batch).items())

    def of(self, stands: Stands | None) -> Quote | None:
        """The quote of a message; None where it is a gap or not there."""
        return None if stands is None else self._found.get(stands.place)

    def replaced(self, sender: str, target: Stands | None, before: Sequence[Stands]) -> Quote | None:
        """What an edit replaced: the sender's edit before it, or else the message itself."""
        for stands in (*before, target):
            quote = self.of(stands)
            if quote is not None and quote.sender == sender:
                return quote
        return None


def _quote(message: ReadMessage) -> Quote:
    event = event_of(message)
    text = (readable(message.content) or "(not text)") if event is None else summary(event)
    shown = visible(text[:_MOST]) + ("…" if len(text) > _MOST else "")
    reaction = "" if event is None or event.reacts_to is None else visible(event.reaction[:40])
    return Quote(sender=message.sender_id, text=shown, reaction=reaction)
