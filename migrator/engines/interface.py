"""The port to what runs the workers: a `concurrent.futures` executor, on one machine or on many."""

from concurrent.futures import Executor
from typing import Protocol


class Engine(Protocol):
    """Makes executors. Work that was lost with its worker is `BrokenExecutor`; then another executor is asked for."""

    @property
    def workers(self) -> int:
        """How many shards are worked on at once; it may change. 0: nobody is there at the moment.

        Raises `MigratorError` where there is nothing that could ever have workers.
        """
        ...

    def executor(self) -> Executor:
        """An executor that works: a fresh one, or the one before if it is whole. Whoever asked shuts it down.

        Raises `BrokenExecutor` while there can't be any.
        """
        ...
