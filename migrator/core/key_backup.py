"""What a server keeps of an account's keys: ciphertexts, and the account data that leads to their key.

A key line that names only the key of such a backup is completed from here when it is opened.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol


class BackupVersion(NamedTuple):
    """One backup: its algorithm, and the JSON text that names its public key. Newest first wherever several stand."""

    version: int
    algorithm: str
    auth_data: str


class BackedUpSession(NamedTuple):
    """One session of a backup: what the server files it under, and the JSON text that holds its ciphertext."""

    room_id: str
    session_id: str
    session_data: str


class KeyBackup(Protocol):
    """The backups of one account, limited to some rooms. Raises `SourceError`."""

    def versions(self) -> Sequence[BackupVersion]:
        """The backups that were not deleted, newest first."""
        ...

    def secret(self, name: str) -> str | None:
        """The account data of a type, as JSON text: secrets in secret storage, and the descriptions of its keys."""
        ...

    def sessions(self, version: int) -> Iterator[BackedUpSession]:
        """The sessions of a backup, a page in memory at a time."""
        ...


BackupOf = Callable[[], KeyBackup | None]
"""The backup of the account whose export is opened; None: the source keeps none. Asks the source."""
