"""Views of init, preflight, config and recipient-key."""

from collections.abc import Sequence
from pathlib import Path

from migrator import config
from migrator.cli.output import View
from migrator.cli.views.text import counted
from migrator.core.encoding import b64url_encode
from migrator.demo import DemoResult
from migrator.preflight import Check, CheckState
from migrator.recipient_key import RecipientKey
from migrator.setup import SetupStep


def initialised(steps: Sequence[SetupStep]) -> View:
    """What `init` made, and what was there already."""
    lines = [f"{'made' if step.made else 'already there'}: {step.what} {step.path_or_name}" for step in steps]
    if any(step.made for step in steps):
        lines.append("next: look at the configuration, then `migrator preflight`")
    else:
        lines.append("already initialised; nothing was changed")
    return View(
        document={
            "schema": "migrator.init/1",
            "steps": [{"what": s.what, "name": s.path_or_name, "made": s.made} for s in steps],
        },
        lines=lines,
    )


def check_entry(check: Check) -> tuple[dict[str, str], list[str]]:
    """One check of the preflight."""
    document = {"name": check.name, "state": check.state.value, "message": check.message, "remedy": check.remedy}
    lines = [f"{check.state.value:<4} {check.name}: {check.message}"]
    if check.remedy:
        lines.append(f"     {check.remedy}")
    return document, lines


def verdict(states: Sequence[CheckState]) -> str:
    """The preflight in one line."""
    failed, warned = states.count(CheckState.FAIL), states.count(CheckState.WARN)
    if failed:
        return f"{counted(failed, 'check')} failed: see to them before anything else"
    return f"ready, with {counted(warned, 'warning')}" if warned else "ready"


def settings(loaded: config.Loaded, *, provenance: bool) -> View:
    """The effective settings, without secrets."""
    effective = config.effective(loaded.settings)
    lines = []
    for dotted, value in _flattened(effective):
        origin = f"  # {loaded.provenance.get(dotted, 'default')}" if provenance else ""
        lines.append(f"{dotted} = {_toml(value)}{origin}")
    document: dict[str, object] = {
        "schema": "migrator.config/1",
        "config_sha256": config.digest(loaded.settings),
        "settings": effective,
    }
    if provenance:
        document["provenance"] = loaded.provenance
    return View(document=document, lines=lines)


def recipient_key(key: RecipientKey) -> View:
    """What clients seal to."""
    public_key = b64url_encode(key.public_key)
    return View(
        document={
            "schema": "migrator.recipient_key/1",
            "recipient_key_id": key.recipient_key_id,
            "kem": key.kem,
            "public_key": public_key,
        },
        lines=[
            f"recipient_key_id  {key.recipient_key_id}",
            f"kem               {key.kem}",
            f"public_key        {public_key}",
        ],
    )


def demonstrated(result: DemoResult, directory: Path) -> View:
    """How a demo ended; its steps were told as they went."""
    return View(
        document={
            "schema": "migrator.demo/1",
            "ok": result.ok,
            "directory": str(directory),
            "conversations": result.conversations,
            "messages": result.messages,
        },
        lines=[] if result.ok else ["", "fail the numbers don't agree: see above"],
    )


def _flattened(effective: dict[str, dict[str, object]]) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for section, keys in effective.items():
        for key, value in keys.items():
            if isinstance(value, dict) and value:
                found += [(f"{section}.{key}.{entry}", text) for entry, text in value.items()]
            else:
                found.append((f"{section}.{key}", value))
    return found


def _toml(value: object) -> str:
    if value is None or value == {}:
        return "(none)"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
