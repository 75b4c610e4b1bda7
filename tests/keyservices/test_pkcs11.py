"""PKCS #11, on SoftHSM 2 where it is installed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pkcs11
import pytest

from migrator.core.errors import KeyDelay, KeyProblem, KeyServiceError, KeyServiceUnavailableError
from migrator.keyservices import pkcs11 as adapter
from migrator.keyservices.interface import KeyRefusal, KeyService
from migrator.keyservices.pkcs11 import Pkcs11KeyService
from migrator.testing.keyservices import CONTEXT, OTHER_CONTEXT, KeyServiceConformance
from tests.support import softhsm
from tests.support.secrecy import told_by

QUERY = "module-path=/m&pin-source=env:P"
needs_softhsm = pytest.mark.skipif(softhsm.MODULE is None, reason="SoftHSM is not installed: apt-get install softhsm2")


def address(key: str = "object=k", *, token: str = softhsm.TOKEN, **query: str) -> str:
    """The address of a key of the token, without its kind."""
    given = {"module-path": str(softhsm.MODULE), "pin-source": "env:HSM_PIN"} | {
        name.replace("_", "-"): value for name, value in query.items()
    }
    return f"token={token};{key}?" + "&".join(f"{name}={value}" for name, value in given.items())


@pytest.fixture
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    softhsm.token()
    monkeypatch.setenv("HSM_PIN", softhsm.PIN)


def opened(key: str = "object=k", **query: str) -> Pkcs11KeyService:
    """A key."""
    return Pkcs11KeyService.open(address(key, **query), directory=Path("/nowhere"))


@contextmanager
def logged_out() -> Iterator[None]:
    """As if this process had not logged in, so that the PIN is asked for."""
    while adapter._sessions:
        adapter._sessions.popitem()[1].close()
    yield
    while adapter._sessions:
        adapter._sessions.popitem()[1].close()


@needs_softhsm
@pytest.mark.usefixtures("_token")
class TestConformance(KeyServiceConformance):
    """The port's own tests."""

    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def service(self) -> Pkcs11KeyService:
        """Opened anew."""
        return opened()

    @contextmanager
    def in_trouble(self, trouble: KeyProblem | KeyDelay) -> Iterator[Callable[[], KeyService]]:
        """What a token in software can be brought to."""
        if trouble is KeyProblem.UNKNOWN_KEY:
            yield lambda: opened("object=none")
        elif trouble is KeyProblem.DISABLED:
            yield lambda: opened("object=idle")
        elif trouble is KeyProblem.DENIED:
            with logged_out(), self.monkeypatch.context() as patch:
                patch.setenv("HSM_PIN", "wrong-pin-0815")
                yield opened
        else:
            pytest.skip("a token in software is neither slow nor away")


@needs_softhsm
@pytest.mark.usefixtures("_token")
@pytest.mark.parametrize(
    ("key", "problem", "said"),
    [
        ("object=loose", KeyProblem.MISCONFIGURED, "extracted"),
        ("object=idle", KeyProblem.DISABLED, "may not encrypt"),
        ("object=twins", KeyProblem.UNKNOWN_KEY, "several"),
        ("object=k;id=%02", KeyProblem.UNKNOWN_KEY, "no such"),
    ],
)
def test_keys_that_will_not_do(key: str, problem: KeyProblem, said: str) -> None:
    """Extractable, not for encryption, ambiguous, not the one that both attributes name."""
    with pytest.raises(KeyServiceError, match=said) as caught:
        opened(key)
    assert caught.value.problem is problem


@needs_softhsm
@pytest.mark.usefixtures("_token")
def test_id_and_label_name_the_same_key() -> None:
    """Each by itself; the name that is recorded is what the configuration says."""
    wrapped = opened("object=k").wrap([(b"secret", CONTEXT)])[0]
    assert isinstance(wrapped, bytes)
    assert opened("id=%01").unwrap([(wrapped, CONTEXT)]) == [b"secret"]
    assert isinstance(opened("object=other").unwrap([(wrapped, CONTEXT)])[0], KeyRefusal)
    assert opened("id=%01").name == f"pkcs11:token={softhsm.TOKEN};id=%01"


@needs_softhsm
@pytest.mark.usefixtures("_token")
def test_a_session_that_broke_is_opened_again() -> None:
    """The token was reset or pulled for a moment: the next call works."""
    service = opened()
    wrapped = service.wrap([(b"secret", CONTEXT)])[0]
    assert isinstance(wrapped, bytes)
    for session in adapter._sessions.values():
        session.close()
    assert service.unwrap([(wrapped, CONTEXT)]) == [b"secret"]


@needs_softhsm
@pytest.mark.usefixtures("_token")
def test_a_token_that_fails_is_no_altered_blob(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens answer `GeneralError` to both; what opens nothing any more is a service that is down."""
    service = opened()
    wrapped = service.wrap([(b"secret", CONTEXT)])[0]
    assert isinstance(wrapped, bytes)
    monkeypatch.setattr(adapter, "GCMParams", lambda nonce, _: pkcs11.GCMParams(nonce, b"another context"))
    monkeypatch.setattr(adapter, "_wrap_one", lambda *_: wrapped)
    with pytest.raises(KeyServiceUnavailableError) as caught:
        service.unwrap([(wrapped, CONTEXT)])
    assert caught.value.delay is KeyDelay.DOWN


@needs_softhsm
@pytest.mark.usefixtures("_token")
def test_other_tokens_and_modules() -> None:
    """A token that is not there, a library that is not there, a file that is no module."""
    for wrong, problem in (
        (address(token="nobodys"), KeyProblem.UNKNOWN_KEY),
        (address(module_path="/no/such/module.so"), KeyProblem.MISCONFIGURED),
        (address(module_path=__file__), KeyProblem.MISCONFIGURED),
    ):
        with pytest.raises(KeyServiceError) as caught:
            Pkcs11KeyService.open(wrong, directory=Path())
        assert caught.value.problem is problem


@pytest.mark.parametrize(
    "wrong",
    ["", "object=k", "token=t", "token=t;object=k", "token=t;object=k?module-path=/m",
     "token=t;object=k?pin-source=env:P", "token=t;object=k?module-path=/m&pin-source=hunter2",
     "token=t;object=k?module-path=/m&pin-value=hunter2",
     f"token=t;object=k;pin-value=hunter2?{QUERY}", f"token=t;token=u;object=k?{QUERY}",
     f"token=t;object=k;type=private?{QUERY}", f"token=%ff;object=k?{QUERY}", f"token=t;object=k;slot-id=3?{QUERY}",
     f"token=t;object=k?{QUERY}&hunter2", f"token=t;object=k;hunter2?{QUERY}",
     f"token=;object=k?{QUERY}", f"token=t;model=m;object=k?{QUERY}", f"token=t;object=k?{QUERY}&x=y"],
)  # fmt: skip
def test_addresses_with_tricks_are_refused(wrong: str) -> None:
    """What is unknown could select another key; a PIN in plain is refused and not repeated."""
    for act in (Pkcs11KeyService.open, Pkcs11KeyService.create):
        with pytest.raises(KeyServiceError, match="address of a PKCS #11 key") as caught:
            act(wrong, directory=Path())
        assert "hunter2" not in f"{caught.value!r} {caught.value.hint}"


def test_nothing_is_made() -> None:
    """`init` makes no key in a token."""
    assert Pkcs11KeyService.create(address(), directory=Path()) is False


@needs_softhsm
@pytest.mark.usefixtures("_token")
@pytest.mark.parametrize("trouble", [KeyProblem.DENIED, KeyProblem.UNKNOWN_KEY, KeyProblem.DISABLED])
def test_no_error_leads_to_the_pin(trouble: KeyProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the right one nor a wrong one, nor what was to be wrapped."""
    conformance = TestConformance()
    conformance.monkeypatch = monkeypatch
    with conformance.in_trouble(trouble) as opens, pytest.raises(KeyServiceError) as caught:
        opens().wrap([(b"sixteen secret b", CONTEXT)])
    for secret in (softhsm.PIN, "wrong-pin-0815"):
        assert secret not in told_by(caught.value)
    assert caught.value.__context__ is None


@needs_softhsm
@pytest.mark.usefixtures("_token")
def test_no_log_has_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """At the most talkative level."""
    caplog.set_level(0)
    with logged_out():
        service = opened()
        wrapped = service.wrap([(b"sixteen secret b", CONTEXT)])[0]
        assert isinstance(wrapped, bytes)
        service.unwrap([(wrapped, CONTEXT), (wrapped, OTHER_CONTEXT)])
    for secret in (softhsm.PIN, "sixteen secret b"):
        assert secret not in caplog.text
        assert secret not in repr(service)
