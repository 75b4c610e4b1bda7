"""Accounts, devices and legal holds of a homeserver.

Accounts are the users of the local domain; those of other servers can't be resolved here, so their authorisation never
counts. Guests, bots and the users of bridges (application services) are accounts like others: nobody can answer for
them, so under `every_participant` a room with a bridge stays sealed, and such rooms take `any_participant`.

Matrix device ids are unique for their user only. A device goes by `<user id>|<device id>` always, and by its plain id
where only one local user has a device of that id; a plain id of two is nobody's. Hidden devices, which cross-signing
keys are, and dehydrated ones sign nothing for their user and are left out.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from migrator.core.errors import SourceError
from migrator.core.model import Account, Device
from migrator.lookups import rows_among
from migrator.stores import synapse_rows as meaning
from migrator.stores.identifiers import identifiers, is_identifier
from migrator.stores.source_database import SourceDatabase, bound, raw_rows
from migrator.stores.synapse_schema import Features, domain_of
from migrator.stores.synapse_tables import (
    dehydrated_devices,
    devices,
    e2e_device_keys_json,
    erased_users,
    user_threepids,
    users,
)

MAX_HOLDS_BYTES: Final = 16 * 1024 * 1024
_MOST_SPLITS: Final = 8
_DEVICES: Final = (
    sa.select(
        e2e_device_keys_json.c.user_id, e2e_device_keys_json.c.device_id, e2e_device_keys_json.c.key_json,
        e2e_device_keys_json.c.ts_added_ms,
    )
    .select_from(
        e2e_device_keys_json.join(
            devices,
            sa.and_(
                devices.c.user_id == e2e_device_keys_json.c.user_id,
                devices.c.device_id == e2e_device_keys_json.c.device_id,
            ),
        ).outerjoin(
            dehydrated_devices,
            sa.and_(
                dehydrated_devices.c.user_id == devices.c.user_id,
                dehydrated_devices.c.device_id == devices.c.device_id,
            ),
        )
    )
    .where(
        sa.func.coalesce(devices.c.hidden, sa.false()) == sa.false(),
        dehydrated_devices.c.device_id.is_(None),
    )
)  # fmt: skip


class PeopleReader:
    """Reads people for one store."""

    def __init__(self, database: SourceDatabase, features: Features, local_domain: str) -> None:
        self._database = database
        self._domain = local_domain
        locks: list[sa.ColumnClause[Any]] = [sa.column(name) for name in features.locks]
        self._users = sa.select(users.c.name, users.c.deactivated, *locks).select_from(users)

    def accounts(self, account_ids: Sequence[str]) -> dict[str, Account]:
        """Local users among some ids."""
        wanted = identifiers(account_ids)
        query = partial(rows_among, query=self._users, column=users.c.name, keys=wanted)
        return {found.account_id: found for found in self._database.run(partial(self._values, read=query))}

    def pages(self, size: int) -> Iterator[list[Account]]:
        """All local users in order of their id; one whose id is not text is left out."""
        name = self._database.bytewise(users.c.name)
        after: Any = None
        while True:
            query = self._users.where(users.c.name.is_not(None)).order_by(name).limit(size)
            if after is not None:
                query = query.where(name > bound(after))
            rows = self._database.run(partial(raw_rows, statement=query))
            page = self._database.run(partial(self._values, read=lambda _, rows=rows: rows))
            if page:
                yield page
            if len(rows) < size:
                return
            after = rows[-1][0]

    def _values(self, connection: sa.Connection, read: Any) -> list[Account]:
        rows = [row for row in read(connection) if is_identifier(row[0]) and self._is_local(row[0])]
        names = [row[0] for row in rows]
        erased = {
            row[0] for row in rows_among(connection, sa.select(erased_users.c.user_id), erased_users.c.user_id, names)
        }
        emails = _emails(connection, names)
        return [meaning.account(row, row[0] in erased, emails.get(row[0])) for row in rows]

    def _is_local(self, user_id: str) -> bool:
        return domain_of(user_id) == self._domain

    # --- devices ---

    def devices(self, device_ids: Sequence[str]) -> dict[str, Device]:
        """Some devices, by their full id or a plain one that is one user's only, under the id that was asked."""
        return self._database.run(partial(self._devices, wanted=identifiers(device_ids)))

    def _devices(self, connection: sa.Connection, wanted: Sequence[str]) -> dict[str, Device]:
        splits = {device_id: list(_splits(device_id)) for device_id in wanted}
        plain = {*wanted, *(name for found in splits.values() for _, name in found)}
        rows: dict[tuple[str, str], tuple[Any, ...]] = {
            (row[0], row[1]): row
            for row in rows_among(connection, _DEVICES, e2e_device_keys_json.c.device_id, plain)
            if is_identifier(row[0]) and self._is_local(row[0])
        }
        single = self._single(connection, wanted)
        found: dict[str, Device] = {}
        for device_id in wanted:
            keys = [(single[device_id], device_id)] if device_id in single else []
            for key in [*keys, *splits[device_id]]:
                device = meaning.device(device_id, rows[key]) if key in rows else None
                if device is not None:
                    found[device_id] = device
                    break
        return found

    def _single(self, connection: sa.Connection, device_ids: Iterable[str]) -> dict[str, str]:
        """The user of each plain device id that is one local user's only."""
        query = sa.select(devices.c.device_id, devices.c.user_id).where(
            sa.func.coalesce(devices.c.hidden, sa.false()) == sa.false()
        )
        owners: dict[str, set[str]] = {}
        for device_id, user_id in rows_among(connection, query, devices.c.device_id, list(device_ids)):
            if is_identifier(user_id) and self._is_local(user_id):
                owners.setdefault(device_id, set()).add(user_id)
        return {device_id: next(iter(found)) for device_id, found in owners.items() if len(found) == 1}

    def devices_of(self, account_ids: Sequence[str]) -> list[Device]:
        """The devices of some local users, by account and id: the plain id where that says whose it is."""
        return self._database.run(partial(self._devices_of, account_ids=identifiers(account_ids)))

    def _devices_of(self, connection: sa.Connection, account_ids: Sequence[str]) -> list[Device]:
        local = [user_id for user_id in account_ids if self._is_local(user_id)]
        rows = [
            row
            for row in rows_among(connection, _DEVICES, e2e_device_keys_json.c.user_id, local)
            if is_identifier(row[1])
        ]
        single = self._single(connection, {row[1] for row in rows})
        found = [meaning.device(row[1] if row[1] in single else f"{row[0]}|{row[1]}", row) for row in rows]
        return sorted((d for d in found if d is not None), key=lambda d: (d.account_id, d.device_id))


def _splits(device_id: str) -> Iterator[tuple[str, str]]:
    """The (user, device) that a full id may mean: both may hold a bar."""
    if device_id.startswith("@") and device_id.count("|") <= _MOST_SPLITS:
        for place, character in enumerate(device_id):
            if character == "|":
                yield device_id[:place], device_id[place + 1 :]


def _emails(connection: sa.Connection, user_ids: Sequence[str]) -> dict[str, Any]:
    """The address that each user added first."""
    table = user_threepids
    query = sa.select(table.c.user_id, table.c.added_at, table.c.address).where(table.c.medium == "email")
    rows = rows_among(connection, query, table.c.user_id, user_ids)
    return {row[0]: row[2] for row in sorted(rows, key=lambda row: (row[1], str(row[2])), reverse=True)}


# --- legal holds ---


def held(path: str | None, account_ids: Sequence[str], now: datetime, people: PeopleReader, domain: str) -> set[str]:
    """Which accounts stand in the file of holds, which has no dates: a hold is over once its line is gone.

    `SourceError` where there is no file, or where a line names no user: a slip of the pen must not free anybody.
    """
    del now
    listed = _read_holds(path)
    local = [user_id for user_id in listed if domain_of(user_id) == domain]
    unknown = set(local) - people.accounts(local).keys()
    if unknown:
        lines = ", ".join(str(listed[user_id]) for user_id in sorted(unknown, key=listed.__getitem__)[:10])
        raise SourceError(
            f"source.legal_holds names users that the homeserver does not have: line {lines}",
            hint="correct the file; until then nothing is made final",
        )
    return listed.keys() & set(account_ids)


def _read_holds(path: str | None) -> dict[str, int]:
    """User ids and their lines."""
    if path is None:
        raise SourceError(
            "source.legal_holds is not set: nobody could say whose messages must be kept",
            hint="name a file of user ids, one a line; an empty one says that nobody is under a hold",
        )
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_HOLDS_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise SourceError(
            f"the file of legal holds can't be read: {error.strerror}", hint="check source.legal_holds"
        ) from None
    except UnicodeDecodeError:
        raise SourceError("the file of legal holds is not UTF-8 text", hint="check source.legal_holds") from None
    if len(data) > MAX_HOLDS_BYTES:
        raise SourceError("the file of legal holds is too large", hint="check source.legal_holds")
    listed: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        user_id = line.partition("#")[0].strip()
        if not user_id:
            continue
        if not user_id.startswith("@") or not domain_of(user_id) or not is_identifier(user_id) or " " in user_id:
            raise SourceError(
                f"line {number} of the file of legal holds is no user id", hint="one a line, like @user:example.org"
            )
        listed.setdefault(user_id, number)
    return listed
