"""Keyed references: how the audit log names accounts and conversations without naming them.

Each subject (an account; a shared room) has a salt of its own in the migrator database. Its reference key is
HMAC-SHA256(campaign reference key, salt); a reference is the first 16 bytes of HMAC-SHA256(reference key, id), in hex.
A conversation is named under its owner's key, so that erasing one salt unlinks everything about that subject.
"""

import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from migrator.core.errors import IntegrityError
from migrator.database import tables
from migrator.database.bulk import insert_rows_unless_there
from migrator.lookups import rows_among

_SALT_BYTES = 16


def ensure_salts(connection: sa.Connection, subject_ids: Iterable[str]) -> None:
    """Give a salt to each subject that has none, in the caller's transaction."""
    wanted = set(subject_ids)
    missing = sorted(wanted - _salts(connection, wanted).keys())
    if missing:
        drawn = os.urandom(_SALT_BYTES * len(missing))
        # Another transaction may give the same subject a salt at this moment: the first to commit wins.
        rows = [(subject, drawn[n * _SALT_BYTES :][:_SALT_BYTES]) for n, subject in enumerate(missing)]
        insert_rows_unless_there(connection, tables.reference_salt, ("subject_id", "salt"), rows)


def _salts(connection: sa.Connection, subject_ids: Iterable[str]) -> dict[str, bytes]:
    table = tables.reference_salt
    rows = rows_among(connection, sa.select(table.c.subject_id, table.c.salt), table.c.subject_id, set(subject_ids))
    return {row[0]: bytes(row[1]) for row in rows}


class References:
    """Computes references; holds the campaign's reference key in memory."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "References(…)"

    def fraction(self, identifier: str, purpose: str) -> float:
        """A number from 0 up to, but not 1 that an id has for some purpose: as good as drawn, and always the same."""
        text = f"{purpose}\0{identifier}".encode("utf-8", "surrogateescape")
        return int.from_bytes(hmac.digest(self._key, text, "sha256")[:6]) / 2**48

    def digest(self, purpose: str, data: bytes) -> bytes:
        """A digest of something secret for some purpose, 32 bytes: without the key nobody can try what gives it."""
        return hmac.digest(self._key, purpose.encode() + b"\0" + data, "sha256")

    def accounts(self, connection: sa.Connection, account_ids: Iterable[str]) -> dict[str, str]:
        """References of accounts, which must have salts."""
        return self.of(connection, {account_id: account_id for account_id in account_ids})

    def of(self, connection: sa.Connection, subject_of: Mapping[str, str]) -> dict[str, str]:
        """References of ids (accounts, conversations), each under its subject's key: id → subject id."""
        salts = _salts(connection, subject_of.values())
        result = {}
        for identifier, subject in subject_of.items():
            if subject not in salts:
                raise IntegrityError("the reference key of a subject was erased: its entries can't be linked")
            subject_key = hmac.digest(self._key, salts[subject], hashlib.sha256)
            result[identifier] = hmac.digest(subject_key, identifier.encode("utf-8", "surrogateescape"), "sha256")[
                :16
            ].hex()
        return result
