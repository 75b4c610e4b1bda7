"""The port to what runs the workers: a `concurrent.futures` executor, on one machine or on many."""

from concurrent.futures import Executor
from typing import Protocol


class Engine(Protocol):
    """Makes executors. When one breaks because a worker died, the coordinator asks for another."""

    @property
    def workers(self) -> int:
        """How many shards are worked on at once."""
        ...

    def executor(self) -> Executor:
        """A fresh executor; whoever asked shuts it down."""
        ...
