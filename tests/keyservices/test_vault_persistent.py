"""OpenBao as operators run it: on disk, with TLS, an audit file, the runbook's policy; killed, and unsealed again."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from migrator.core.errors import KeyDelay, KeyProblem, KeyServiceError, KeyServiceUnavailableError
from migrator.core.settings import KeysSettings
from migrator.key_routing import KeyServices
from migrator.keyservices.vault import VaultKeyService
from migrator.testing.keyservices import CONTEXT
from tests.keyservices.test_pkcs11 import address, needs_softhsm
from tests.keyservices.test_vault import token_in
from tests.support import openbao, softhsm
from tests.support.openbao import Persistent

RUNBOOK = Path(__file__).parent.parent.parent / "runbooks" / "key-least-privilege.md"


@pytest.fixture(scope="module")
def bao() -> Iterator[Persistent]:
    """A server of its own, set up as the runbook says."""
    started = Persistent()
    started.ask("POST", "transit/config/keys", disable_upsert=True)
    started.ask("POST", "transit/keys/migrator", type="aes256-gcm96", derived=True)
    started.ask("POST", "transit/keys/migrator-audit", type="ed25519")
    yield started
    started.remove()


@pytest.fixture
def query(bao: Persistent, tmp_path: Path) -> str:
    """The options of an address: a token with the runbook's policy, and the server's CA."""
    found = re.search(r"```hcl\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)
    assert found is not None
    return f"token={token_in(tmp_path, bao.token(found[1]))}&ca={bao.ca}"


def test_the_runbooks_policy_is_enough_and_no_more(bao: Persistent, query: str) -> None:
    """Everything that migrator does works under it; another key, a new key and the key's settings do not."""
    service = VaultKeyService.open(f"{bao.url}/transit/migrator?{query}", directory=Path())
    wrapped = service.wrap([(b"secret", CONTEXT)])[0]
    assert isinstance(wrapped, bytes)
    again = service.rewrap([(wrapped, CONTEXT)])[0]
    assert isinstance(again, bytes)
    assert service.unwrap([(again, CONTEXT)]) == [b"secret"]
    signer = VaultKeyService.open_signer(f"{bao.url}/transit/migrator-audit?{query}", directory=Path())
    Ed25519PublicKey.from_public_bytes(signer.public_key).verify(signer.sign(b"text"), b"text")

    bao.ask("POST", "transit/keys/somebody-elses", type="aes256-gcm96", derived=True)
    with pytest.raises(KeyServiceError) as caught:
        VaultKeyService.open(f"{bao.url}/transit/somebody-elses?{query}", directory=Path())
    assert caught.value.problem is KeyProblem.DENIED
    token = Path(query.partition("file:")[2].partition("&")[0]).read_text()
    for method, path in (("POST", "keys/mistyped"), ("POST", "encrypt/mistyped"), ("POST", "keys/migrator/rotate"),
                         ("POST", "keys/migrator/config"), ("GET", "export/encryption-key/migrator")):  # fmt: skip
        with pytest.raises(AssertionError, match="403"):
            bao.ask(method, f"transit/{path}", token, plaintext="", context="")


def test_what_was_wrapped_opens_after_a_crash(bao: Persistent, query: str) -> None:
    """Killed: down. Started: sealed. Unsealed: the same handle opens what it wrapped before."""
    service = VaultKeyService.open(f"{bao.url}/transit/migrator?{query}", directory=Path())
    wrapped = service.wrap([(b"secret", CONTEXT)])[0]
    assert isinstance(wrapped, bytes)
    bao.kill()
    with pytest.raises(KeyServiceUnavailableError) as caught:
        service.unwrap([(wrapped, CONTEXT)])
    assert caught.value.delay is KeyDelay.DOWN
    bao.start()
    with pytest.raises(KeyServiceUnavailableError) as caught:
        service.unwrap([(wrapped, CONTEXT)])
    assert caught.value.delay is KeyDelay.SEALED
    bao.unseal()
    assert service.unwrap([(wrapped, CONTEXT)]) == [b"secret"]


def test_the_servers_certificate_is_verified(bao: Persistent, query: str, tmp_path: Path) -> None:
    """Without its CA, and with another one, nothing is sent to it."""
    other = tmp_path / "other.pem"
    openbao.make_certificate(other, tmp_path / "other-key.pem")
    for ca in ("", f"&ca={other}"):
        with pytest.raises(KeyServiceError, match="not trusted"):
            VaultKeyService.open(f"{bao.url}/transit/migrator?{query.partition('&')[0]}{ca}", directory=Path())
    with pytest.raises(KeyServiceError, match="no CA file"):
        VaultKeyService.open(f"{bao.url}/transit/migrator?{query.partition('&')[0]}&ca=none.pem", directory=tmp_path)


def test_the_servers_audit_file_has_no_secret(bao: Persistent, query: str) -> None:
    """It keeps paths, and digests of what was sent."""
    service = VaultKeyService.open(f"{bao.url}/transit/migrator?{query}", directory=Path())
    service.wrap([(b"sixteen secret b", CONTEXT)])
    assert any(entry.get("request", {}).get("path") == "transit/encrypt/migrator" for entry in bao.audited())
    text = bao.audit_file.read_text()
    assert "sixteen secret b" not in text
    assert "c2l4dGVlbiBzZWNyZXQgYg" not in text


@needs_softhsm
def test_tls_beside_a_token_of_the_same_openssl(
    bao: Persistent, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SoftHSM leaves errors where Python's TLS finds them: the call after that passes, for migrator tries again."""
    softhsm.token()
    monkeypatch.setenv("HSM_PIN", softhsm.PIN)
    keys = {"service": f"vault:{bao.url}/transit/migrator?{query}", "regions": {"EU": f"pkcs11:{address()}"}}
    services = KeyServices(KeysSettings.model_validate(keys), tmp_path)
    remote = services.default()
    wrapped = remote.wrap([(b"secret", CONTEXT)])[0]
    assert isinstance(wrapped, bytes)
    assert services.for_regions(["EU"]) is not None
    for _ in range(3):
        assert remote.unwrap([(wrapped, CONTEXT)]) == [b"secret"]
