"""Which key service wraps for whom, and how migrator bears with one that is away.

Routing:

1. Without `[keys.regions]` the campaign's own service (`keys.service`) wraps for everybody.
2. With regions it wraps data keys for nobody: a data key is wrapped by the service of its owner's region, or not at
   all. Who lives in no region, or in one that is not listed, has no service, for a guess could put a key where it must
   never be. The campaign's own service keeps the recipient key and the reference key alone.
3. A shared room has no owner: all members' regions must have one and the same service. That is the strictest rule, as
   any other would wrap some member's history outside their region.
4. What wrapped a key once is found by the name recorded beside it, among services of now and `[keys.former]`.

Trouble: a service that is away or throttles is asked again for a while, not before it said to. What concerns the
service as a whole is an error, also where the service gives it item by item; a refusal costs one key.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final, TypeVar, final

from migrator import plugins
from migrator.core.errors import (
    KeyProblem,
    KeyServiceError,
    KeyServiceUnavailableError,
    NotConfiguredKeyServiceError,
)
from migrator.core.load import Meter
from migrator.core.settings import KeysSettings
from migrator.keyservices.interface import KeyRefusal, KeyService, RefusalKind
from migrator.patience import PATIENCE_SECONDS, patiently

T = TypeVar("T")
Items = Sequence[tuple[bytes, bytes]]
Answers = list[bytes | KeyRefusal]

_PROBLEMS: Final = {
    RefusalKind.DISABLED: KeyProblem.DISABLED,
    RefusalKind.DENIED: KeyProblem.DENIED,
    RefusalKind.UNKNOWN_KEY: KeyProblem.UNKNOWN_KEY,
}
_WHEN_OPENING: Final = frozenset({RefusalKind.DISABLED, RefusalKind.DENIED})
"""While unwrapping, an unknown key may be one version that is gone, and the loss of what that version wrapped."""


@final
class PatientKeyService:
    """A key service as migrator uses it. It raises as the port does; that it is away only once patience is over."""

    def __init__(self, service: KeyService, owner: "KeyServices") -> None:
        self._service = service
        self._owner = owner

    @property
    def name(self) -> str:
        """The key in full, as it is recorded."""
        return self._service.name

    def answers_to(self, name: str) -> bool:
        """Whether it unwraps what the service of that name wrapped."""
        return self._service.answers_to(name)

    def wrap(self, items: Items) -> Answers:
        """Wrap (secret, context) pairs under the newest version of the key."""
        return self._checked(self._ask("wrap", self._service.wrap, items), frozenset(_PROBLEMS))

    def unwrap(self, items: Items) -> Answers:
        """Unwrap (wrapped, context) pairs."""
        return self._checked(self._ask("unwrap", self._service.unwrap, items), _WHEN_OPENING)

    def rewrap(self, items: Items) -> Answers:
        """Bring (wrapped, context) pairs under the newest version of the key."""
        return self._checked(self._ask("rewrap", self._service.rewrap, items), _WHEN_OPENING)

    def version(self, wrapped: bytes) -> str:
        """Which version of the key wrapped a blob; empty where the blob does not tell."""
        return self._service.version(wrapped)

    def _ask(self, operation: str, call: Callable[[Items], Answers], items: Items) -> Answers:
        if not items:
            return []
        self._owner.calls[self.name, operation] += 1
        self._owner.items[self.name, operation] += len(items)
        answers = bearing(lambda: self._owner.metered(lambda: call(items)), self._owner.patience_seconds)
        if len(answers) != len(items) or not all(map(_is_answer, answers)):
            raise KeyServiceError(
                f"{self.name} does not answer {operation} item by item", hint="don't use this key service: it is faulty"
            )
        return answers

    def _checked(self, answers: Answers, telling: Collection[RefusalKind]) -> Answers:
        for answer in answers:
            if isinstance(answer, KeyRefusal) and answer.kind in telling:
                raise KeyServiceError(
                    f"{self.name} refuses: {answer.detail}",
                    problem=_PROBLEMS[answer.kind],
                    hint="`migrator preflight` says what is missing; mend it at the key service",
                )
        return answers

    def __repr__(self) -> str:
        return f"PatientKeyService({self.name})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key service does not leave its process")


def _is_answer(answer: object) -> bool:
    return isinstance(answer, KeyRefusal) or (isinstance(answer, bytes) and answer != b"")


def bearing(action: Callable[[], T], seconds: float) -> T:
    """What `action` returns; a key service that is away is asked again for so many seconds, not before it said to."""
    return patiently(
        action, KeyServiceUnavailableError, seconds=seconds, at_least=lambda error: error.retry_after or 0.0
    )


class KeyServices:
    """The campaign's key services: which one wraps for whom, which one unwraps what it wrapped."""

    def __init__(self, settings: KeysSettings, directory: Path) -> None:
        self._settings = settings
        self._directory = directory
        self._open: dict[str, PatientKeyService] = {}
        self.patience_seconds = PATIENCE_SECONDS
        self.calls: Counter[tuple[str, str]] = Counter()
        """Calls of this process by service and operation: batches, not keys."""
        self.items: Counter[tuple[str, str]] = Counter()
        self.meter = Meter()
        """What this process finds of the services: each call, also those that are repeated."""

    def metered(self, call: Callable[[], T]) -> T:
        """What a call returns, counted with the time that it took."""
        began = time.monotonic()
        failed = True
        try:
            result = call()
            failed = False
        finally:
            self.meter.count(time.monotonic() - began, failed=failed)
        return result

    def default(self) -> PatientKeyService:
        """The service of the campaign itself."""
        return self.at(self._settings.service)

    def for_regions(self, regions: Collection[str | None]) -> PatientKeyService | None:
        """The one service for a conversation of accounts in these regions; None where there is none."""
        address = self._address(regions)
        return None if address is None else self.at(address)

    def has_for_regions(self, regions: Collection[str | None]) -> bool:
        """Whether `for_regions` knows a service, be it usable at this moment or not."""
        return self._address(regions) is not None

    def named(self, name: str) -> PatientKeyService:
        """The service that recorded `name` beside what it wrapped.

        `NotConfiguredKeyServiceError` where it is none of them for sure; where one can't be opened, why it can't.
        """
        failures: list[KeyServiceError | KeyServiceUnavailableError] = []
        sibling: PatientKeyService | None = None
        # those that are open first: one that is away is not waited for where it is not the one
        for address in sorted(self.addresses(), key=lambda address: address not in self._open):
            try:
                service = self.at(address)
            except (KeyServiceError, KeyServiceUnavailableError) as error:  # it must not stand in another one's way
                failures.append(error)
                continue
            if service.name == name:
                return service
            if service.answers_to(name):
                sibling = sibling or service
        if sibling is not None:
            return sibling
        if failures:  # one that is away may be back, and be the one
            raise min(failures, key=lambda failure: isinstance(failure, KeyServiceError))
        raise NotConfiguredKeyServiceError(
            f"no configured key service is {name!r}, which wrapped this key",
            hint="name it under [keys.former]: what it wrapped can be read with it alone",
        )

    def addresses(self) -> list[str]:
        """All that are configured, each once: the campaign's own, the regions', the former."""
        keys = self._settings
        return list(dict.fromkeys([keys.service, *keys.regions.values(), *keys.former.values()]))

    def all(self) -> list[PatientKeyService]:
        """Every service that is in use, opened; former ones wrap nothing."""
        keys = self._settings
        return [self.at(address) for address in dict.fromkeys([keys.service, *keys.regions.values()])]

    def at(self, address: str) -> PatientKeyService:
        """The service at an address, opened at first use."""
        if address not in self._open:
            implementation, rest = plugins.key_service_class(address)
            service = bearing(lambda: implementation.open(rest, directory=self._directory), self.patience_seconds)
            self._open[address] = PatientKeyService(service, self)
        return self._open[address]

    def _address(self, regions: Collection[str | None]) -> str | None:
        listed = self._settings.regions
        if not listed:
            return self._settings.service
        addresses = {None if region is None else listed.get(region) for region in regions}
        return addresses.pop() if len(addresses) == 1 else None
