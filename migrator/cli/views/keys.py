"""Views of wrapped keys."""

from migrator.cli.output import View
from migrator.cli.views.text import Row, counted, table
from migrator.keys import Destroyed, KeysStatus, RewrapResult, ServiceStatus


def status(found: KeysStatus) -> View:
    """Where wrapped keys are, and what the services say."""
    rows: list[Row] = [(w.kind, w.key_service, w.key_version or "not told", w.keys) for w in found.wrapped]
    lines = [*table(["kind", "key service", "version", "keys"], rows), ""]
    if found.destroyed:
        lines.append(f"{counted(found.destroyed, 'data key')} destroyed")
    lines += [_service_line(service) for service in found.services]
    if found.unfinished:
        lines.append("warn a rewrap was interrupted: `migrator keys rewrap` goes on where it was")
    return View(
        document={
            "schema": "migrator.keys/1",
            "wrapped": [
                {"kind": w.kind, "key_service": w.key_service, "key_version": w.key_version or None, "keys": w.keys}
                for w in found.wrapped
            ],
            "destroyed": found.destroyed,
            "services": [
                {
                    "name": service.name,
                    "uses": list(service.uses),
                    "newest_version": service.newest_version,
                    "behind": service.behind,
                    "problem": service.problem,
                }
                for service in found.services
            ],
            "rewrap_unfinished": found.unfinished,
        },
        lines=lines,
    )


def _service_line(service: ServiceStatus) -> str:
    if service.problem is not None:
        return f"fail {service.name}: {service.problem}"
    uses = ", ".join(service.uses)
    if service.newest_version is None:
        return f"ok {service.name} ({uses}): its blobs don't tell their version"
    behind = counted(service.behind or 0, "key")
    word = "warn" if service.behind else "ok"
    return f"{word} {service.name} ({uses}): newest version {service.newest_version}, {behind} not under it"


def rewrapped(result: RewrapResult) -> View:
    """What became of the keys."""
    lines = [f"rewrapped {counted(result.rewrapped, 'key')}, {result.already:,} already where they should be"]
    if result.elsewhere:
        lines.append(f"{counted(result.elsewhere, 'key')} left: with a service that this rewrap is not about")
    if result.overtaken:
        lines.append(f"{counted(result.overtaken, 'key')} changed or destroyed meanwhile: left as they are")
    lines += [f"refused {refusal.about}: {refusal.detail}" for refusal in result.refusals]
    if result.refused:
        lines.append(f"{counted(result.refused, 'key')} refused; each stays as it was")
    return View(
        document={
            "schema": "migrator.keys_rewrap/1",
            "rewrapped": result.rewrapped,
            "already": result.already,
            "elsewhere": result.elsewhere,
            "overtaken": result.overtaken,
            "refused": result.refused,
            "refusals": [{"about": refusal.about, "detail": refusal.detail} for refusal in result.refusals],
        },
        lines=lines,
    )


def destroyed(result: Destroyed) -> View:
    """What is gone."""
    what = f"{counted(result.messages, 'message')} and {counted(result.gaps, 'gap')}"
    return View(
        document={
            "schema": "migrator.keys_destroyed/1",
            "conversation_id": result.conversation_id,
            "already": result.already,
            "messages": result.messages,
            "gaps": result.gaps,
        },
        lines=[
            "its history was already destroyed"
            if result.already
            else f"destroyed the data key of {result.conversation_id}, and {what}; nothing brings them back"
        ],
    )
