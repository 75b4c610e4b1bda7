"""A key service whose behaviour a file switches, found as any plug-in is: over a local keyset, so that keys are real.

Address: `switched:DIR#NAME`, a local keyset; its behaviour stands in `DIR/switch`: `ok` (or no file), `down`,
`throttled:SECONDS` (and when to come back), `disabled`, `denied`, `unknown` for the service as a whole, `item-disabled`
for a service that says so item by item, `refuse` for a refusal of each single blob.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from migrator import key_routing, plugins
from migrator.core.errors import KeyDelay, KeyProblem, KeyServiceError, KeyServiceUnavailableError
from migrator.keyservices.interface import KeyRefusal, RefusalKind
from migrator.keyservices.local import LocalKeyService

_PROBLEMS = {"disabled": KeyProblem.DISABLED, "denied": KeyProblem.DENIED, "unknown": KeyProblem.UNKNOWN_KEY}
Items = Sequence[tuple[bytes, bytes]]
Answers = list[bytes | KeyRefusal]


class SwitchedKeyService:
    """A local keyset behind a switch."""

    def __init__(self, address: str, directory: Path) -> None:
        self._real = LocalKeyService.open(address, directory=directory)
        self._switch = directory / address.partition("#")[0] / "switch"
        self.name = f"switched:{address}"

    @classmethod
    def open(cls, address: str, *, directory: Path) -> "SwitchedKeyService":
        """Open the keyset."""
        return cls(address, directory)

    @classmethod
    def create(cls, address: str, *, directory: Path) -> bool:
        """Make the keyset."""
        return LocalKeyService.create(address, directory=directory)

    def wrap(self, items: Items) -> Answers:
        """As the keyset, if the switch lets it."""
        return self._refusals(items) or self._real.wrap(items)

    def unwrap(self, items: Items) -> Answers:
        """As the keyset, if the switch lets it."""
        return self._refusals(items) or self._real.unwrap(items)

    def rewrap(self, items: Items) -> Answers:
        """As the keyset, if the switch lets it."""
        return self._refusals(items) or self._real.rewrap(items)

    def answers_to(self, name: str) -> bool:
        """To its own name."""
        return name == self.name

    def version(self, wrapped: bytes) -> str:
        """As the keyset has it."""
        return self._real.version(wrapped)

    def _refusals(self, items: Items) -> Answers:
        behaviour, _, number = self._behaviour().partition(":")
        if behaviour in _PROBLEMS:
            raise KeyServiceError(f"the key is {behaviour}", problem=_PROBLEMS[behaviour])
        if behaviour == "down":
            raise KeyServiceUnavailableError("the key service does not answer")
        if behaviour == "throttled":
            raise KeyServiceUnavailableError(
                "too many requests", delay=KeyDelay.THROTTLED, retry_after=float(number or 0)
            )
        kinds = {"item-disabled": RefusalKind.DISABLED, "refuse": RefusalKind.NOT_OPENED}
        return [KeyRefusal(kinds[behaviour], "it was said to refuse") for _ in items] if behaviour in kinds else []

    def _behaviour(self) -> str:
        """What stands in the switch; one that is for some calls is used up by them."""
        if not self._switch.exists():
            return "ok"
        behaviour, *calls = self._switch.read_text().split()
        if calls:
            left = int(calls[0]) - 1
            self._switch.write_text(f"{behaviour} {left}" if left else "ok")
        return behaviour


def switch(directory: Path, behaviour: str, calls: int | None = None) -> None:
    """Let the service whose keyset lies in `directory` behave so, for some calls or from now on."""
    (directory / "switch").write_text(behaviour if calls is None else f"{behaviour} {calls}")


def rotate_keyset(path: Path) -> str:
    """Give a local keyset a new primary key, as `tinkey rotate-keyset` does; the new version."""
    LocalKeyService.create(f"{path.parent}#fresh", directory=path.parent)
    fresh = path.with_name("fresh.json")
    keyset, added = json.loads(path.read_text()), json.loads(fresh.read_text())
    keyset["key"] += added["key"]
    keyset["primaryKeyId"] = added["primaryKeyId"]
    path.write_text(json.dumps(keyset))
    fresh.unlink()
    return str(added["primaryKeyId"])


@pytest.fixture
def switched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `switched:` found, and nobody wait for a service that is away."""
    found = plugins.key_service_class

    def find(address: str) -> tuple[type, str]:
        kind, _, rest = address.partition(":")
        return (SwitchedKeyService, rest) if kind == "switched" else found(address)

    monkeypatch.setattr(plugins, "key_service_class", find)
    monkeypatch.setattr(key_routing, "PATIENCE_SECONDS", 0.0)
