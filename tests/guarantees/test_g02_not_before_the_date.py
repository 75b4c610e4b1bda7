"""G2: in production nothing is unsealed or opened before the cutover, nor for an account whose notice period runs."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from fixtures.world import FaultShares, Shape, UserShares, World
from migrator import config, recipient_key
from migrator.campaign import Campaign, CampaignSpec, open_campaign
from migrator.core.clock import SystemClock
from migrator.core.errors import ConfigError, GateError
from migrator.core.progress import NoProgress
from migrator.core.settings import Settings
from migrator.execution import coordinator, gates
from migrator.execution.coordinator import RunOptions
from migrator.recipient_key import RecipientPrivateKey
from migrator.rollback import rollback
from tests.execution.inline import InlineEngine, NoStop, StopAfter
from tests.guarantees import reader
from tests.guarantees.support import DAY, Operator, campaign_around, collect, go_on, plan, run
from tests.guarantees.test_g01_authorised_only import nothing_was_opened
from tests.support.campaigns import NAME, at, new_campaign, notify
from tests.verification.support import rows, tamper

PAST = datetime(2020, 5, 8, tzinfo=UTC)
FUTURE = datetime(2999, 5, 8, tzinfo=UTC)
SHAPE = Shape(accounts=12, conversations=20, messages=150, users=UserShares.none(), faults=FaultShares.none())
KEYS = {"allow_local_keys": True}


def production(folder: Path, cutover: datetime, shape: Shape = SHAPE) -> CampaignSpec:
    """A campaign in production, everything granted and exported, its own clock a day after its cutover."""
    about = {"environment": "production", "cutover_at": cutover}
    paged = {"page_size": 20}
    return campaign_around(cutover, folder / "campaign", shape, campaign=about, keys=KEYS, execution=paged)


def test_the_campaigns_clock_is_asked(tmp_path: Path) -> None:
    """Not before the date: a microsecond before the cutover the run is refused as a whole, confirmed or not."""
    spec = production(tmp_path, PAST)
    early = at(spec, PAST - DAY / 86_400_000_000)
    plan_id = plan(early)
    for confirm in (None, NAME):
        with pytest.raises(GateError, match="nothing is opened before"):
            run(early, plan_id, confirm=confirm)
    assert nothing_was_opened(spec)
    assert rows(spec, "SELECT 1 FROM migrator_run") == []
    run(at(spec, PAST), plan_id, confirm=NAME)
    assert reader.read(spec.directory)


def test_the_databases_clock_is_asked(tmp_path: Path) -> None:
    """Not before the date: a campaign clock that runs ahead opens nothing while the database's does not agree."""
    spec = production(tmp_path, FUTURE)
    with pytest.raises(GateError, match="database's clock"):
        run(spec, confirm=NAME)
    assert nothing_was_opened(spec)


def test_the_machines_clock_is_the_campaigns(tmp_path: Path) -> None:
    """Not before the date, on the command line: confirmed, with the machine's clock, the run is refused with 12."""
    spec = production(tmp_path, FUTURE)
    text = (
        f'[campaign]\nname = "{NAME}"\nenvironment = "production"\ncutover_at = {FUTURE.isoformat()}\n'
        '[source]\nurl = "sqlite:///store.db"\n[keys]\nallow_local_keys = true\n'
        '[execution]\nworkers = 1\n[notify]\nrate = "1000000/s"\n'
    )
    (spec.directory / "migrator.toml").write_text(text)
    settings = config.load(spec.directory / "migrator.toml", {}, {}).settings
    plan_id = plan(replace(spec, settings=settings, clock=SystemClock()))
    operator = Operator(spec.directory, None)
    operator("execute", plan_id, "--confirm", NAME, status=12)
    operator("execute", plan_id, "--confirm", NAME, "--now", "2999-06-01T00:00:00Z", status=2)
    assert nothing_was_opened(spec)


@pytest.fixture
def unsealed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of recipient keys in the order in which they were unwrapped."""
    ids: list[str] = []
    unwrap = recipient_key.unwrap

    def noted(campaign: Campaign, connection: sa.Connection, key_id: str) -> RecipientPrivateKey:
        ids.append(key_id)
        return unwrap(campaign, connection, key_id)

    monkeypatch.setattr(recipient_key, "unwrap", noted)
    return ids


def test_a_worker_asks_the_database_before_it_unseals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unsealed: list[str]
) -> None:
    """Not before the date, should a coordinator have missed it: a worker unseals no export and opens nothing."""
    spec = production(tmp_path, FUTURE)
    monkeypatch.setattr(gates, "require_database_past_cutover", lambda *_: None)
    with pytest.raises(GateError, match="database's clock"):
        run(spec, confirm=NAME)
    assert unsealed == []
    assert nothing_was_opened(spec)
    assert rows(spec, "SELECT 1 FROM migrator_item") == []


def test_a_rehearsal_asks_the_database_before_it_unseals(tmp_path: Path, unsealed: list[str]) -> None:
    """Not before the date, for a dry run whose own clock runs ahead."""
    spec = production(tmp_path, FUTURE)
    with pytest.raises(GateError, match="database's clock"):
        run(spec, dry_run=True)
    assert unsealed == []
    run(production(tmp_path / "past", PAST), confirm=NAME)
    assert unsealed, "what is counted here is what unseals"


def test_every_commit_asks_the_database(tmp_path: Path) -> None:
    """Not before the date: a database clock that is put back in the middle of a run stops it at the next commit."""
    spec = production(tmp_path, PAST, replace(SHAPE, messages=400, huge=2500))
    plan_id = plan(spec)
    with open_campaign(spec) as campaign:
        pages = 0

        def put_the_clock_back(label: str, moment: str) -> None:
            nonlocal pages
            if (label, moment) == ("page", "after"):
                pages += 1
                later = spec.settings.campaign.model_copy(update={"cutover_at": FUTURE})
                campaign.settings = campaign.settings.model_copy(update={"campaign": later})

        campaign.database.boundary = put_the_clock_back
        options = RunOptions(engine=InlineEngine(campaign), confirm=NAME)
        with pytest.raises(GateError, match="database's clock"):
            coordinator.execute(campaign, plan_id, options, NoProgress(), NoStop())
    assert pages == 1
    name = rows(
        spec, "SELECT conversation_id FROM migrator_progress JOIN migrator_conversation USING (conversation_no)"
    )
    assert name[0][0] not in reader.read(spec.directory)


def test_a_stopped_run_is_not_resumed_before_the_date(tmp_path: Path) -> None:
    """Not before the date, for `resume` either, and not without having been confirmed at its start."""
    spec = production(tmp_path, PAST)
    plan_id = plan(spec)
    with pytest.raises(GateError, match="campaign's name"):
        run(spec, plan_id)
    with open_campaign(spec) as campaign:
        options = RunOptions(engine=InlineEngine(campaign), confirm=NAME)
        stopped = coordinator.execute(campaign, plan_id, options, NoProgress(), StopAfter(0))
    assert stopped.pending
    before = reader.read(spec.directory)
    with pytest.raises(GateError, match="nothing is opened before"):
        go_on(at(spec, PAST - DAY))
    assert reader.read(spec.directory) == before
    go_on(spec)
    assert len(reader.read(spec.directory)) > len(before)


def test_a_rehearsal_before_the_date_unseals_nothing(tmp_path: Path) -> None:
    """Not before the date: a dry run in production decides, but neither unseals nor opens."""
    spec = production(tmp_path, PAST)
    early = at(spec, PAST - DAY)
    plan_id = plan(early)
    tamper(spec, "UPDATE migrator_recipient_key SET wrapped_private_key = NULL")  # whoever unseals now fails
    rehearsed = run(early, plan_id, dry_run=True)
    assert rehearsed.counts["rewrapped"].conversations > 0


def test_editing_the_configuration_does_not_move_the_campaign_to_staging(tmp_path: Path) -> None:
    """Not before the date: the environment stands in the database, not only in a file that one word changes."""
    spec = production(tmp_path, FUTURE)
    edited = spec.settings.model_dump(by_alias=True)
    edited["campaign"]["environment"] = "staging"
    with pytest.raises(ConfigError):
        run(replace(spec, settings=Settings.model_validate(edited)))


def test_a_notice_period_that_runs_keeps_sealed(tmp_path: Path) -> None:
    """Not for an account that was noticed too late: neither its copies nor those of others, until the period ran."""
    about = {"environment": "production", "cutover_at": PAST}
    world = World(replace(SHAPE, base=PAST - 127 * DAY))
    spec = new_campaign(tmp_path / "campaign", world, campaign=about, keys=KEYS)
    late = {person.account_id for person in world.people if person.number % 4 == 0}
    marks = ", ".join(f"'{account}'" for account in sorted(late))
    tamper(spec, f"UPDATE account SET email = NULL WHERE account_id IN ({marks})", name="store.db")
    notify(at(spec, PAST - 70 * DAY))
    tamper(spec, f"UPDATE account SET email = 'late@example.org' WHERE account_id IN ({marks})", name="store.db")
    notify(at(spec, PAST - 40 * DAY))
    collect(at(spec, PAST - 30 * DAY), world)
    expected = {
        copy.conversation_id
        for copy in world.copies
        if copy.messages and not late & {world.people[n].account_id for n in (copy.owner, *copy.members)}
    }
    for day, whole in ((0, False), (15.9, False), (16, True)):
        summary = run(at(spec, PAST + day * DAY), confirm=NAME)
        visible = set(reader.read(spec.directory))
        everything = {copy.conversation_id for copy in world.copies if copy.messages}
        assert visible == (everything if whole else expected)
        assert ("skipped:notice_period" in summary.counts) is not whole
    with open_campaign(at(spec, PAST + 17 * DAY)) as campaign:
        rollback(campaign, None, NoProgress())
    assert set(reader.read(spec.directory)) == expected
