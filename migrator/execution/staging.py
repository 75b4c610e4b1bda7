"""Where rows wait that will be added to a conversation: `migrator_addition`, or memory in a dry run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any

import sqlalchemy as sa

from migrator.attachments import strays
from migrator.core.encoding import canonical_json
from migrator.core.gaps import GapCount
from migrator.core.outcomes import GapReason
from migrator.database import tables
from migrator.database.bulk import chunks, insert_rows
from migrator.execution.claims import CLAIM_COLUMNS, At, holders_of
from migrator.execution.recorder import Recorder
from migrator.execution.stage import Stage, Staged
from migrator.execution.work import Work

_COLUMNS = ("run_id", "conversation_no", "sent_at", "message_id", "sender_id", "content_type", "key_id", "ciphertext",
            "gap_reason", "prior_gap", "taken_back", "claim")  # fmt: skip


def stage_for(recorder: Recorder, work: Work) -> Stage:
    """The stage that fits a real or a dry run."""
    return _MemoryStage(recorder, work) if recorder.dry else _DatabaseStage(recorder, work)


class _Visible:
    """Reads what readers see of the conversation."""

    def __init__(self, recorder: Recorder, work: Work) -> None:
        self._recorder = recorder
        self._run_id = recorder.assignment.run_id
        self._number = work.conversation_no
        self._database = recorder.campaign.database

    def server_rows(self, ats: Sequence[At]) -> set[At]:
        return {(row[0], row[1]) for row in self._at(tables.message, ats)}

    def prior_gaps(self, ats: Sequence[At]) -> dict[At, str]:
        return {(row[0], row[1]): row[2] for row in self._at(tables.gap, ats, tables.gap.c.reason)}

    def held(self, claims: Sequence[bytes]) -> Mapping[bytes, At]:
        with self._database.read() as connection:
            return holders_of(connection, self._number, claims)

    def _at(
        self, table: sa.Table, ats: Sequence[At], *columns: sa.Column[Any], run_id: str | None = None
    ) -> Iterator[Sequence[Any]]:
        with self._database.read() as connection:
            for chunk in chunks(sorted(ats)):
                query = sa.select(table.c.sent_at, table.c.message_id, *columns).where(
                    table.c.conversation_no == self._number, *_among(table, chunk)
                )
                if run_id is not None:
                    query = query.where(table.c.run_id == run_id)
                yield from connection.execute(query)


class _DatabaseStage(_Visible):
    """Rows in `migrator_addition`, a transaction a page."""

    _takes_back = False

    def clear(self) -> None:
        with self._recorder.transaction("stage-clear") as connection:
            self.discard(connection)

    def staged(self, ats: Sequence[At]) -> dict[At, str | None]:
        rows = self._at(tables.addition, ats, tables.addition.c.sender_id, run_id=self._run_id)
        return {(row[0], row[1]): row[2] for row in rows}

    def held(self, claims: Sequence[bytes]) -> Mapping[bytes, At]:
        table = tables.addition
        found = dict(super().held(claims))
        query = sa.select(table.c.claim, table.c.sent_at, table.c.message_id)
        with self._database.read() as connection:
            for chunk in chunks(claims):
                for claim, *at in connection.execute(query.where(*self._mine(table), table.c.claim.in_(chunk))):
                    found[bytes(claim)] = (at[0], at[1])
        return found

    def put(self, staged: Sequence[Staged]) -> None:
        if not staged:
            return
        self._takes_back |= any(s.taken_back for s in staged)
        table = tables.addition
        with self._recorder.transaction("stage") as connection:
            for chunk in chunks(sorted(s.at for s in staged)):
                connection.execute(table.delete().where(*self._mine(table), *_among(table, chunk)))
            insert_rows(connection, table, _COLUMNS, [(self._run_id, self._number, *astuple(s)) for s in staged])

    def totals(self) -> GapCount:
        message, addition = tables.message, tables.addition
        count = GapCount()
        with self._database.read() as connection:
            shown = sa.select(sa.func.count()).where(message.c.conversation_no == self._number)
            going = sa.select(sa.func.count()).where(*self._mine(addition), addition.c.taken_back)
            count.opened = (connection.scalar(shown) or 0) - (connection.scalar(going) or 0)
            staged = sa.select(addition.c.gap_reason, sa.func.count()).where(*self._mine(addition))
            for reason, number in connection.execute(staged.group_by(addition.c.gap_reason)):
                _add(count, reason, number)
            kept = sa.select(tables.gap.c.reason, sa.func.count()).where(
                tables.gap.c.conversation_no == self._number, sa.not_(self._has_addition(tables.gap))
            )
            for reason, number in connection.execute(kept.group_by(tables.gap.c.reason)):
                _add(count, reason, number)
        return count

    def brings_anything(self) -> bool:
        with self._database.read() as connection:
            reason, prior = tables.addition.c.gap_reason, tables.addition.c.prior_gap
            news = sa.or_(reason.is_(None), prior.is_(None), reason != prior)
            query = sa.select(sa.literal(1)).where(*self._mine(tables.addition), news).limit(1)
            return connection.scalar(query) is not None

    def move(self, connection: sa.Connection) -> None:
        addition, message, gap = tables.addition, tables.message, tables.gap
        going = sa.select(addition.c.sent_at, addition.c.message_id).where(*self._mine(addition), addition.c.taken_back)
        if self._takes_back:
            at = sa.tuple_(message.c.sent_at, message.c.message_id)
            connection.execute(message.delete().where(message.c.conversation_no == self._number, at.in_(going)))
        connection.execute(
            message.insert().from_select(
                [c.name for c in message.c],
                sa.select(
                    addition.c.conversation_no, addition.c.sent_at, addition.c.message_id, addition.c.sender_id,
                    addition.c.content_type, addition.c.key_id, addition.c.ciphertext,
                ).where(*self._mine(addition), addition.c.ciphertext.is_not(None)),
            )
        )  # fmt: skip
        connection.execute(gap.delete().where(gap.c.conversation_no == self._number, self._has_addition(gap)))
        connection.execute(
            gap.insert().from_select(
                [c.name for c in gap.c],
                sa.select(
                    addition.c.conversation_no, addition.c.sent_at, addition.c.message_id, addition.c.gap_reason
                ).where(*self._mine(addition), addition.c.gap_reason.is_not(None)),
            )
        )
        claimed = sa.select(
            addition.c.conversation_no, addition.c.claim, addition.c.sent_at, addition.c.message_id, addition.c.run_id
        )
        connection.execute(
            tables.claim.insert().from_select(
                list(CLAIM_COLUMNS), claimed.where(*self._mine(addition), addition.c.claim.is_not(None))
            )
        )
        connection.execute(addition.update().where(*self._mine(addition)).values(ciphertext=None, claim=None))
        attachment = tables.attachment
        connection.execute(attachment.update().where(*self._mine(attachment)).values(staged=False))
        if self._takes_back:
            at = sa.tuple_(attachment.c.sent_at, attachment.c.message_id)
            strays.doom(
                connection, self._recorder.campaign, attachment.c.conversation_no == self._number, at.in_(going)
            )

    def discard(self, connection: sa.Connection) -> None:
        connection.execute(tables.addition.delete().where(*self._mine(tables.addition)))
        staged = (*self._mine(tables.attachment), tables.attachment.c.staged)
        strays.doom(connection, self._recorder.campaign, *staged)

    def mark_current(self, connection: sa.Connection, work: Work) -> None:
        table = tables.conversation
        connection.execute(
            table.update()
            .where(table.c.conversation_no == self._number)
            .values(source_through=canonical_json(work.source_through()).decode())
        )

    def _mine(self, table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
        return table.c.run_id == self._run_id, table.c.conversation_no == self._number

    def _has_addition(self, table: sa.Table) -> sa.ColumnElement[bool]:
        addition = tables.addition
        return (
            sa.select(sa.literal(1))
            .where(
                *self._mine(addition),
                addition.c.sent_at == table.c.sent_at,
                addition.c.message_id == table.c.message_id,
            )
            .exists()
        )


class _MemoryStage(_Visible):
    """Places and senders only, for one conversation at a time: a dry run keeps no ciphertext."""

    def __init__(self, recorder: Recorder, work: Work) -> None:
        super().__init__(recorder, work)
        self._rows: dict[At, tuple[str | None, str | None, str | None, bool]] = {}
        self._claims: dict[bytes, At] = {}

    def clear(self) -> None:
        self._rows.clear()
        self._claims.clear()

    def staged(self, ats: Sequence[At]) -> dict[At, str | None]:
        return {at: self._rows[at][0] for at in ats if at in self._rows}

    def held(self, claims: Sequence[bytes]) -> Mapping[bytes, At]:
        staged = {claim: self._claims[claim] for claim in claims if claim in self._claims}
        return {**super().held(claims), **staged}

    def put(self, staged: Sequence[Staged]) -> None:
        self._rows.update((s.at, (s.sender_id, s.gap_reason, s.prior_gap, s.taken_back)) for s in staged)
        self._claims.update((s.claim, s.at) for s in staged if s.claim is not None)

    def totals(self) -> GapCount:
        count = GapCount()
        with self._database.read() as connection:
            message, gap = tables.message, tables.gap
            query = sa.select(sa.func.count()).where(message.c.conversation_no == self._number)
            count.opened = connection.scalar(query) or 0
            for sent_at, message_id, reason in connection.execute(
                sa.select(gap.c.sent_at, gap.c.message_id, gap.c.reason).where(gap.c.conversation_no == self._number)
            ):
                if (sent_at, message_id) not in self._rows:
                    _add(count, reason, 1)
        for _, reason, _, taken_back in self._rows.values():
            _add(count, reason, 1)
            count.opened -= taken_back
        return count

    def brings_anything(self) -> bool:
        return any(reason is None or reason != prior for _, reason, prior, _ in self._rows.values())

    def move(self, connection: sa.Connection) -> None:
        raise NotImplementedError("a dry run shows nothing")

    def discard(self, connection: sa.Connection) -> None:
        raise NotImplementedError("a dry run writes nothing")

    def mark_current(self, connection: sa.Connection, work: Work) -> None:
        raise NotImplementedError("a dry run writes nothing")


def _among(table: sa.Table, ordered: Sequence[At]) -> tuple[sa.ColumnElement[bool], ...]:
    """Whether a row's place is one of these. The range is for SQLite, which has no index for a list of pairs."""
    return (
        table.c.sent_at.between(ordered[0][0], ordered[-1][0]),
        sa.tuple_(table.c.sent_at, table.c.message_id).in_(ordered),
    )


def _add(count: GapCount, reason: str | None, number: int) -> None:
    if reason is None:
        count.opened += number
        return
    count.add_gap(GapReason(reason), number)
