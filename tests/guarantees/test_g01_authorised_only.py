"""G1: no content is opened unless every account that the quorum names has authorised it. Nothing overrides that."""

import base64
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from fixtures.answers import signer_of
from fixtures.expected import expect
from fixtures.messages import MARKER
from fixtures.people import Person
from fixtures.world import FaultShares, Shape, UserShares, World
from migrator import authorizations
from migrator.campaign import CampaignSpec, open_campaign
from migrator.client.authorising import Asked, authorise
from migrator.core.policy import Answer
from tests.guarantees import reader
from tests.guarantees.support import DAY, plan, run, shell_campaign
from tests.support.campaigns import ANSWERED, RUN, at, published_notice, small_campaign
from tests.verification.support import rows

_EVERY_KIND = UserShares(
    locked=0.05, deceased=0.05, minor=0.25, without_guardian=0.2, guardian_silent=0.2, guardian_withdraws=0.2,
    refuse=0.05, withdraw=0.08, silent=0.08, expire=0.06, listed=0.1, unnotifiable=0.04, history_export=0.1,
)  # fmt: skip


def shape(seed: int, users: UserShares = _EVERY_KIND) -> Shape:
    """A world with few grants."""
    return Shape(accounts=50, conversations=120, messages=600, seed=seed, users=users, faults=FaultShares(orphan=0.05))


@pytest.mark.parametrize("quorum", ["owner", "every_participant"])
@pytest.mark.parametrize("seed", [1, 2])
def test_only_conversations_whose_quorum_granted_are_visible(tmp_path: Path, seed: int, quorum: str) -> None:
    """Authorised only: by the records that were handed in, and by the shares of the world, in every combination."""
    spec = small_campaign(tmp_path / "campaign", shape(seed), authorization={"quorum": quorum})
    world = World(shape(seed))
    run(spec)
    visible = reader.read(spec.directory)
    assert set(visible) == {n for n, e in expect(world, quorum).items() if e.outcome.startswith("rewrapped")}
    records = handed_in(spec)
    assert visible
    for name in visible:
        copy = world.conversation(name)
        named = [copy.owner] if quorum == "owner" else [*copy.members, copy.owner]
        for person in (world.people[number] for number in named):
            assert person.status == "active"
            assert granted(records.get(person.account_id, []), person, world, name), (name, person.account_id)


def handed_in(spec: CampaignSpec) -> dict[str, list[dict[str, Any]]]:
    """Payloads of all records in the hand-in by account, as a stranger reads JWS."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((spec.directory / "hand-in" / "authorizations").iterdir()):
        for token in path.read_text().split():
            payload = token.split(".")[1]
            record = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            found.setdefault(record["account_id"], []).append(record)
    return found


def granted(records: list[dict[str, Any]], person: Person, world: World, name: str) -> bool:
    """Whether an account's newest record on a conversation is a grant that holds, for a minor the guardian's."""
    thread = world.conversation(name).thread
    covering = [r for r in records if covers(r["scope"]["conversations"], world, thread)]
    covering.sort(key=lambda r: str(r["decided_at"]))
    own = [r for r in covering if r["actor"]["kind"] == "self"]
    if not person.minor:
        return bool(own) and holds(own[-1])
    guardians = [r for r in covering if r["actor"]["kind"] == "guardian"]
    objections = [r for r in own if r["decision"] != "grant"]
    return (
        bool(guardians)
        and holds(guardians[-1])
        and not any(r["decided_at"] >= guardians[-1]["decided_at"] for r in objections)
    )


def covers(scope: str | list[str], world: World, thread: int) -> bool:
    """Whether a scope names the thread."""
    return scope == "all" or any(world.conversation(name).thread == thread for name in scope)


def holds(record: dict[str, Any]) -> bool:
    """Whether a record is a grant that has not expired."""
    return record["decision"] == "grant" and datetime.fromisoformat(record["valid_until"]) > RUN


def test_silence_is_never_consent_whatever_an_operator_says(tmp_path: Path) -> None:
    """Authorised only: with keys for everything and grants for nothing, no combination of options opens a message."""
    everybody = replace(shape(4, UserShares.none()), accounts=20, conversations=40, messages=200)
    spec, operator = shell_campaign(tmp_path / "campaign", everybody, EXECUTION_WORKERS="1")
    with open_campaign(spec) as campaign, campaign.database.write("test") as connection:
        connection.exec_driver_sql("DELETE FROM migrator_authorization")
    name = spec.settings.campaign.name
    options = (
        "--confirm",
        name,
        "--max-failures",
        "100%",
        "--engine",
        "local",
        "--no-input",
        "--now",
        "2099-01-01T00:00:00Z",
    )
    plan_id = json.loads(operator("plan", "-o", "json"))["plan_id"]
    for dry in (("--dry-run",), ()):
        done = json.loads(operator("execute", plan_id, *options, *dry, "-o", "json"))
        assert set(done["counts"]) <= {"skipped:unauthorized", "skipped:empty"}
    assert nothing_was_opened(spec)


def test_a_signed_withdrawal_after_the_plan_seals(tmp_path: Path) -> None:
    """Authorised only, checked again when executed: who withdraws between plan and run stays sealed in every copy."""
    everybody = shape(5, UserShares.none())
    spec = small_campaign(tmp_path / "campaign", everybody)
    world = World(everybody)
    plan_id = plan(spec)
    leaving = max(world.people, key=lambda person: len(world.copies_of[person.number]))
    withdraw(spec, world, leaving, RUN)
    summary = run(at(spec, RUN + DAY), plan_id)
    touched = {c.conversation_id for c in world.copies if leaving.number in (c.owner, *c.members) and c.messages}
    visible = reader.read(spec.directory)
    assert not touched & set(visible)
    assert visible
    assert summary.counts["skipped:withdrawn"].conversations == len(touched) > 2


def withdraw(spec: CampaignSpec, world: World, person: Person, when: datetime) -> None:
    """A user takes everything back, signed by the user's device, at a moment that is also the import's."""
    number = rows(spec, "SELECT COUNT(*) FROM migrator_authorization")[0][0]
    asked = Asked(
        campaign=spec.settings.campaign.name,
        recipient_key_id=rows(spec, "SELECT recipient_key_id FROM migrator_recipient_key")[0][0],
        notice=published_notice(spec).shown(person.locale),
    )
    token = authorise(
        signer_of(world, person), asked, record_id=UUID(int=10**30 + number), account_id=person.account_id,
        answer=Answer.WITHDRAW, decided_at=when,
    )  # fmt: skip
    path = spec.directory / f"withdrawal-{number}.jws"
    path.write_text(token)
    with open_campaign(at(spec, when)) as campaign:
        result = authorizations.import_paths(campaign, [path])
    assert (result.recorded, result.refused) == (1, ()), result


def test_an_expired_grant_opens_nothing_on_the_day_of_the_run(tmp_path: Path) -> None:
    """Authorised only, unexpired: valid when planned and expired when executed is not valid."""
    spec = small_campaign(tmp_path / "campaign", shape(6, UserShares.none()))
    plan_id = plan(spec)
    summary = run(at(spec, ANSWERED + 401 * DAY), plan_id)
    assert {"skipped:authorization_expired"} <= set(summary.counts) <= {
        "skipped:authorization_expired", "skipped:empty", "skipped:unauthorized",
    }  # fmt: skip
    assert nothing_was_opened(spec)


def nothing_was_opened(spec: CampaignSpec) -> bool:
    """Whether the migrator database has no history and no key for any."""
    counts = rows(spec, "SELECT (SELECT COUNT(*) FROM migrator_message), (SELECT COUNT(*) FROM migrator_data_key)")
    return counts == [(0, 0)]


def test_reading_shows_nothing_that_is_sealed(tmp_path: Path) -> None:
    """Authorised only: `read` opens server history, and no sealed conversation, whoever asks for whatever reason."""
    spec, operator = shell_campaign(
        tmp_path / "campaign", replace(shape(7), accounts=20, conversations=40, messages=200), EXECUTION_WORKERS="1"
    )
    plan_id = json.loads(operator("plan", "-o", "json"))["plan_id"]
    operator("execute", plan_id)
    sealed, shown = (
        rows(spec, "SELECT MIN(conversation_id) FROM migrator_conversation WHERE mode = ?", mode)[0][0]
        for mode in ("sealed", "server")
    )
    assert MARKER.decode() in operator("read", shown, "--reason", "test")
    refused = operator("read", sealed, "--reason", "test", status=12)
    assert MARKER.decode() not in refused
