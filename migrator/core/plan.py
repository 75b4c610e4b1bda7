"""The plan file: what a plan says of a population, without naming anybody (formats, section 6).

The file is RFC 8785 JSON. `digest` is SHA-256 over the same JSON without that member, so that a file edited by hand
is known for what it is.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from migrator.core.encoding import canonical_json, strict_json
from migrator.core.errors import PlanError

SCHEMA = "migrator.plan/1"
MAX_FILE_BYTES = 1024 * 1024
_JSON_DEPTH = 8

REWRAP = "rewrap"
EXTEND = "extend"
"""A migrated conversation takes up late keys or a new tail."""
_MEMBERS = frozenset(
    {"schema", "plan_id", "campaign", "created_at", "tool_version", "config_sha256", "source", "policy", "counts",
     "coverage", "estimate", "items_root", "digest"}
)  # fmt: skip
_OPTIONAL = frozenset({"cohort", "limit", "extend", "arrivals"})
"""Only where they say something: a plan for a part of the population; conversations that were migrated before."""


@dataclass(slots=True)
class Count:
    """Conversations and their messages; `causes`: the conversations by what is behind a reason, where that is known."""

    conversations: int = 0
    messages: int = 0
    causes: dict[str, int] = field(default_factory=dict)

    def add(self, messages: int, *, conversations: int = 1) -> None:
        """More conversations, with so many messages in all."""
        self.conversations += conversations
        self.messages += messages

    def to_json(self) -> dict[str, object]:
        """As results have it."""
        causes = {"causes": dict(sorted(self.causes.items()))} if self.causes else {}
        return {"conversations": self.conversations, "messages": self.messages, **causes}


@dataclass(slots=True)
class Extension:
    """Migrated conversations that are to be extended, with all of their messages.

    `tails`: those with new messages, and how many these are; `late_keys`: others with a newer export, and their gaps.
    """

    whole: Count = field(default_factory=Count)
    tails: Count = field(default_factory=Count)
    late_keys: Count = field(default_factory=Count)

    def to_json(self) -> dict[str, object]:
        """As results have it."""
        late = {"conversations": self.late_keys.conversations, "gaps": self.late_keys.messages}
        return {**self.whole.to_json(), "tails": self.tails.to_json(), "late_keys": late}


@dataclass(slots=True)
class PlanCounts:
    """How many by decision; `rewrap` takes in the conversations that are to be extended, `extend` tells them apart."""

    rewrap: Count = field(default_factory=Count)
    extend: Extension = field(default_factory=Extension)
    skip: dict[str, Count] = field(default_factory=dict)

    def add(self, decision: str, messages: int, *, conversations: int = 1) -> None:
        """Count items with one decision (`rewrap`, `extend` or an outcome)."""
        count = self.rewrap if is_work(decision) else self.skip.setdefault(reason_of(decision), Count())
        count.add(messages, conversations=conversations)
        if decision == EXTEND:
            self.extend.whole.add(messages, conversations=conversations)

    def add_news(self, tail: int | None, late: int | None) -> None:
        """Count what a conversation to be extended takes up: a new tail, or the gaps that late keys may close."""
        if tail is not None:
            self.extend.tails.add(tail)
        elif late is not None:
            self.extend.late_keys.add(late)

    def add_cause(self, decision: str, cause: str, conversations: int) -> None:
        """Count what is behind a decision to skip, beside the decision itself."""
        causes = self.skip.setdefault(reason_of(decision), Count()).causes
        causes[cause] = causes.get(cause, 0) + conversations

    def to_json(self) -> dict[str, object]:
        """As the plan file and the plan's summary have it."""
        return {
            "rewrap": self.rewrap.to_json(),
            "skip": {reason: count.to_json() for reason, count in sorted(self.skip.items())},
        }


def reason_of(outcome: str) -> str:
    """`skipped:refused` counts under `refused`; held, failed and migrated ones under their full outcome."""
    return outcome.removeprefix("skipped:")


def is_work(decision: str) -> bool:
    """Whether an item is opened by a run, so far as the policy still agrees then."""
    return decision in (REWRAP, EXTEND)


def item_leaf(conversation_no: int, conversation_id: str, decision: str, messages: int) -> bytes:
    """Leaf data of the plan's `items_root`; the leaves stand in the order of conversation numbers."""
    return f"{conversation_no}\0{conversation_id}\0{decision}\0{messages}".encode("utf-8", "surrogateescape")


def digest_of(document: Mapping[str, object]) -> str:
    """`sha256:` and the hex digest over the document without its own `digest`."""
    body = {name: value for name, value in document.items() if name != "digest"}
    return f"sha256:{hashlib.sha256(canonical_json(body)).hexdigest()}"


def to_file(document: Mapping[str, object]) -> bytes:
    """The bytes of the plan file."""
    return canonical_json({**document, "digest": digest_of(document)})


def from_file(data: bytes) -> dict[str, object]:
    """Read a plan file back; `PlanError` where it is none of ours or was changed since."""
    if len(data) > MAX_FILE_BYTES:
        raise PlanError("this file is too large for a plan", hint="give the file that `migrator plan` wrote")
    try:
        document = strict_json(data, max_depth=_JSON_DEPTH)
    except ValueError as error:
        raise PlanError(f"this is not a plan file: {error}", hint="give the file that `migrator plan` wrote") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or document.keys() - _OPTIONAL != _MEMBERS:
        raise PlanError("this is not a plan file of this version", hint="give the file that `migrator plan` wrote")
    found = document["digest"]
    if not isinstance(found, str) or not hmac.compare_digest(found.encode(), digest_of(document).encode()):
        raise PlanError(
            "the plan file was altered after it was made", hint="make a new plan; a plan is never edited by hand"
        )
    return document
