"""A whole campaign over a synthetic world, up to the day after its cutover: what tests of later steps begin with.

The calendar is fixed: notices 70 days before the cutover, answers and exports 30 days before it, runs the day after.
Settings are given by section, as `small_campaign(folder, authorization={"quorum": "owner"})`.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from fixtures.answers import NoticeDigests
from fixtures.handin import hand_in
from fixtures.people import ISSUER
from fixtures.store import write_store
from fixtures.world import Shape, World
from migrator import authorizations, recipient_key, setup
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.clock import FixedClock
from migrator.core.encoding import b64url_encode
from migrator.core.imports import ImportResult
from migrator.core.settings import Settings
from migrator.exports import importing
from migrator.notices import sending, templates
from migrator.secrets import absolute_url

CUTOVER: Final = datetime(2026, 5, 8, tzinfo=UTC)
NOTICED: Final = CUTOVER - timedelta(days=70)
ANSWERED: Final = CUTOVER - timedelta(days=30)
RUN: Final = CUTOVER + timedelta(days=1)
LATE: Final = CUTOVER + timedelta(days=3)
NAME: Final = "test-campaign"
SMALL: Final = Shape(accounts=40, conversations=60, messages=900)


def small_campaign(directory: Path, shape: Shape = SMALL, **settings: dict[str, Any]) -> CampaignSpec:
    """Make the store, set the campaign up, notify, and import the hand-in; the clock stands at `RUN`."""
    world = World(shape)
    spec = new_campaign(directory, world, **settings)
    notify(at(spec, NOTICED))
    write_hand_in(at(spec, ANSWERED), world)
    refused = [*import_authorizations(at(spec, ANSWERED)).refused, *import_exports(at(spec, ANSWERED)).refused]
    if refused:
        raise AssertionError(f"the hand-in of a synthetic world was refused: {refused[:3]}")
    return at(spec, RUN)


def new_campaign(directory: Path, world: World, **settings: dict[str, Any]) -> CampaignSpec:
    """Write the store and initialise a campaign for it, in staging, with local keys, when notices are due."""
    directory.mkdir(parents=True, exist_ok=True)
    spec = at(
        CampaignSpec(
            settings=_settings(world, settings), directory=directory, clock=FixedClock(NOTICED), actor="operator@test"
        ),
        NOTICED,
    )
    write_store(world, absolute_url(spec.settings.source.url, directory), media=directory / "media")
    setup.initialise(spec)
    return spec


def at(spec: CampaignSpec, moment: datetime) -> CampaignSpec:
    """The same campaign at another time."""
    return replace(spec, clock=FixedClock(moment))


def notify(spec: CampaignSpec) -> sending.SendResult:
    """Send the cutover notice to everybody who can be reached."""
    with open_campaign(spec) as campaign:
        return sending.send(campaign)


def write_hand_in(spec: CampaignSpec, world: World) -> None:
    """Have the world's users hand in what they hand in, now, into `directory/hand-in`."""
    with open_campaign(spec) as campaign, campaign.database.read() as connection:
        recipient = recipient_key.current(connection)
    hand_in(
        world,
        spec.directory / "hand-in",
        campaign=spec.settings.campaign.name,
        recipient_key_id=recipient.recipient_key_id,
        kem=recipient.kem,
        public_key=recipient.public_key,
        notice=published_notice(spec),
        now=spec.clock.now(),
    )


def published_notice(spec: CampaignSpec) -> NoticeDigests:
    """The notice that the campaign sends, as a client knows it."""
    newest = templates.current(templates.catalogue(spec.settings, spec.directory), templates.DEFAULT_NOTICE)
    version = next(iter(newest.values())).version
    digests = {locale: template.sha256 for locale, template in newest.items()}
    return NoticeDigests(notice_id=templates.DEFAULT_NOTICE, version=version, sha256=digests)


def import_authorizations(spec: CampaignSpec) -> ImportResult:
    """Import all records of the hand-in."""
    with open_campaign(spec) as campaign:
        return authorizations.import_paths(campaign, [spec.directory / "hand-in" / "authorizations"])


def import_exports(spec: CampaignSpec, *, late: bool = False) -> ImportResult:
    """Import the exports of the hand-in, or those that come late; a world without any has nothing to import."""
    folder = spec.directory / "hand-in" / ("late" if late else "exports")
    if not folder.is_dir():
        return ImportResult(recorded=0, already=0)
    with open_campaign(spec) as campaign:
        return importing.import_paths(campaign, [folder])


def _settings(world: World, sections: dict[str, dict[str, Any]]) -> Settings:
    given: dict[str, dict[str, Any]] = {
        "campaign": {"name": NAME, "environment": "staging", "cutover_at": CUTOVER},
        "source": {"kind": "labyrinth", "url": "sqlite:///store.db"},
        "execution": {"workers": 1},
        # Sending waits for the real clock; nothing in a test should.
        "notify": {"channel": "maildir:outbox", "rate": "1000000/s"},
    }
    if world.shape.users.issuer_signed:
        public_key = world.issuer_key().public_key().public_bytes_raw()
        given["authorization"] = {"issuers": {ISSUER: b64url_encode(public_key)}}
    merged = {name: given.get(name, {}) | sections.get(name, {}) for name in given.keys() | sections.keys()}
    return Settings.model_validate(merged)
