"""Wraps keys anew, and proves that each new wrapping opens to the same key before anybody relies on it.

1. Within a service: the service brings the blob under its newest key version itself, where it can without giving the
   key out. To another service: unwrapped here, wrapped there.
2. Both wrappings are unwrapped again, and must give the same bytes. Until then the old one is in its place.

Key bytes are in memory for the length of a batch and nowhere else.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from migrator.key_routing import PatientKeyService
from migrator.keyservices.interface import KeyRefusal, RefusalKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A wrapped key: the service whose it is, where it is to be, and what it is bound to."""

    source: PatientKeyService
    target: PatientKeyService
    context: bytes
    wrapped: bytes = field(repr=False)


def wrapped_anew(blobs: Sequence[Blob]) -> list[bytes | KeyRefusal | None]:
    """A proven new wrapping of each; None where it is what it should be already. A refusal leaves the old one.

    Raises as key services do; nothing is lost by that.
    """
    results: dict[int, bytes | KeyRefusal | None] = {}
    ways: dict[tuple[str, str], list[int]] = {}
    for index, blob in enumerate(blobs):
        ways.setdefault((blob.source.name, blob.target.name), []).append(index)
    for indexes in ways.values():
        group = [blobs[index] for index in indexes]
        results.update(zip(indexes, _one_way(group), strict=True))
    return [results[index] for index in range(len(blobs))]


def _one_way(blobs: Sequence[Blob]) -> list[bytes | KeyRefusal | None]:
    """Blobs of one service that go to one other, or stay."""
    source, target = blobs[0].source, blobs[0].target
    secrets = source.unwrap([(blob.wrapped, blob.context) for blob in blobs])
    results: list[bytes | KeyRefusal | None] = [s if isinstance(s, KeyRefusal) else None for s in secrets]
    opened = [(index, secret) for index, secret in enumerate(secrets) if not isinstance(secret, KeyRefusal)]
    if source.name == target.name:
        answers = source.rewrap([(blobs[index].wrapped, blobs[index].context) for index, _ in opened])
    else:
        answers = target.wrap([(secret, blobs[index].context) for index, secret in opened])
    made: list[tuple[int, bytes, bytes]] = []
    for (index, secret), answer in zip(opened, answers, strict=True):
        if isinstance(answer, KeyRefusal):
            results[index] = answer
        elif answer != blobs[index].wrapped:
            made.append((index, secret, answer))
    proofs = target.unwrap([(wrapped, blobs[index].context) for index, _, wrapped in made])
    for (index, secret, wrapped), proof in zip(made, proofs, strict=True):
        same = isinstance(proof, bytes) and hmac.compare_digest(proof, secret)
        results[index] = wrapped if same else KeyRefusal(RefusalKind.NOT_OPENED, "its new wrapping is not that key")
    return results
