"""G4: a reader sees a conversation wholly in its old mode or wholly in its new one, at every instant of every run."""

import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from fixtures.world import FaultShares, Shape, UserShares
from tests.guarantees import reader
from tests.guarantees.support import Operator, ended_within, plan, shell_campaign
from tests.support.campaigns import LATE, at, import_exports

_SHAPE = Shape(
    accounts=30,
    conversations=120,
    messages=2400,
    huge=4000,
    seed=5,
    users=UserShares.none(history_export=0.2, partial_export=0.4, late_export=0.1),
    faults=FaultShares(flipped=0.003),
)
_VIEW = """
    SELECT conversation_no, message_count, gap_count,
           (SELECT COUNT(*) FROM migrator_message m WHERE m.conversation_no = c.conversation_no),
           (SELECT COUNT(*) FROM migrator_gap g WHERE g.conversation_no = c.conversation_no),
           (SELECT COUNT(*) FROM migrator_data_key k WHERE k.conversation_no = c.conversation_no
               AND wrapped_keyset IS NOT NULL),
           (SELECT COUNT(*) FROM migrator_item i WHERE i.conversation_no = c.conversation_no AND i.run_id = c.run_id)
    FROM migrator_conversation c WHERE mode = 'server'
"""
State = tuple[int, int]
"""Messages and gaps."""


@dataclass
class Seen:
    """All states that a reader saw: how many conversations at each poll, and which states of each of them."""

    polls: list[int] = field(default_factory=list)
    states: defaultdict[int, set[State]] = field(default_factory=lambda: defaultdict(set))
    hidden: int = 0

    def poll(self, folder: Path) -> None:
        """Look once, in one transaction."""
        with reader.one_view(folder) as connection:
            visible = connection.execute(_VIEW).fetchall()
            written = connection.execute("SELECT COUNT(*) FROM migrator_progress").fetchone()[0]
            written += connection.execute("SELECT COUNT(*) FROM migrator_addition").fetchone()[0]
        for number, messages, gaps, stored, recorded, keys, items in visible:
            assert (stored, recorded) == (messages, gaps), f"half of conversation {number}"
            assert (keys, items) == (1, 1), f"conversation {number} without its key or its outcome"
            self.states[number].add((messages, gaps))
        self.polls.append(len(visible))
        self.hidden += bool(written)

    def follow(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Look again and again until the process has ended."""
        while not ended_within(process, 0.005):
            self.poll(folder)
        self.poll(folder)


def test_a_reader_never_sees_half(tmp_path: Path) -> None:
    """Atomic flip: polled during a first run, a run that adds late keys, and the rollbacks of both, by real pools."""
    variables = {"AUTHORIZATION_QUORUM": "owner", "EXECUTION_PAGE_SIZE": "60", "EXECUTION_MAX_GAP_FRACTION": "1.0"}
    spec, operator = shell_campaign(tmp_path / "campaign", _SHAPE, **variables)
    folder = spec.directory
    first = during(operator, folder, "execute", plan(spec), "--workers", "2")
    shown = first.polls[-1]
    assert first.polls[0] == 0 < shown
    assert sum(0 < number < shown for number in first.polls) >= 3, "it looked in the middle"
    assert first.hidden, "it looked while rows were there that nobody may see"
    assert all(len(states) == 1 for states in first.states.values())
    late = at(spec, LATE)
    import_exports(late, late=True)
    second = during(operator.later(LATE), folder, "execute", plan(late), "--workers", "2")
    extended = [states for states in second.states.values() if len(states) == 2]
    assert len(extended) > 10, "conversations were seen before and after they were added to"
    assert all(len(states) <= 2 for states in second.states.values())
    back = during(operator.later(LATE), folder, "rollback")
    assert back.polls[-1] == shown
    assert all(len(states) <= 2 for states in back.states.values())
    gone = during(operator.later(LATE), folder, "rollback", first_run(folder))
    assert gone.polls[-1] == 0
    assert all(len(states) == 1 for states in gone.states.values())


def during(operator: Operator, folder: Path, *arguments: str) -> Seen:
    """What a reader sees while a command is at work."""
    seen = Seen()
    seen.poll(folder)
    with (folder.parent / "errors").open("w+b") as stderr:
        process = operator.start(*arguments, stdout=subprocess.DEVNULL, stderr=stderr)
        seen.follow(process, folder)
        stderr.seek(0)
        assert process.returncode == 0, stderr.read().decode()
    return seen


def first_run(folder: Path) -> str:
    """Id of the first run."""
    with reader.one_view(folder) as connection:
        return str(connection.execute("SELECT run_id FROM migrator_run ORDER BY run_no").fetchone()[0])
