"""Entries of the log as OCSF events, for a SIEM. A view: what is hashed and signed is the entry itself, never this.

Open Cybersecurity Schema Framework 1.6.0 (schema.ocsf.io/1.6.0), class API Activity (6003), severity informational.
`metadata.uid` is the entry's id and `metadata.sequence` its number in the log, by which `audit prove --seq` finds it.
"""

from collections.abc import Mapping
from typing import Any, Final

from migrator import __version__
from migrator.audit.entries import TYPE_PREFIX
from migrator.core.clock import parse_time

VERSION: Final = "1.6.0"
CATEGORY_UID: Final = 6
CLASS_UID: Final = 6003
_CREATE, _READ, _UPDATE, _DELETE, _OTHER = 1, 2, 3, 4, 99
_ACTIVITY_NAMES: Final = {_CREATE: "Create", _READ: "Read", _UPDATE: "Update", _DELETE: "Delete", _OTHER: "Other"}
_ACTIVITIES: Final = {
    "created": _CREATE, "recorded": _CREATE, "opened": _CREATE, "published": _CREATE, "sent": _CREATE,
    "rewrapped": _UPDATE, "started": _UPDATE, "resumed": _UPDATE, "paused": _UPDATE, "aborted": _UPDATE,
    "completed": _UPDATE, "approved": _UPDATE, "used": _UPDATE, "read": _READ, "destroyed": _DELETE, "revoked": _UPDATE,
    "retired": _DELETE, "stop_requested": _UPDATE, "limits_changed": _UPDATE, "released": _UPDATE,
}  # fmt: skip
"""By the verb of the event's type; the others (skipped, refused, failed, heartbeat) change nothing that OCSF names."""
_FAILED: Final = frozenset({"failed", "refused"})


def event(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One entry as an OCSF event; `KeyError`, `TypeError` or `ValueError` for what is no entry."""
    kind = str(entry["type"]).removeprefix(TYPE_PREFIX)
    verb = kind.rpartition(".")[2]
    activity = _ACTIVITIES.get(verb, _OTHER)
    made: dict[str, Any] = {
        "category_uid": CATEGORY_UID,
        "category_name": "Application Activity",
        "class_uid": CLASS_UID,
        "class_name": "API Activity",
        "activity_id": activity,
        "activity_name": _ACTIVITY_NAMES[activity] if activity != _OTHER else verb,
        "type_uid": CLASS_UID * 100 + activity,
        "severity_id": 1,
        "severity": "Informational",
        "status_id": 2 if verb in _FAILED else 1,
        "status": "Failure" if verb in _FAILED else "Success",
        "time": _milliseconds(entry["time"]),
        "actor": {"user": {"name": entry["actor"]}},
        "api": {"operation": kind, "service": {"name": "migrator"}},
        "src_endpoint": {"svc_name": "migrator"},
        "metadata": _metadata(entry),
        "unmapped": {"data": entry["data"]},
    }
    if "subject" in entry:
        made["resources"] = [{"uid": entry["subject"], "type": kind.partition(".")[0]}]
    return made


def _metadata(entry: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {
        "version": VERSION,
        "product": {"name": "migrator", "vendor_name": "migrator", "version": __version__},
        "uid": entry["id"],
        "event_code": entry["type"],
        "sequence": entry["seq"],
        "log_name": entry["source"],
        "original_time": entry["time"],
    }
    return metadata | ({"correlation_uid": entry["runid"]} if "runid" in entry else {})


def _milliseconds(text: str) -> int:
    """Since 1970, rounded down: OCSF's `timestamp_t`."""
    moment = parse_time(text)
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000
