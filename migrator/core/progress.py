"""How a long piece of work says how far it is; the command line draws it, everything else only reports."""

from typing import Protocol


class Progress(Protocol):
    """Told by services, shown by the command line. Carries counts and phases, never ids or content."""

    def phase(self, name: str, *, total: int | None, done: int = 0, unit: str = "messages") -> None:
        """A phase begins; `done` is what an earlier session had finished."""
        ...

    def advance(self, count: int) -> None:
        """So many more units of the phase are finished."""
        ...

    def held_up(self, seconds: float) -> None:
        """So long nothing could be done, as a service asked for patience: no part of how fast the work goes."""
        ...

    def note(self, text: str) -> None:
        """Something that a person who watches should read, such as why it waits."""
        ...


class NoProgress:
    """Nobody watches."""

    def phase(self, name: str, *, total: int | None, done: int = 0, unit: str = "messages") -> None:
        """Ignored."""

    def advance(self, count: int) -> None:
        """Ignored."""

    def held_up(self, seconds: float) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""
