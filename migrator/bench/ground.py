"""Where a measurement takes place: databases of its own beside the campaign's, and nothing left of them.

On SQLite a folder beside the migrator database, so on the same disk; on PostgreSQL schemas of the same database. Key
services are the campaign's own. Whatever else a campaign writes goes to a temporary folder.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.schema import CreateSchema, DropSchema

from fixtures.answers import NoticeDigests
from fixtures.handin import hand_in
from fixtures.store import write_store
from fixtures.world import Shape, World
from migrator import authorizations, recipient_key, setup
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.clock import FixedClock
from migrator.core.errors import ConfigError
from migrator.core.model import Environment, Quorum
from migrator.core.settings import Settings
from migrator.database.connect import translated
from migrator.exports import importing
from migrator.key_routing import KeyServices
from migrator.notices import sending, templates
from migrator.postgres import DRIVER, is_postgresql
from migrator.secrets import absolute_url, resolve_text

CUTOVER: Final = datetime(2026, 5, 8, tzinfo=UTC)
_NOTICED: Final = CUTOVER - timedelta(days=70)
_ANSWERED: Final = CUTOVER - timedelta(days=30)
RUN: Final = CUTOVER + timedelta(days=1)
_UNLIMITED: Final = ("max_rate", "max_duration", "max_load", "critical_load", "window", "throttle_flag_file",
                     "panic_flag_file")  # fmt: skip
"""Limits of the campaign that a measurement goes without."""


class Ground:
    """A synthetic store, and as many campaigns over it as are asked for."""

    def __init__(self, spec: CampaignSpec, folder: Path, url: URL, shape: Shape) -> None:
        self._spec = spec
        self._folder = folder
        self._url = url
        self._name = f"migrator_bench_{secrets.token_hex(4)}"
        self._schemas: list[str] = []
        self.world = World(shape)
        self.source_url = ""

    def write_source(self) -> None:
        """Write the store that all campaigns read."""
        self.source_url = self._place("source")
        write_store(self.world, self.source_url)

    @property
    def on_postgresql(self) -> bool:
        """Which database it is."""
        return is_postgresql(self._url)

    def campaign(self, name: str, *, workers: int) -> CampaignSpec:
        """A campaign that is ready to plan: set up, everybody told, everything handed in."""
        settings = self._settings(name, workers)
        spec = replace(self._spec, settings=settings, actor="bench")
        noticed, answered = (replace(spec, clock=FixedClock(moment)) for moment in (_NOTICED, _ANSWERED))
        setup.initialise(noticed)
        with open_campaign(noticed) as campaign:
            sending.send(campaign)
        folder = self._folder / name / "hand-in"
        with open_campaign(answered) as campaign:
            with campaign.database.read() as connection:
                key = recipient_key.current(connection)
            hand_in(
                self.world, folder, campaign=campaign.name, recipient_key_id=key.recipient_key_id, kem=key.kem,
                public_key=key.public_key, notice=_published(answered), now=_ANSWERED,
            )  # fmt: skip
            authorizations.import_paths(campaign, [folder / "authorizations"])
            importing.import_paths(campaign, [folder / "exports"])
        return replace(spec, clock=FixedClock(RUN))

    def remove(self) -> None:
        """Drop the schemas; the folder goes with whoever made it."""
        if not self._schemas:
            return
        with translated():
            engine = sa.create_engine(self._url, hide_parameters=True)
            try:
                with engine.begin() as connection:
                    for schema in self._schemas:
                        connection.execute(DropSchema(schema, cascade=True, if_exists=True))
            finally:
                engine.dispose()

    def _place(self, name: str) -> str:
        """URL of an empty database, or of a schema that its sessions see first."""
        if not self.on_postgresql:
            return f"sqlite:///{self._folder / f'{name}.db'}"
        schema = self._schema(name)
        return _text(self._url.update_query_dict({"options": f"-csearch_path={schema}"}))

    def _schema(self, name: str) -> str:
        schema = f"{self._name}_{name}"
        with translated():
            engine = sa.create_engine(self._url, hide_parameters=True)
            try:
                with engine.begin() as connection:
                    connection.execute(CreateSchema(schema))
            finally:
                engine.dispose()
        self._schemas.append(schema)
        return schema

    def _settings(self, name: str, workers: int) -> Settings:
        folder = self._folder / name
        folder.mkdir(mode=0o700)
        given = self._spec.settings
        schema = self._schema(name) if self.on_postgresql else None
        database = {"url": _text(self._url) if schema else self._place(name), "schema_name": schema}
        return given.model_copy(
            update={
                "campaign": given.campaign.model_copy(
                    update={"environment": Environment.STAGING, "cutover_at": CUTOVER, "notice_period_days": 56}
                ),
                "source": given.source.model_copy(update={"kind": "labyrinth", "url": self.source_url}),
                "database": given.database.model_copy(update=database),
                "authorization": given.authorization.model_copy(update={"quorum": Quorum.OWNER}),
                "execution": given.execution.model_copy(
                    update={"engine": "local", "workers": workers, "max_failures": "0", **dict.fromkeys(_UNLIMITED)}
                ),
                "notify": type(given.notify)(channel=f"maildir:{folder / 'outbox'}", rate="999999999/s"),
                "audit": type(given.audit)(directory=str(folder / "audit"), signing_key=f"file:{folder / 'audit.key'}"),
            }
        )


@contextmanager
def ground(spec: CampaignSpec, shape: Shape) -> Iterator[Ground]:
    """The place of a measurement, while a block runs. `ConfigError` for databases that it does not know."""
    KeyServices(spec.settings.keys, spec.directory).all()  # setting up would make local keys that are missing
    url = make_url(absolute_url(resolve_text(spec.settings.database.url, spec.directory), spec.directory))
    if not is_postgresql(url) and url.get_backend_name() != "sqlite":
        raise ConfigError("`migrator bench` measures SQLite and PostgreSQL", hint="database.url names another database")
    if is_postgresql(url):
        url = url.set(drivername=DRIVER)
    beside = None if is_postgresql(url) else _folder_of(url)
    with TemporaryDirectory(prefix="migrator-bench-", dir=beside) as folder:
        made = Ground(spec, Path(folder), url, shape)
        try:
            made.write_source()
            yield made
        finally:
            made.remove()


def _published(spec: CampaignSpec) -> NoticeDigests:
    found = templates.current(templates.catalogue(spec.settings, spec.directory), templates.DEFAULT_NOTICE)
    return NoticeDigests(
        notice_id=templates.DEFAULT_NOTICE,
        version=next(iter(found.values())).version,
        sha256={locale: template.sha256 for locale, template in found.items()},
    )


def _folder_of(url: URL) -> Path | None:
    """The folder of an SQLite file; None, which is the system's own, where it is not there."""
    folder = Path(url.database or "").parent
    return folder if folder.is_dir() else None


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)
