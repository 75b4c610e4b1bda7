"""Views of the end of a campaign: a run undone, or made final."""

from dataclasses import dataclass
from typing import Any

from migrator.cli.output import View
from migrator.cli.views.text import counted
from migrator.finalization import Finalized, Preview
from migrator.rollback import RollbackResult


def rolled_back(result: RollbackResult) -> View:
    """What a rollback removed."""
    done = "was already rolled back; it had removed" if result.already else "is rolled back; removed"
    what = f"{counted(result.conversations, 'conversation')}, {counted(result.messages, 'message')}"
    return View(
        document={
            "schema": "migrator.rollback/1",
            "run_id": result.run_id,
            "already": result.already,
            "conversations": result.conversations,
            "messages": result.messages,
            "keys": result.keys,
        },
        lines=[f"run {result.run_id} {done} {what}, {counted(result.keys, 'data key')}"],
    )


@dataclass(slots=True)
class Totals:
    """What a listing has shown."""

    conversations: int = 0
    messages: int = 0

    def add(self, messages: int) -> None:
        """One more conversation."""
        self.conversations += 1
        self.messages += messages


def conversation(identifier: str, messages: int) -> dict[str, Any]:
    """One conversation that would go."""
    return {"conversation_id": identifier, "messages": messages}


def previewed(found: Preview, totals: Totals) -> list[str]:
    """What a dry run comes to, for people."""
    lines = [
        "",
        f"would leave the source: {_of(totals.messages, totals.conversations)}; nothing was deleted",
    ]
    if found.kept:
        lines.append(f"kept, for a legal hold or as nobody is known: {counted(found.kept, 'conversation')}")
    lines += _sealed_kept(found.unannounced, found.late)
    if found.refusal:
        lines.append(f"it would be refused now: {found.refusal}")
    return lines


def _sealed_kept(conversations: int, messages: int) -> list[str]:
    """What stays sealed because nobody was told what becomes of it."""
    lines = []
    if conversations:
        lines.append(f"kept sealed, as no run decided about it: {counted(conversations, 'conversation')}")
    if messages:
        lines.append(f"kept sealed, as it came after the grace period: {counted(messages, 'message')}")
    return lines


def _of(messages: int, conversations: int) -> str:
    return f"{counted(messages, 'message')} of {counted(conversations, 'conversation')}"


def finalized(result: Finalized) -> View:
    """A finalisation, over all of its sessions."""
    row, counts = result.row, result.row.counts
    done = "already final" if result.already else "final"
    lines = [
        f"{done}: {row.finalization_id}",
        f"{_of(counts['messages'], counts['conversations'])} left the source",
        f"{counted(counts['exports'], 'export')} and {counted(counts['recipient_keys'], 'recipient key')} destroyed",
    ]
    kept = counts["kept_conversations"], counts["kept_exports"]
    if any(kept):
        lines.append(
            f"kept, for a legal hold or as nobody is known: {counted(kept[0], 'conversation')}, "
            f"{counted(kept[1], 'export')}; call it again when a hold is released"
        )
    lines += _sealed_kept(counts.get("kept_unannounced", 0), counts.get("kept_messages", 0))
    lines.append(f"the certificate is in {result.certificate}")
    return View(
        document={
            "schema": "migrator.finalization/1",
            "finalization_id": row.finalization_id,
            "run_id": row.run_id,
            "what": row.what.value,
            "already": result.already,
            **counts,
            "certificate": str(result.certificate),
        },
        lines=lines,
    )
