"""What a reconciliation finds, and how it reads what events say, whatever somebody made of it."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

MAX_LISTED: Final = 1000
"""Findings that are listed; further ones are only counted."""
FETCH: Final = 5000
"""Rows that are fetched together."""
PAGE: Final = 500
"""Conversations that are looked at together."""
Data = Mapping[str, Any]


class FindingKind(StrEnum):
    """What does not agree."""

    LINE = "line"
    RUN = "run"
    DATA_KEY = "data_key"
    CAMPAIGN_KEY = "campaign_key"
    CONVERSATION = "conversation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that does not agree. `about`: number of a line, id of a run, reference of a conversation; no names."""

    kind: FindingKind
    about: str
    detail: str


@dataclass(slots=True)
class Reconciliation:
    """What was compared, and what does not agree: the first of `finding_count` findings."""

    checked: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    finding_count: int = 0

    @property
    def ok(self) -> bool:
        """Whether everything agrees."""
        return self.finding_count == 0

    def add(self, kind: FindingKind, about: object, detail: str) -> None:
        """Something does not agree."""
        self.finding_count += 1
        if self.finding_count <= MAX_LISTED:
            self.findings.append(Finding(kind=kind, about=str(about), detail=detail))


def object_of(value: object) -> dict[str, Any]:
    """A JSON object, parsed if it is text; an empty one for anything else."""
    if isinstance(value, (str, bytes)):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def number_of(data: Data, name: str) -> int:
    """A count that an event gives; -1, which no count is, for anything else."""
    value = data.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else -1
