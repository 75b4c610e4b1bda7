"""What the settings amount to: for people to look at, and as a digest that a plan is bound to."""

import hashlib
from datetime import datetime
from enum import Enum
from typing import Any, Final

from migrator.core.clock import format_time
from migrator.core.encoding import canonical_json
from migrator.core.redaction import redact_setting
from migrator.core.settings import Settings


def effective(settings: Settings) -> dict[str, Any]:
    """All settings as nested JSON values, without the passwords in their URLs."""
    return {
        section: {key: _plain(value) for key, value in keys.items()}
        for section, keys in settings.model_dump(by_alias=True).items()
    }


def digest(settings: Settings) -> str:
    """SHA-256 in hex over all effective settings in canonical JSON.

    Without passwords: a plan outlives their rotation, and its digest must not help to guess them. Without what only
    watches and paces: who wants to see more of a run that stopped, or to have it go slower, need not plan again.
    """
    found = effective(settings)
    for section, keys in _WATCHING.items():
        for key in keys:
            del found[section][key]
        if not found[section]:
            del found[section]
    return hashlib.sha256(canonical_json(_without_floats(found))).hexdigest()


_WATCHING: Final = {
    "execution": (
        "metrics_file", "max_rate", "max_duration", "window", "max_load", "critical_load", "throttle_flag_file",
        "panic_flag_file",
    ),
    "hooks": ("directory", "timeout_seconds"),
}  # fmt: skip
"""What decides nothing of what is opened, only who is told of it and how fast it goes."""
_RULES: Final = {
    "campaign": ("cutover_at", "notice_period_days", "rollback_window_days", "sealed_grace_days"),
    "source": ("kind", "local_domain", "unverifiable_senders"),
    "authorization": ("quorum",),
    "execution": ("page_size", "max_gap_fraction", "max_failures"),
    "notify": ("required_evidence",),
}
"""What a rehearsal must share with the campaign that it rehearses: rules, and none of the places or keys."""


def rules_digest(settings: Settings) -> str:
    """SHA-256 in hex over the settings that decide what is opened, when and how, wherever that is."""
    found = effective(settings)
    rules = {section: {key: found[section][key] for key in keys} for section, keys in _RULES.items()}
    if found["cohorts"]:
        rules["cohorts"] = found["cohorts"]
    return hashlib.sha256(canonical_json(_without_floats(rules))).hexdigest()


def _plain(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return redact_setting(value) if isinstance(value, str) else value


def _without_floats(value: Any) -> Any:
    """Canonical JSON has no floats here: they are written as text."""
    if isinstance(value, dict):
        return {key: _without_floats(entry) for key, entry in value.items()}
    return repr(value) if isinstance(value, float) else value
