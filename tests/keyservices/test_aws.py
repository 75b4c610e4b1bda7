"""AWS KMS, on moto's emulator. What moto does not do comes through botocore's own hook, as AWS documents it."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from migrator.core.errors import KeyDelay, KeyProblem, KeyServiceError, KeyServiceUnavailableError
from migrator.core.settings import KeysSettings
from migrator.key_routing import KeyServices
from migrator.keyservices import aws
from migrator.keyservices.aws import AwsKeyService
from migrator.keyservices.interface import KeyRefusal, KeyService, RefusalKind
from migrator.testing.keyservices import CONTEXT, OTHER_CONTEXT, KeyServiceConformance
from tests.keyservices.test_vault import silent_port
from tests.support import moto
from tests.support.openbao import free_port
from tests.support.secrecy import told_by


@pytest.fixture(autouse=True)
def _moto(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto.environment(moto.server()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws, "ATTEMPTS", 1)


@cache
def administrator() -> Any:
    """AWS's own client, for those who make keys."""
    return boto3.session.Session().client("kms", region_name=moto.REGION)


def new_key(**kind: Any) -> str:
    """A new key's ARN."""
    return str(administrator().create_key(**kind)["KeyMetadata"]["Arn"])


def opened(address: str) -> AwsKeyService:
    """A key."""
    return AwsKeyService.open(address, directory=Path())


class _Body(io.BytesIO):
    def stream(self) -> Iterator[bytes]:
        """As urllib3's has it."""
        yield self.getvalue()


@contextmanager
def answering(service: AwsKeyService, code: str, *, times: int = 10**9, status: int = 400) -> Iterator[list[str]]:
    """Have AWS answer every operation with an error, so often; gives the operations that were sent."""
    sent: list[str] = []

    def answer(request: Any, event_name: str, **_: object) -> AWSResponse | None:
        sent.append(event_name.rpartition(".")[2])
        if len(sent) > times:
            return None
        body = json.dumps({"__type": code, "message": "as documented"}).encode()
        return AWSResponse(request.url, status, {"Content-Type": "application/x-amz-json-1.1"}, _Body(body))

    events = service._client.meta.events
    events.register("before-send.kms.*", answer)
    yield sent
    events.unregister("before-send.kms.*", answer)


class TestConformance(KeyServiceConformance):
    """The port's own tests."""

    @pytest.fixture(autouse=True)
    def _key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arn = new_key()
        self.monkeypatch = monkeypatch

    def service(self) -> AwsKeyService:
        """Opened anew."""
        return opened(self.arn)

    @contextmanager
    def in_trouble(self, trouble: KeyProblem | KeyDelay) -> Iterator[Callable[[], KeyService]]:
        """From the emulator where it has it, else as AWS documents the answer."""
        service = self.service()
        if trouble is KeyProblem.UNKNOWN_KEY:
            yield lambda: opened(self.arn[:-4] + "0000")
        elif trouble is KeyDelay.SEALED:
            pytest.skip("AWS KMS is never sealed")
        elif trouble is KeyDelay.SLOW:
            self.monkeypatch.setattr(aws, "TIMEOUTS", (1.0, 0.2))
            with silent_port() as port, self.monkeypatch.context() as patch:
                patch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{port}")
                yield self.service
        elif trouble is KeyDelay.DOWN:
            with self.monkeypatch.context() as patch:
                patch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{free_port()}")
                yield self.service
        else:
            code = {
                KeyProblem.DISABLED: "DisabledException",
                KeyProblem.DENIED: "AccessDeniedException",
                KeyDelay.THROTTLED: "ThrottlingException",
            }[trouble]
            with answering(service, code):
                yield lambda: service


# --- what AWS may answer ---


DOCUMENTED: dict[str, tuple[int, KeyProblem | KeyDelay]] = {
    "DisabledException": (400, KeyProblem.DISABLED),
    "KMSInvalidStateException": (400, KeyProblem.DISABLED),
    "AccessDeniedException": (400, KeyProblem.DENIED),
    "ExpiredTokenException": (400, KeyProblem.DENIED),
    "UnrecognizedClientException": (400, KeyProblem.DENIED),
    "InvalidKeyUsageException": (400, KeyProblem.MISCONFIGURED),
    "NotFoundException": (400, KeyProblem.UNKNOWN_KEY),
    "DependencyTimeoutException": (503, KeyDelay.SLOW),
    "KMSInternalException": (500, KeyDelay.DOWN),
    "KeyUnavailableException": (500, KeyDelay.DOWN),
    "SomethingNew": (500, KeyDelay.DOWN),
    "LimitExceededException": (400, KeyDelay.THROTTLED),
}
PERMISSIONS = {"wrap": "kms:Encrypt", "unwrap": "kms:Decrypt", "rewrap": "kms:ReEncryptFrom and kms:ReEncryptTo"}


def test_documented_errors() -> None:
    """Each says what it is, for every operation; a missing permission is named as a policy has it."""
    service = opened(new_key())
    wrapped = service.wrap([(b"secret", CONTEXT)])[0]
    assert isinstance(wrapped, bytes)
    for code, (status, expected) in DOCUMENTED.items():
        with answering(service, code, status=status):
            for operation, permission in PERMISSIONS.items():
                with pytest.raises((KeyServiceError, KeyServiceUnavailableError)) as caught:
                    getattr(service, operation)([(wrapped, CONTEXT)])
                error = caught.value
                assert error.particulars()["problem" if isinstance(error, KeyServiceError) else "delay"] is expected
                assert "as documented" not in f"{error.message} {error.hint}"
                assert code != "AccessDeniedException" or permission in error.message
                if expected is KeyDelay.THROTTLED:
                    break  # the adaptive mode slows the next ones down


def test_an_answer_that_is_none_is_an_error_of_the_service() -> None:
    """An endpoint that is not AWS's says 200, and nothing that was wrapped."""
    service = opened(new_key())
    with answering(service, "nothing", status=200):
        for operation in PERMISSIONS:
            with pytest.raises(KeyServiceError, match="none of AWS KMS's"):
                getattr(service, operation)([(b"secret", CONTEXT)])


def test_botocore_waits_and_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two throttled answers cost time, no more; the real retries of the mode that is configured."""
    monkeypatch.setattr(aws, "ATTEMPTS", 5)
    service = opened(new_key())
    with answering(service, "ThrottlingException", times=2) as sent:
        assert isinstance(service.wrap([(b"secret", CONTEXT)])[0], bytes)
    assert sent == ["Encrypt"] * 3


def test_a_condition_may_refuse_one_item_of_a_batch() -> None:
    """Policies have conditions on the context: who is denied alone is refused alone."""
    service = opened(new_key())
    with answering(service, "AccessDeniedException", times=1):
        answers = service.wrap([(b"secret", CONTEXT)] * 4)
    kinds = sorted(answer.kind.value if isinstance(answer, KeyRefusal) else "" for answer in answers)
    assert kinds == ["", "", "", RefusalKind.DENIED.value]


# --- keys ---


def test_the_arn_is_recorded_whatever_led_to_it() -> None:
    """An alias may be pointed elsewhere; what was wrapped is found by the key's own name."""
    arn = new_key()
    alias = f"alias/migrator-{arn[-12:]}"
    administrator().create_alias(AliasName=alias, TargetKeyId=arn)
    names = {
        opened(address).name for address in (arn, arn.rpartition("/")[2], alias, arn.rpartition(":")[0] + f":{alias}")
    }
    assert names == {f"awskms:{arn}"}


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
def test_a_key_that_is_put_away_is_found_at_opening(state: str) -> None:
    """By its state, before anything is wrapped."""
    arn = new_key()
    if state == "Disabled":
        administrator().disable_key(KeyId=arn.rpartition("/")[2])
    else:
        administrator().schedule_key_deletion(KeyId=arn.rpartition("/")[2])
    with pytest.raises(KeyServiceError, match=state) as caught:
        opened(arn)
    assert caught.value.problem is KeyProblem.DISABLED


@pytest.mark.parametrize("kind", [{"KeyUsage": "SIGN_VERIFY", "KeySpec": "ECC_NIST_P256"},
                                  {"KeyUsage": "GENERATE_VERIFY_MAC", "KeySpec": "HMAC_256"},
                                  {"KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "RSA_2048"}])  # fmt: skip
def test_keys_for_something_else(kind: dict[str, str]) -> None:
    """An RSA key has no encryption context, so it would bind nothing."""
    with pytest.raises(KeyServiceError, match="not a symmetric key") as caught:
        opened(new_key(**kind))
    assert caught.value.problem is KeyProblem.MISCONFIGURED


def test_a_replica_of_a_multi_region_key_is_a_key_of_its_region() -> None:
    """The ARN's region is where the call goes. (moto's replicas do not decrypt, AWS's do.)"""
    arn = new_key(MultiRegion=True)
    administrator().replicate_key(KeyId=arn.rpartition("/")[2], ReplicaRegion="us-east-1")
    replica = opened(arn.replace(moto.REGION, "us-east-1"))
    assert replica.name == f"awskms:{arn.replace(moto.REGION, 'us-east-1')}"
    assert isinstance(replica.wrap([(b"secret", CONTEXT)])[0], bytes)
    assert replica.answers_to(f"awskms:{arn}")
    assert not replica.answers_to(f"awskms:{new_key(MultiRegion=True)}")
    assert not opened(new_key()).answers_to(f"awskms:{arn}")


def test_where_a_region_is_away_its_replica_is_named_instead(tmp_path: Path) -> None:
    """What the primary wrapped is asked of the replica, once that stands in the configuration."""
    arn = new_key(MultiRegion=True)
    administrator().replicate_key(KeyId=arn.rpartition("/")[2], ReplicaRegion="us-east-1")
    replica = arn.replace(moto.REGION, "us-east-1")
    services = KeyServices(KeysSettings(service=f"awskms:{replica}"), tmp_path)
    assert services.named(f"awskms:{arn}").name == f"awskms:{replica}"
    with pytest.raises(KeyServiceError, match="no configured key service"):
        services.named(f"awskms:{new_key()}")


@pytest.mark.parametrize("code", ["IncorrectKeyException", "InvalidCiphertextException"])
def test_another_key_of_the_account_refuses(code: str) -> None:
    """AWS would find the right key by the blob: it is told which one it has to be. moto says `AccessDenied` there."""
    wrapped = opened(new_key()).wrap([(b"secret", CONTEXT)])[0]
    assert isinstance(wrapped, bytes)
    service = opened(new_key())
    with pytest.raises(KeyServiceError, match="not allowed kms:Decrypt"):
        service.unwrap([(wrapped, CONTEXT)])
    with answering(service, code):
        answer = service.unwrap([(wrapped, CONTEXT)])[0]
    assert isinstance(answer, KeyRefusal)
    assert answer.kind is RefusalKind.NOT_OPENED


def test_nothing_is_made() -> None:
    """`init` makes no key."""
    before = len(administrator().list_keys()["Keys"])
    assert AwsKeyService.create("alias/none", directory=Path()) is False
    with pytest.raises(KeyServiceError):
        opened("alias/none")
    assert len(administrator().list_keys()["Keys"]) == before


def test_sizes_and_contexts_that_aws_does_not_take() -> None:
    """They cost themselves and send nothing."""
    service = opened(new_key())
    assert isinstance(service.wrap([(b"x" * 4096, CONTEXT)])[0], bytes)
    answers = service.wrap(
        [(b"x" * 4097, CONTEXT), (b"", CONTEXT), (b"x", b"not json"), (b"x", b'{"a":1}'), (b"x", b"{}")]
    )
    kinds = [answer.kind if isinstance(answer, KeyRefusal) else None for answer in answers]
    assert kinds == [RefusalKind.TOO_LARGE] * 2 + [RefusalKind.NOT_OPENED] * 3
    assert all(isinstance(a, KeyRefusal) for a in service.unwrap([(b"x" * 7000, CONTEXT), (b"junk", CONTEXT)]))


@pytest.mark.parametrize(
    "address",
    ["", "arn:aws:kms", "arn:aws:s3:eu-central-1:1:key/x", "arn:aws:kms::1:key/x", "arn:aws:kms:eu:1:other/x", "a b"],
)
def test_addresses_that_name_no_key(address: str) -> None:
    """Before anybody is asked."""
    for act in (AwsKeyService.open, AwsKeyService.create):
        with pytest.raises(KeyServiceError, match="address of an AWS KMS key"):
            act(address, directory=Path())


def test_no_region_and_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said so, with what to set."""
    arn = new_key()
    aws._session.cache_clear()
    with monkeypatch.context() as patch:
        patch.delenv("AWS_DEFAULT_REGION")
        with pytest.raises(KeyServiceError, match="no region") as caught:
            opened("alias/x")
        assert opened(arn).name == f"awskms:{arn}"
    aws._session.cache_clear()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(KeyServiceError, match="no credentials") as caught:
        opened(arn)
    aws._session.cache_clear()
    assert caught.value.problem is KeyProblem.DENIED


# --- secrets ---


@pytest.mark.parametrize("trouble", [*KeyDelay, KeyProblem.DENIED, KeyProblem.DISABLED, KeyProblem.UNKNOWN_KEY])
def test_no_error_leads_to_a_secret(trouble: KeyProblem | KeyDelay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the credentials nor what was to be wrapped is behind an error of ours."""
    conformance = TestConformance()
    conformance.arn, conformance.monkeypatch = new_key(), monkeypatch
    with (
        conformance.in_trouble(trouble) as opens,
        pytest.raises((KeyServiceError, KeyServiceUnavailableError)) as caught,
    ):
        opens().wrap([(b"sixteen secret b", CONTEXT)])
    assert caught.value.__context__ is None
    assert moto.SECRET_KEY not in told_by(caught.value)
    error = caught.value
    assert "sixteen secret b" not in f"{error!r} {error.hint} {vars(error)}"


def test_no_log_has_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """botocore logs every parameter at DEBUG, and that level is closed to it."""
    caplog.set_level(0)
    service = opened(new_key())
    wrapped = service.wrap([(b"sixteen secret b", CONTEXT)])[0]
    assert isinstance(wrapped, bytes)
    service.unwrap([(wrapped, CONTEXT), (wrapped, OTHER_CONTEXT)])
    for secret in (moto.SECRET_KEY, "sixteen secret b", "c2l4dGVlbiBzZWNyZXQgYg"):
        assert secret not in caplog.text
        assert secret not in repr(service)
