"""Tests of migrator.core.redaction."""

import base64
import os

import pytest

from migrator.core.redaction import REDACTED, redact_setting, redact_text


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ("postgresql+psycopg://ann:hunter2@db/x", f"postgresql+psycopg://ann:{REDACTED}@db/x"),
        ("postgresql://ann:p@ss/w:rd@db/x", f"postgresql://ann:{REDACTED}@db/x"),
        ("smtp:smtps://:hunter2@mail:465", f"smtp:smtps://:{REDACTED}@mail:465"),
        ("webhook:https://h/p?token=hunter2&a=b", f"webhook:https://h/p?token={REDACTED}&a=b"),
        ("postgresql://db/x?user=a&password=hunter2", f"postgresql://db/x?user=a&password={REDACTED}"),
        ("vault:https://h/transit/k?token=hunter2", f"vault:https://h/transit/k?token={REDACTED}"),
        (
            "vault:https://h/transit/k?token=env:VAULT_TOKEN&ca=a",
            "vault:https://h/transit/k?token=env:VAULT_TOKEN&ca=a",
        ),
        ("pkcs11:token=hsm;object=k?pin-source=env:PIN", "pkcs11:token=hsm;object=k?pin-source=env:PIN"),
        ("pkcs11:token=hsm;object=k?pin-value=4711", f"pkcs11:token=hsm;object=k?pin-value={REDACTED}"),
        ("env:DATABASE_URL", "env:DATABASE_URL"),
        ("file:audit.key", "file:audit.key"),
        ("sqlite:///store.db", "sqlite:///store.db"),
        ("local:keys#migrator", "local:keys#migrator"),
    ],
)
def test_settings_keep_all_but_their_passwords(setting: str, shown: str) -> None:
    """A password in a URL is hidden whatever it is made of; references and plain settings stay readable."""
    assert redact_setting(setting) == shown


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI",
        '"value": "GhDOFWjZXsMLBmGnWGXZ8xnAIhAKqqqq"',
        "b'\\x00\\x01secret bytes'",
        "password=hunter2hunter2",
        "postgresql://ann:hunter2@db/x",
    ],
)
def test_free_text_loses_what_looks_like_a_secret(secret: str) -> None:
    """Keys, keysets, bytes and passwords don't survive in a log line, wherever in it they stand."""
    shown = redact_text(f"before {secret} after")
    assert REDACTED in shown
    for piece in ("MC4CAQAw", "GhDOFWjZ", "secret bytes", "hunter2"):
        assert piece not in shown


def test_keys_in_base64_are_hidden_and_digests_are_not() -> None:
    """32 random bytes in base64url look like a key; a hex digest is what logs are for."""
    key = base64.urlsafe_b64encode(bytes(range(7, 39))).decode().rstrip("=")
    digest = os.fsdecode(b"ab12" * 16)
    assert redact_text(f"x {key} sha256:{digest}") == f"x {REDACTED} sha256:{digest}"
