"""Reading the audit log: which of its lines answer a question. One pass over the file; references, never ids."""

import json
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from migrator.audit.entries import TYPE_PREFIX
from migrator.audit.log import AuditLog
from migrator.core.clock import parse_time
from migrator.core.errors import AuditLogError


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What an entry must be like; None: anything. `since` is included, `until` is not.

    `type` is `conversation.rewrapped`, the same with the `dev.migrator.` prefix, or a noun such as `conversation`.
    `subjects`: about any of these. `limit`: that many of the newest.
    """

    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    run_id: str | None = None
    subjects: Collection[str] | None = None
    limit: int | None = None

    def accept(self, entry: dict[str, Any]) -> bool:
        """Whether an entry passes all of them."""
        return (
            (self.actor is None or entry.get("actor") == self.actor)
            and (self.run_id is None or entry.get("runid") == self.run_id)
            and (self.subjects is None or entry.get("subject") in self.subjects)
            and (self.type is None or _is_of_type(entry["type"], self.type))
            and self._accept_time(entry["time"])
        )

    def _accept_time(self, text: str) -> bool:
        if self.since is None and self.until is None:
            return True
        time = parse_time(text)
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)


def show(log: AuditLog, filters: Filters) -> Iterator[dict[str, Any]]:
    """The entries that pass, oldest first; memory is bounded by `limit`, not by the log."""
    passing = _passing(log, filters)
    return passing if filters.limit is None else iter(deque(passing, maxlen=filters.limit))


def _passing(log: AuditLog, filters: Filters) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(log.lines(), start=1):
        try:
            entry = json.loads(line)
            accepted = filters.accept(entry)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise AuditLogError(
                f"line {number} of {log.path} is not an entry of the audit log",
                hint="the file was altered: keep it as it is, and compare it with a backup",
            ) from None
        if accepted:
            yield entry


def _is_of_type(found: str, wanted: str) -> bool:
    kind = found.removeprefix(TYPE_PREFIX)
    wanted = wanted.removeprefix(TYPE_PREFIX)
    return kind == wanted or kind.startswith(wanted + ".")
