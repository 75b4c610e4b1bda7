"""Looks at everything that a campaign rests on, before it matters. Changes nothing that anybody could see.

Each check stands alone: one that fails, or can't even begin, does not stop the others. The clock that is compared is
the machine's own, never the campaign's.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from migrator import key_probe, recipient_key
from migrator.approvals import standing
from migrator.approvals.signing import NAMESPACE
from migrator.attachments import probe as attachments
from migrator.audit import signing_key
from migrator.audit.anchors import http, timestamp
from migrator.audit.anchors.asking import Anchors
from migrator.campaign import CampaignSpec, open_campaign, open_store
from migrator.core.clock import Clock, SystemClock
from migrator.core.errors import MigratorError, SourceError
from migrator.core.limits import MIB
from migrator.core.model import Environment
from migrator.core.redaction import redact_setting
from migrator.database import tables
from migrator.database.clock import apart, database_time
from migrator.execution.watching import checking
from migrator.notices import lint, locales, templates, verp
from migrator.notices.outlets import open_channels
from migrator.private_files import nearest_existing
from migrator.secrets import absolute_url, resolve_text

CLOCK_WARN_SECONDS: Final = 2.0
CLOCK_FAIL_SECONDS: Final = 60.0
LITTLE_SPACE_BYTES: Final = 1024 * MIB
_SIGNED: Final = b"migrator preflight"
"""What the log's key signs to show that it may: no text of a checkpoint."""
_SPACE_SHARE: Final = 1.2
"""Server history against its source: 33 bytes a message more, and indexes; generously rounded."""


class CheckState(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What one check found, and what to do about it (empty if nothing)."""

    name: str
    state: CheckState
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class _Finding:
    message: str
    remedy: str = ""
    state: CheckState = CheckState.OK


def _warn(message: str, remedy: str) -> _Finding:
    return _Finding(message, remedy, CheckState.WARN)


def _fail(message: str, remedy: str) -> _Finding:
    return _Finding(message, remedy, CheckState.FAIL)


def checks(spec: CampaignSpec, *, system: Clock | None = None) -> Iterator[Check]:
    """Every check in order, as it ends. `system` is the real time: the machine's own clock unless a test says so."""
    real = system or SystemClock()
    yield _contained("configuration", partial(_configuration, spec))
    yield _contained("source", partial(_source, spec))
    yield _contained("database", partial(_database, spec))
    for address in dict.fromkeys([spec.settings.keys.service, *spec.settings.keys.regions.values()]):
        yield _contained(f"key service {redact_setting(address)}", partial(_key_service, spec, address))
    yield _contained("campaign keys", partial(_campaign_keys, spec))
    yield _contained("clock", partial(_clock, spec, real))
    yield _contained("free space", partial(_free_space, spec))
    if spec.settings.attachments.target is not None:
        yield _contained("attachments", partial(_attachments, spec))
    yield _contained("notice channel", partial(_notice_channel, spec))
    yield _contained("notice templates", partial(_notice_templates, spec))
    if spec.settings.campaign.environment is Environment.PRODUCTION:
        yield _contained("approvals", partial(_approvals, spec))
    yield _contained("audit log", partial(_audit_log, spec))
    yield _contained("audit anchors", partial(_audit_anchors, spec))
    if checking.configured(spec):
        yield _contained("hooks and metrics", lambda: _Finding(checking.look(spec)))


def _contained(name: str, look: Callable[[], _Finding]) -> Check:
    """Run one check; an error of migrator's or of the system is its result."""
    try:
        found = look()
    except MigratorError as error:
        found = _fail(error.message, error.hint)
    except OSError as error:
        found = _fail(f"the system refuses: {error.strerror}", "see to the permissions and the disk")
    return Check(name=name, state=found.state, message=found.message, remedy=found.remedy)


def _configuration(spec: CampaignSpec) -> _Finding:
    settings = spec.settings
    said = f"campaign {settings.campaign.name!r}, {settings.campaign.environment.value}"
    doubts = []
    if settings.campaign.environment is Environment.PRODUCTION:
        if settings.audit.origin is None:
            doubts.append(f"audit.origin is {settings.origin!r}, which is no domain of yours")
        if settings.campaign.notice_period_days == 0:
            doubts.append("campaign.notice_period_days is 0: no notice period")
    if doubts:
        return _warn(f"{said}: {'; '.join(doubts)}", "see that this is meant")
    return _Finding(f"{said}, cutover {settings.campaign.cutover_at:%Y-%m-%d %H:%M} UTC")


def _source(spec: CampaignSpec) -> _Finding:
    path = _sqlite_path(spec, spec.settings.source.url)
    if path is not None and not path.is_file():
        raise SourceError(f"there is no source {path}", hint="check source.url")
    store = open_store(spec)
    try:
        identity = store.identity()
        conversations = len(next(store.population(), []))
        doubts = store.doubts()
    finally:
        store.close()
    if conversations == 0:
        return _warn("the source has no conversations", "check source.url: is this the right store?")
    said = f"{spec.settings.source.kind} {identity[:16]}…, {conversations} conversations on the first page"
    if doubts:
        return _warn(f"{said}; {'; '.join(d.message for d in doubts)}", "; ".join(d.remedy for d in doubts))
    return _Finding(said)


def _database(spec: CampaignSpec) -> _Finding:
    with open_campaign(spec) as campaign:
        with campaign.database.write("preflight") as connection:  # writes what is there already
            table = tables.campaign
            connection.execute(table.update().values(created_at=table.c.created_at))
        return _Finding(f"{campaign.database.engine.dialect.name}, schema and campaign are right, writable")


def _key_service(spec: CampaignSpec, address: str) -> _Finding:
    found = key_probe.probe(spec, address)
    if found.lacks_rewrap:
        return _warn(f"{found.name} wraps and unwraps, but {found.lacks_rewrap}", "rotating its key will need it")
    if address.startswith("local:") and spec.settings.campaign.environment is Environment.PRODUCTION:
        return _warn(
            f"{found.name} wraps and unwraps, but whoever reads the disk reads the keys",
            "in production use a key service that holds its keys itself",
        )
    return _Finding(f"{found.name} wraps and unwraps, bound to its context")


def _campaign_keys(spec: CampaignSpec) -> _Finding:
    """The key service is the one that the campaign began with.

    The recipient key stays wrapped: a key policy may refuse it before the cutover date, and nothing here needs it.
    """
    with open_campaign(spec) as campaign:
        _ = campaign.references
        with campaign.database.read() as connection:
            key = recipient_key.newest(connection)
        campaign.key_services.named(key.key_service)
    if key.destroyed:
        return _warn(f"the recipient key {key.recipient_key_id} is destroyed", "this campaign is final: start another")
    if key.kem != spec.settings.keys.recipient_kem:
        return _warn(
            f"the recipient key is {key.kem}, not {spec.settings.keys.recipient_kem} as configured",
            "put keys.recipient_kem back: a campaign keeps the key that its clients know",
        )
    return _Finding(f"reference key unwraps; recipient key {key.recipient_key_id} ({key.kem})")


def _clock(spec: CampaignSpec, real: Clock) -> _Finding:
    with open_campaign(spec) as campaign, campaign.database.read() as connection:
        before = real.now()
        theirs = database_time(connection)
        off = apart(theirs, before, real.now()).total_seconds()
    said = f"this machine's clock and the database's are {off:.1f} s apart"
    if off > CLOCK_FAIL_SECONDS:
        return _fail(said, "set both by NTP: the cutover date is checked by either")
    if off > CLOCK_WARN_SECONDS:
        return _warn(said, "see that NTP runs on both")
    return _Finding(said)


def _free_space(spec: CampaignSpec) -> _Finding:
    """Room for the server history where that is a file here, and for the audit log."""
    source = _sqlite_path(spec, spec.settings.source.url)
    database = _sqlite_path(spec, spec.settings.database.url)
    needed = LITTLE_SPACE_BYTES
    if source is not None and database is not None and source.is_file():
        needed += int(source.stat().st_size * _SPACE_SHARE)
    places = [path.parent for path in [database] if path is not None]
    places.append(spec.directory / spec.settings.audit.directory)
    free = min(shutil.disk_usage(nearest_existing(place)).free for place in places)
    said = f"{free // MIB} MiB free, about {needed // MIB} MiB needed"
    if free < needed - LITTLE_SPACE_BYTES or free < LITTLE_SPACE_BYTES // 10:
        return _fail(said, "make room, or put the migrator database elsewhere")
    if free < needed:
        return _warn(said, "make room: a run stops when the disk is full, and goes on when it is not")
    return _Finding(said)


def _attachments(spec: CampaignSpec) -> _Finding:
    with open_campaign(spec) as campaign:
        name = attachments.probe(campaign)
    return _Finding(f"those of the source are there; {name} can be written, read and deleted from")


def _sqlite_path(spec: CampaignSpec, url: str) -> Path | None:
    """Where an SQLite database lies that is a file; None for other databases, and for what is no URL."""
    try:
        parsed = make_url(absolute_url(resolve_text(url, spec.directory), spec.directory))
    except (ArgumentError, ValueError):
        return None
    plain = parsed.get_backend_name() == "sqlite" and parsed.database and not parsed.database.startswith((":", "file:"))
    return Path(parsed.database) if plain and parsed.database else None


def _notice_channel(spec: CampaignSpec) -> _Finding:
    verp.check(spec.settings.notify.return_path)
    channels = open_channels(spec)
    for channel in channels.values():
        channel.close()
    said = f"{', '.join(channels)}: {'opens' if len(channels) == 1 else 'open'}"
    notify = spec.settings.notify
    if notify.required_evidence == "E2" and notify.return_path is None and any(c.by_mail for c in channels.values()):
        return _warn(
            f"{said}; E2 waits for bounces, and there is no notify.return_path for them to come to",
            "set it, and import what comes there: else what bounced counts as told after 72 hours",
        )
    return _Finding(said)


def _approvals(spec: CampaignSpec) -> _Finding:
    """Enough operators may approve a plan now."""
    signers = [one for one in standing.allowed(spec) if one.may_sign(NAMESPACE, spec.clock.now())]
    if not any(standing.different(one, other) for one in signers for other in signers):
        return _fail(
            f"fewer than {standing.REQUIRED} operators of {spec.settings.approval.allowed_signers} may approve now",
            "list two different persons, each with an SSH key of their own",
        )
    return _Finding(f"{len(signers)} keys may approve plans")


def _notice_templates(spec: CampaignSpec) -> _Finding:
    found = templates.catalogue(spec.settings, spec.directory)
    lint.require_clean(found)
    languages = templates.current(found, templates.DEFAULT_NOTICE)
    said = f"{len(found)} templates; the first notice in {', '.join(sorted(languages))}"
    if templates.untranslated(found):
        return _warn(said, "other notices lack some of these languages: `migrator notify lint` lists them")
    default = spec.settings.notify.default_locale
    if templates.for_reader(languages, locales.normalise(default)) is None:
        return _warn(said, f"none is in notify.default_locale, {default!r}: who has no locale is told nothing")
    return _Finding(said)


def _audit_log(spec: CampaignSpec) -> _Finding:
    with open_campaign(spec) as campaign:
        signing_key.load(spec.settings.audit.signing_key, spec.directory).sign(_SIGNED)
        campaign.audit.check()
        size = campaign.audit.state().size
        path = campaign.audit.path
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        return _fail(f"the audit log {path} can't be written", "give it to the user that runs migrator")
    return _Finding(f"{size} entries, as the database remembers them; writable")


def _audit_anchors(spec: CampaignSpec) -> _Finding:
    """Who else vouches for the log. Nobody is asked: a witness would count what it is asked."""
    anchors = Anchors(spec.settings.audit, spec.directory, spec.directory / spec.settings.audit.directory)
    if not anchors.configured:
        return _warn(
            "nobody else vouches for the audit log: whoever holds its key can rewrite it unseen",
            "set audit.witnesses or audit.timestamp_url; at least give checkpoints to somebody outside",
        )
    with http.client():
        pass
    names = [asked.key.name for asked in anchors.witnesses]
    if anchors.authority is not None:
        timestamp.require_package()
        names.append(anchors.authority.url)
    return _Finding(f"{', '.join(names)}; newest checkpoint vouched for: {anchors.anchored_through()} entries")
