"""Campaigns that were really executed, made once and copied for each test, and SQL to tamper with the copies.

On SQLite, or where a test asks for it (`on_both_databases`) on PostgreSQL, whose databases are copied as templates. The
store is an SQLite file in both cases. SQL is written as SQLite takes it.
"""

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from fixtures.shape import FaultShares, Shape, UserShares
from fixtures.world import World
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.progress import NoProgress
from migrator.database.connect import Boundary
from migrator.execution import coordinator
from migrator.execution.coordinator import RunOptions
from migrator.execution.runs import RunSummary
from migrator.planning.making import make_plan
from tests.execution.inline import InlineEngine, NoStop
from tests.support.campaigns import LATE, at, import_exports, small_campaign
from tests.support.postgres import server

SHAPE = Shape(
    accounts=30,
    conversations=40,
    messages=700,
    huge=2300,
    users=UserShares.none(refuse=0.06, silent=0.03, partial_export=0.3, history_export=0.2, no_export=0.05),
    faults=FaultShares(orphan=0.03, empty=0.03, nul_id=0.003, flipped=0.004),
)
"""All kinds of conversation: small and long, with gaps, with history from exports, with keys that come late."""
PAGE_SIZE = 1000
_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []
_kind = "sqlite"
_copies: list[str] = []
on_both_databases = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


@contextmanager
def using(kind: str) -> Iterator[None]:
    """Make campaigns on that kind of database for a while."""
    global _kind
    before, _kind = _kind, kind
    try:
        yield
    finally:
        _kind = before
        while _copies:
            server().drop(_copies.pop())


def world() -> World:
    """What the campaigns below are made of."""
    return World(SHAPE)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """Which kind of database the campaigns of a test are on."""
    with using(request.param):
        yield request.param


def executed(folder: Path) -> CampaignSpec:
    """A campaign with one completed run, below `folder`."""
    return _copy(_executed(_kind), folder)


def extended(folder: Path) -> CampaignSpec:
    """The same after the late exports came and a second run took them up."""
    return _copy(_extended(_kind), folder)


def run(spec: CampaignSpec, *, boundary: Boundary | None = None) -> RunSummary:
    """Plan and execute in this process; `boundary` listens at every commit."""
    with open_campaign(spec) as campaign:
        plan = make_plan(campaign, save=None, progress=NoProgress())
        if boundary is not None:
            campaign.database.boundary = boundary
        options = RunOptions(engine=InlineEngine(campaign))
        return coordinator.execute(campaign, plan.plan_id, options, NoProgress(), NoStop())


class Killed(BaseException):
    """The process ends here."""


def killed_run(folder: Path, label: str) -> CampaignSpec:
    """A campaign whose run was killed right after its first commit of that label."""
    spec = _copy(_prepared(_kind), folder)

    def pull_the_plug(found: str, moment: str) -> None:
        if (found, moment) == (label, "after"):
            raise Killed

    with pytest.raises(Killed):
        run(spec, boundary=pull_the_plug)
    return spec


@cache
def _prepared(kind: str) -> CampaignSpec:
    sections = {} if kind == "sqlite" else {"database": {"url": server().url(server().create())}}
    return small_campaign(_folder(), SHAPE, execution={"page_size": PAGE_SIZE, "workers": 1}, **sections)


@cache
def _executed(kind: str) -> CampaignSpec:
    spec = _copy(_prepared(kind), _folder(), kept=True)
    run(spec)
    return spec


@cache
def _extended(kind: str) -> CampaignSpec:
    spec = at(_copy(_executed(kind), _folder(), kept=True), LATE)
    import_exports(spec, late=True)
    run(spec)
    return spec


def forget_made() -> None:
    """Make the campaigns above anew: for who makes them where something else is true, before and after."""
    _executed.cache_clear()
    _extended.cache_clear()


def _folder() -> Path:
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="migrator-test-"))
    return Path(_FOLDERS[-1].name)


def _copy(spec: CampaignSpec, folder: Path, *, kept: bool = False) -> CampaignSpec:
    target = folder / "campaign"
    shutil.copytree(spec.directory, target)
    url = make_url(spec.settings.database.url)
    if url.get_backend_name() == "sqlite":
        return replace(spec, directory=target)
    name = server().create(url.database)
    if not kept:
        _copies.append(name)
    own = spec.settings.database.model_copy(update={"url": server().url(name)})
    return replace(spec, directory=target, settings=spec.settings.model_copy(update={"database": own}))


class _Server:
    """A session on PostgreSQL that takes SQLite's words."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> Any:
        statement = re.sub(r"x'([0-9a-f]*)'", r"'\\x\1'::bytea", statement)
        statement = re.sub(r"json_extract\((\w+), '\$\.(\w+)'\)", r"(\1::json ->> '\2')", statement)
        return self._connection.execute(statement.replace("?", "%s"), tuple(parameters) or None)


@contextmanager
def database(spec: CampaignSpec, name: str = "migrator.db") -> Iterator[Any]:
    """The migrator database (or the store, `store.db`) as somebody sees it who is not migrator."""
    url = make_url(spec.settings.database.url)
    if name == "migrator.db" and url.get_backend_name() != "sqlite":
        with server().connect(str(url.database)) as session:
            yield _Server(session)
        return
    connection = sqlite3.connect(spec.directory / name)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def tamper(spec: CampaignSpec, *statements: str, name: str = "migrator.db") -> None:
    """Run statements, each of which must change at least one row."""
    with database(spec, name) as connection:
        for statement in statements:
            changed = connection.execute(statement).rowcount
            assert changed > 0, f"changes nothing: {statement}"


def rows(spec: CampaignSpec, query: str, *parameters: object, name: str = "migrator.db") -> list[tuple[Any, ...]]:
    """What a query gives."""
    with database(spec, name) as connection:
        found: list[tuple[Any, ...]] = connection.execute(query, parameters).fetchall()
        return found


def dump(spec: CampaignSpec, tables: Sequence[str]) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of some tables, in an order of their own."""
    return {table: sorted(rows(spec, f"SELECT * FROM {table}"), key=repr) for table in tables}


def all_tables(spec: CampaignSpec) -> list[str]:
    """Every table of the migrator database."""
    if make_url(spec.settings.database.url).get_backend_name() != "sqlite":
        return [
            name for (name,) in rows(spec, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        ]
    return [name for (name,) in rows(spec, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
