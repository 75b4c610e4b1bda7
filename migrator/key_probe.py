"""Sees whether a key service does what a campaign needs of it, with something of no value. Changes nothing.

The context has the campaign's name and the purpose `preflight`, so that a policy with a condition on the campaign is
tried, and one that holds other purposes back until the cutover date is not met.
"""

import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from migrator import plugins
from migrator.campaign import CampaignSpec
from migrator.core.encoding import canonical_json
from migrator.core.errors import KeyProblem, KeyServiceError
from migrator.keyservices.interface import KeyRefusal, RefusalKind

_Call = Callable[[Sequence[tuple[bytes, bytes]]], list[bytes | KeyRefusal]]
_HINT = "allow it on the key; runbooks/key-least-privilege.md has policies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A service that wraps and unwraps, and why it can't rewrap (empty if it can)."""

    name: str
    lacks_rewrap: str = ""


def probe(spec: CampaignSpec, address: str) -> Probed:
    """Wrap, unwrap, unwrap for another place, and rewrap.

    Raises `KeyServiceError`, which says which of these is not allowed, and `KeyServiceUnavailableError`.
    """
    implementation, rest = plugins.key_service_class(address)
    service = implementation.open(rest, directory=spec.directory)
    secret = secrets.token_bytes(32)
    context, elsewhere = _context(spec, "preflight"), _context(spec, "preflight-other")
    wrapped = _granted(service.name, "it can't wrap", service.wrap, secret, context)
    again = _granted(service.name, "it wraps, but can't unwrap", service.unwrap, wrapped, context)
    if not hmac.compare_digest(again, secret):
        raise KeyServiceError(f"{service.name} does not unwrap what it wrapped", hint="don't use this key service")
    if not isinstance(service.unwrap([(wrapped, elsewhere)])[0], KeyRefusal):
        raise KeyServiceError(f"{service.name} does not bind keys to their context", hint="don't use this key service")
    try:
        _granted(service.name, "it can't rewrap", service.rewrap, wrapped, context)
    except KeyServiceError as error:
        if error.problem is not KeyProblem.DENIED:
            raise
        return Probed(name=service.name, lacks_rewrap=error.message)
    return Probed(name=service.name)


def _granted(name: str, lack: str, call: _Call, value: bytes, context: bytes) -> bytes:
    """The answer to one call; otherwise what the service can't do for us, and its own reason."""
    try:
        answer = call([(value, context)])[0]
    except KeyServiceError as error:
        raise KeyServiceError(f"{lack}: {error.message}", problem=error.problem, hint=error.hint) from None
    if isinstance(answer, KeyRefusal):
        denied = answer.kind is RefusalKind.DENIED
        raise KeyServiceError(
            f"{lack}: {name} refuses: {answer.detail}",
            problem=KeyProblem.DENIED if denied else KeyProblem.MISCONFIGURED,
            hint=_HINT if denied else "check the key and what it is for",
        )
    return answer


def _context(spec: CampaignSpec, purpose: str) -> bytes:
    return canonical_json({"campaign": spec.settings.campaign.name, "purpose": purpose})
