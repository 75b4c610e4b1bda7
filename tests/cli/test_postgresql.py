"""A campaign on PostgreSQL on the command line, from `init` to `rollback`, with a pool of two worker processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.expected import expect
from fixtures.store import write_store
from fixtures.world import FaultShares, Shape, UserShares, World
from migrator import config
from tests.cli.campaigns import spec_of
from tests.cli.running import Program
from tests.support import campaigns
from tests.support.campaigns import ANSWERED, NAME, NOTICED
from tests.support.postgres import server

pytestmark = pytest.mark.usefixtures("today")
SHAPE = Shape(accounts=20, conversations=30, messages=500, users=UserShares(), faults=FaultShares(nul_id=0))
SCHEMA = "e2ee_move"


@pytest.fixture
def database() -> Iterator[str]:
    """The name of the database that holds both source and server history."""
    name = server().create()
    yield name
    server().drop(name)


@pytest.fixture
def world(folder: Path, database: str, program: Program) -> World:
    """A campaign that was set up, whose users were told and have answered."""
    world, url = World(SHAPE), server().url(database)
    write_store(world, url)
    path = folder / "migrator.toml"
    config.write_example(path, {"campaign.name": NAME, "source.url": url})
    text = path.read_text(encoding="utf-8").replace('"50/s"', '"1000000/s"')
    text = text.replace('"sqlite:///migrator.db"', f'"{url}"').replace('# schema = "migrator"', f'schema = "{SCHEMA}"')
    path.write_text(text, encoding="utf-8")
    assert program("init").status == 0
    assert program("init").status == 0, "what is there stays"
    spec = spec_of(folder)
    campaigns.notify(campaigns.at(spec, NOTICED))
    campaigns.write_hand_in(campaigns.at(spec, ANSWERED), world)
    campaigns.import_authorizations(campaigns.at(spec, ANSWERED))
    campaigns.import_exports(campaigns.at(spec, ANSWERED))
    return world


def count(database: str, table: str) -> int:
    """Rows of one of migrator's tables, where the setting says that they are."""
    with server().connect(database) as connection:
        row = connection.execute(f'SELECT count(*) FROM "{SCHEMA}".{table}').fetchone()
    assert row is not None
    return int(row[0])


def test_a_whole_campaign(program: Program, world: World, database: str) -> None:
    """Every command does its part; the outcomes are the world's; all of migrator's tables lie in its schema."""
    assert program("preflight").status == 0
    plan = program("plan", "-o", "json").json["plan_id"]
    done = program("execute", plan, "--workers", "2", "-o", "json")
    assert done.status in (0, 30)
    counts = {o: (c["conversations"], c["messages"], c["gaps"]) for o, c in done.json["counts"].items()}
    expected: dict[str, list[int]] = {}
    for found in expect(world, "every_participant").values():
        tally = expected.setdefault(found.outcome, [0, 0, 0])
        tally[:] = tally[0] + 1, tally[1] + found.messages, tally[2] + found.gaps
    assert counts == {outcome: tuple(tally) for outcome, tally in expected.items()}
    moved = sum(tally[1] for outcome, tally in expected.items() if outcome.startswith("rewrapped"))
    assert count(database, "migrator_message") == moved > 100
    assert program("verify", "-o", "json").json["ok"] is True
    assert program("status").status == 0
    assert program("report").status == 0
    with server().connect(database) as connection:
        query = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename LIKE 'migrator%'"
        assert connection.execute(query).fetchall() == [(SCHEMA,)]
    assert program("rollback").status == 0
    assert count(database, "migrator_message") == count(database, "migrator_gap") == 0
