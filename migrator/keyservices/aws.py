"""AWS KMS: `awskms:<key ARN, alias ARN, key id or alias/name>` (emulator-tested: moto; never run against AWS itself).

The context, JSON with string values, is the encryption context: AWS logs it in CloudTrail and policies can have
conditions on it. Region, credentials, endpoint and proxies come by boto3's usual configuration; an ARN names its own
region. The name that is recorded is the key's ARN, whatever alias led to it.

Each blob is one call, so a batch is `THREADS` calls at a time. A call is tried `ATTEMPTS` times by botocore in adaptive
mode, which slows down as it is throttled, with at most `TIMEOUTS` each: that is the budget of a call; then the caller
decides. botocore writes parameters, plaintext among them, to its log at DEBUG: its log is open from WARNING on.
"""

import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final, final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, NoRegionError

from migrator.core.errors import KeyProblem, KeyServiceError, KeyServiceUnavailableError
from migrator.keyservices.aws_errors import NOT_OPENED, Failure, answer_of, concerns_one
from migrator.keyservices.interface import KeyRefusal, RefusalKind

THREADS: Final = 16
"""Calls in flight: at 10 ms each 1,600 a second, well within a region's quota of 5,500 or more."""
ATTEMPTS: Final = 5
TIMEOUTS: Final = (5.0, 10.0)
"""Seconds to connect, and to wait for an answer."""
MAX_PLAINTEXT_BYTES: Final = 4096
MAX_BLOB_BYTES: Final = 6144
_USAGE: Final = "ENCRYPT_DECRYPT"
_SPEC: Final = "SYMMETRIC_DEFAULT"
_TOO_LARGE: Final = KeyRefusal(RefusalKind.TOO_LARGE, f"AWS KMS takes up to {MAX_PLAINTEXT_BYTES} bytes")
_Item = tuple[bytes, bytes]

for _logger in ("boto3", "botocore"):
    logging.getLogger(_logger).setLevel(logging.WARNING)


@final
class AwsKeyService:
    """Wraps by `Encrypt` under one symmetric key."""

    __slots__ = ("_arn", "_client")

    def __init__(self, arn: str, client: Any) -> None:
        self._arn = arn
        self._client = client

    @property
    def name(self) -> str:
        """`awskms:` and the key's ARN."""
        return f"awskms:{self._arn}"

    def answers_to(self, name: str) -> bool:
        """To its own name, and for a multi-region key to those of the same key in other regions."""
        return _sibling(name) == _sibling(self.name)

    @classmethod
    def open(cls, address: str, *, directory: Path) -> "AwsKeyService":  # noqa: ARG003 - boto3 knows its own files
        """Find the key; `KeyServiceError` if it is missing, disabled, about to be deleted or not for encryption."""
        client = _client(_checked(address))

        def describe() -> tuple[dict[str, Any], str, str]:
            facts = client.describe_key(KeyId=address)["KeyMetadata"]
            return facts, str(facts["Arn"]), str(facts["KeyState"])

        facts, arn, state = _asked(f"awskms:{address}", "kms:DescribeKey", describe)
        if state != "Enabled":
            raise KeyServiceError(
                f"awskms:{arn}: the key is {state}",
                problem=KeyProblem.DISABLED,
                hint="enable it, or cancel its deletion, in AWS KMS",
            )
        if (facts.get("KeyUsage", _USAGE), facts.get("KeySpec", _SPEC)) != (_USAGE, _SPEC):
            raise KeyServiceError(
                f"awskms:{arn}: the key is not a symmetric key for encryption", hint="name another key"
            )
        return cls(arn, client)

    @classmethod
    def create(cls, address: str, *, directory: Path) -> bool:  # noqa: ARG003 - the port's
        """False: a key in AWS KMS is made by those who run the account."""
        _checked(address)
        return False

    def wrap(self, items: Sequence[_Item]) -> list[bytes | KeyRefusal]:
        """Wrap (secret, context) pairs."""

        def encrypt(item: _Item, context: dict[str, str]) -> bytes:
            answer = self._client.encrypt(KeyId=self._arn, Plaintext=item[0], EncryptionContext=context)
            return bytes(answer["CiphertextBlob"])

        return self._each("kms:Encrypt", encrypt, items, lambda secret: _TOO_LARGE if _too_large(secret) else None)

    def unwrap(self, items: Sequence[_Item]) -> list[bytes | KeyRefusal]:
        """Unwrap (wrapped, context) pairs; what another key wrapped is refused, though AWS would find that key."""

        def decrypt(item: _Item, context: dict[str, str]) -> bytes:
            answer = self._client.decrypt(KeyId=self._arn, CiphertextBlob=item[0], EncryptionContext=context)
            return bytes(answer["Plaintext"])

        return self._each("kms:Decrypt", decrypt, items, _no_blob)

    def rewrap(self, items: Sequence[_Item]) -> list[bytes | KeyRefusal]:
        """Bring (wrapped, context) pairs under the key's current material by `ReEncrypt`: nothing leaves AWS."""

        def re_encrypt(item: _Item, context: dict[str, str]) -> bytes:
            answer = self._client.re_encrypt(
                CiphertextBlob=item[0],
                SourceKeyId=self._arn,
                SourceEncryptionContext=context,
                DestinationKeyId=self._arn,
                DestinationEncryptionContext=context,
            )
            return bytes(answer["CiphertextBlob"])

        return self._each("kms:ReEncryptFrom and kms:ReEncryptTo", re_encrypt, items, _no_blob)

    def version(self, wrapped: bytes) -> str:  # noqa: ARG002 - the port's
        """Empty: AWS's blobs tell nobody which material made them."""
        return ""

    def _each(
        self,
        permission: str,
        call: Callable[[_Item, dict[str, str]], bytes],
        items: Sequence[_Item],
        unfit: Callable[[bytes], KeyRefusal | None],
    ) -> list[bytes | KeyRefusal]:
        """Side by side. What fails for all of the items, or at all for a time, is an error and not a refusal."""

        over: list[Failure] = []

        def one(item: _Item) -> bytes | KeyRefusal | Failure:
            if over:
                return over[0]  # the rest of the batch would wait for nothing
            context = _encryption_context(item[1])
            refusal = unfit(item[0]) if context is not None else NOT_OPENED
            if refusal is not None or context is None:
                return refusal or NOT_OPENED
            answer = answer_of(self.name, permission, lambda: call(item, context))
            if isinstance(answer, Failure) and not concerns_one(answer):
                over.append(answer)
            return answer

        with ThreadPoolExecutor(max(1, min(THREADS, len(items)))) as pool:
            answers = list(pool.map(one, items))
        denied = [answer for answer in answers if isinstance(answer, Failure)]
        if over or (denied and len(denied) == len(items)):
            raise (over or denied)[0]
        return [KeyRefusal(RefusalKind.DENIED, a.message) if isinstance(a, Failure) else a for a in answers]

    def __repr__(self) -> str:
        return f"AwsKeyService({self.name})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key service does not leave its process")


@cache
def _session() -> Any:
    """One for the process: making one reads megabytes of service descriptions (0.3 s)."""
    return boto3.session.Session()


def _sibling(name: str) -> str:
    """A key's name without its region where the key is a multi-region one, whose replicas have one key id."""
    parts = name.split(":")
    if len(parts) == 7 and parts[6].startswith("key/mrk-"):
        parts[4] = "*"
    return ":".join(parts)


def _client(address: str) -> Any:
    failure: Failure
    try:
        return _session().client(
            "kms",
            region_name=address.split(":")[3] if address.startswith("arn:") else None,
            config=Config(
                retries={"mode": "adaptive", "total_max_attempts": ATTEMPTS},
                connect_timeout=TIMEOUTS[0],
                read_timeout=TIMEOUTS[1],
                max_pool_connections=THREADS,
            ),
        )
    except NoRegionError:
        failure = KeyServiceError(
            f"awskms:{address}: no region is known", hint="set AWS_REGION, or name the key by its ARN"
        )
    except (BotoCoreError, ValueError) as error:
        failure = KeyServiceError(
            f"awskms:{address}: boto3's configuration can't be used ({type(error).__name__})", hint="check ~/.aws"
        )
    raise failure


def _asked(name: str, permission: str, call: Callable[[], Any]) -> Any:
    answer = answer_of(name, permission, call)
    if isinstance(answer, KeyServiceError | KeyServiceUnavailableError):
        raise answer
    return answer


def _checked(address: str) -> str:
    arn = address.split(":", 5)
    whole = len(arn) == 6 and arn[2] == "kms" and all((arn[3], arn[4])) and arn[5].startswith(("key/", "alias/"))
    if not address or not address.isprintable() or " " in address or (address.startswith("arn:") and not whole):
        raise KeyServiceError(
            "the address of an AWS KMS key can't be used",
            hint="awskms:arn:aws:kms:<region>:<account>:key/<id>, awskms:alias/<name>, or another form of a key id",
        )
    return address


def _encryption_context(context: bytes) -> dict[str, str] | None:
    """A context as AWS takes it; None for what is none of ours."""
    try:
        value = json.loads(context)
    except (ValueError, RecursionError):
        return None
    fits = isinstance(value, dict) and value and all(isinstance(text, str) for text in value.values())
    return value if fits else None


def _too_large(secret: bytes) -> bool:
    return not 0 < len(secret) <= MAX_PLAINTEXT_BYTES


def _no_blob(wrapped: bytes) -> KeyRefusal | None:
    return None if 0 < len(wrapped) <= MAX_BLOB_BYTES else NOT_OPENED
