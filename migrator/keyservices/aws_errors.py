"""What AWS KMS answers, in the port's words. Errors are returned, so that nothing of botocore's hangs on them.

By AWS's own codes (KMS API reference, "Common errors" and those of each operation); AWS's own words are not repeated.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
)
from botocore.exceptions import ConnectionError as BotocoreConnectionError

from migrator.core.errors import KeyDelay, KeyProblem, KeyServiceError, KeyServiceUnavailableError
from migrator.keyservices.interface import KeyRefusal, RefusalKind

Failure = KeyServiceError | KeyServiceUnavailableError
T = TypeVar("T")

NOT_OPENED: Final = KeyRefusal(
    RefusalKind.NOT_OPENED, "it was wrapped by another key, for another purpose, or was altered since"
)
_DELAYS: Final = {
    "ThrottlingException": KeyDelay.THROTTLED,
    "Throttling": KeyDelay.THROTTLED,
    "RequestLimitExceeded": KeyDelay.THROTTLED,
    "LimitExceededException": KeyDelay.THROTTLED,
    "DependencyTimeoutException": KeyDelay.SLOW,
    "KMSInternalException": KeyDelay.DOWN,
    "KeyUnavailableException": KeyDelay.DOWN,
    "ServiceUnavailableException": KeyDelay.DOWN,
    "InternalFailure": KeyDelay.DOWN,
}
_CREDENTIALS: Final = frozenset(
    {"ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId",
     "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken"}
)  # fmt: skip


def answer_of(name: str, permission: str, call: Callable[[], T]) -> T | KeyRefusal | Failure:
    """What a call gives; errors are returned, so that nothing of botocore's hangs on them."""
    try:
        return call()
    except ClientError as error:
        return _client_error(name, permission, error)
    except (ReadTimeoutError, ConnectTimeoutError):
        return _unavailable(name, KeyDelay.SLOW, "did not answer in time")
    except (NoCredentialsError, PartialCredentialsError):
        return _denied(f"{name}: there are no credentials for AWS", "see boto3's documentation on credentials")
    except (HTTPClientError, BotocoreConnectionError):
        return _unavailable(name, KeyDelay.DOWN, "can't be reached")
    except KeyError:
        return KeyServiceError(f"{name}: the answer is none of AWS KMS's", hint="check the endpoint that boto3 has")
    except BotoCoreError as error:
        return KeyServiceError(f"{name}: the call can't be made ({type(error).__name__})", hint="check keys.service")


def _client_error(name: str, permission: str, error: ClientError) -> KeyRefusal | Failure:
    """By AWS's own codes (KMS API reference, "Common errors" and each operation's); its words aren't repeated."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in ("InvalidCiphertextException", "IncorrectKeyException"):
        return NOT_OPENED
    if code in _DELAYS:
        return _unavailable(name, _DELAYS[code], f"answers {code}")
    if code in ("DisabledException", "KMSInvalidStateException"):
        return KeyServiceError(
            f"{name}: the key is disabled or about to be deleted ({code})",
            problem=KeyProblem.DISABLED,
            hint="enable it, or cancel its deletion, in AWS KMS",
        )
    if code == "NotFoundException":
        return KeyServiceError(
            f"{name}: there is no such key", problem=KeyProblem.UNKNOWN_KEY, hint="check keys.service and the region"
        )
    if code in ("AccessDeniedException", "AccessDenied"):
        return _denied(
            f"{name}: the identity that migrator runs as is not allowed {permission}",
            f"allow {permission} on the key; a condition on the encryption context or the date may be what refuses",
        )
    if code in _CREDENTIALS:
        return _denied(f"{name}: AWS does not take the credentials ({code})", "renew them")
    if isinstance(status, int) and status >= 500:
        return _unavailable(name, KeyDelay.DOWN, f"failed with status {status}")
    return KeyServiceError(f"{name}: AWS refuses the call ({code or status})", hint="check the kind of the key")


def concerns_one(error: Failure) -> bool:
    """Whether it may be one item's alone: a policy's conditions look at the encryption context."""
    return isinstance(error, KeyServiceError) and error.problem is KeyProblem.DENIED


def _denied(message: str, hint: str) -> KeyServiceError:
    return KeyServiceError(message, problem=KeyProblem.DENIED, hint=hint)


def _unavailable(name: str, delay: KeyDelay, what: str) -> KeyServiceUnavailableError:
    return KeyServiceUnavailableError(f"{name}: AWS KMS {what}", delay=delay, hint="`migrator preflight` asks it again")
