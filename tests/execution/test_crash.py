"""G3: killed anywhere and resumed, a campaign ends as one that nobody disturbed."""

import os
import random
import signal
from collections.abc import Callable
from typing import Any

import pytest

from migrator.campaign import Campaign, open_campaign
from tests.execution.ready import Ready
from tests.execution.state import log_matches_outbox

_SEED = 20260508
_MOMENTS = 10
_MOMENTS_THOROUGH = 80
"""Seeded instants, beside the labelled boundaries."""


@pytest.fixture(scope="module")
def undisturbed(prepared: Ready) -> dict[str, Any]:
    """The state after a run that nothing happened to, and how many boundaries it passed."""
    ready = prepared
    ready.restore()
    boundaries: list[tuple[str, str]] = []
    with open_campaign(ready.spec) as campaign:
        campaign.database.boundary = lambda label, moment: boundaries.append((label, moment))
        ready.run_in(campaign)
    return {"state": ready.state(), "boundaries": boundaries}


def kill_at(number: int) -> Callable[[Campaign], None]:
    """Have the process killed at its n-th boundary, counted from 0."""

    def prepare(campaign: Campaign) -> None:
        passed = 0

        def boundary(_label: str, _moment: str) -> None:
            nonlocal passed
            if passed == number:
                os.kill(os.getpid(), signal.SIGKILL)
            passed += 1

        campaign.database.boundary = boundary

    return prepare


def kill_after(seconds: float) -> Callable[[Campaign], None]:
    """Have the process killed after a while: SIGALRM's default action ends it as it is, nothing is cleaned up."""

    def prepare(_: Campaign) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    return prepare


def undisturbed_end(ready: Ready) -> dict[str, Any]:
    """Go on without any more trouble."""
    while not ready.run_killed(lambda _: None):
        pass
    with open_campaign(ready.spec) as campaign:
        campaign.audit.flush()
        assert log_matches_outbox(campaign, ready.spec.directory / "audit" / "wal.jsonl")
    return ready.state()


def test_killed_around_every_kind_of_commit(ready: Ready, undisturbed: dict[str, Any], thorough: bool) -> None:
    """Right before or right after a commit of every kind, the other one on the other database; or around all."""
    labels = {label for label, _ in undisturbed["boundaries"]}
    assert {
        "run-begin",
        "shards",
        "claim",
        "skips",
        "unit",
        "page",
        "flip",
        "stage",
        "merge",
        "shard-finished",
    } <= labels
    boundaries = undisturbed["boundaries"]
    for number in range(len(boundaries)) if thorough else _one_of_each(boundaries, odd=ready.database is None):
        ready.restore()
        assert not ready.run_killed(kill_at(number)), f"boundary {number} was not reached"
        assert undisturbed_end(ready) == undisturbed["state"], boundaries[number]


def _one_of_each(boundaries: list[tuple[str, str]], *, odd: bool) -> list[int]:
    """Of each kind of commit one moment, in turn before its first and after its last; `odd` takes the other ones."""
    first = {boundary: number for number, boundary in reversed(list(enumerate(boundaries)))}
    last = {boundary: number for number, boundary in enumerate(boundaries)}
    chosen = [(first[label, "before"], last[label, "after"]) for label in sorted({label for label, _ in boundaries})]
    return sorted(pair[(place + odd) % 2] for place, pair in enumerate(chosen))


def test_killed_at_seeded_instants_again_and_again(ready: Ready, undisturbed: dict[str, Any], thorough: bool) -> None:
    """Kills at instants that have nothing to do with commits, several in a row on the same campaign."""
    drawn = random.Random(_SEED)
    kills = 0
    while kills < (_MOMENTS_THOROUGH if thorough else _MOMENTS):
        ready.restore()
        for _ in range(drawn.randrange(1, 6)):
            if ready.run_killed(kill_after(drawn.uniform(0.005, 0.5))):
                break
            kills += 1
        assert undisturbed_end(ready) == undisturbed["state"]
