"""keys status, rewrap, destroy: the documents that programs rely on, and what an operator is asked."""

import io
import sys
from pathlib import Path

import pytest

from migrator.cli.session import Session
from tests.cli import campaigns
from tests.cli.campaigns import Templates
from tests.cli.running import Program
from tests.support.campaigns import NAME

pytestmark = pytest.mark.usefixtures("today")


@pytest.fixture
def rotated(templates: Templates, folder: Path) -> Path:
    """Executed, and the local wrapping key rotated since."""
    return templates.copy(campaigns.rotated, folder)


def test_status_rewrap_status(program: Program, rotated: Path) -> None:
    """What is behind is moved, and then nothing is; people read the same."""
    found = program("keys", "status", "-o", "json")
    assert found.status == 0
    assert set(found.json) == {"schema", "wrapped", "destroyed", "services", "rewrap_unfinished"}
    assert found.json["schema"] == "migrator.keys/1"
    assert set(found.json["wrapped"][0]) == {"kind", "key_service", "key_version", "keys"}
    assert set(found.json["services"][0]) == {"name", "uses", "newest_version", "behind", "problem"}
    number = sum(entry["keys"] for entry in found.json["wrapped"])
    assert found.json["services"][0]["behind"] == number > 3
    assert "warn local:keys#migrator (campaign)" in program("keys", "status").out
    done = program("keys", "rewrap", "-o", "json")
    assert (done.status, done.json["schema"], done.json["rewrapped"]) == (0, "migrator.keys_rewrap/1", number)
    assert set(done.json) == {"schema", "rewrapped", "already", "elsewhere", "overtaken", "refused", "refusals"}
    again = program("keys", "rewrap")
    assert f"rewrapped 0 keys, {number} already where they should be" in again.out
    assert program("keys", "status", "-o", "json").json["services"][0]["behind"] == 0
    assert "ok local:keys#migrator (campaign)" in program("keys", "status").out
    assert program("verify", "--sample", "20%").status == 0
    assert str(rotated) not in done.out


def test_a_key_that_stays_is_status_30(program: Program, rotated: Path) -> None:
    """Listed by its reference."""
    campaigns.change(rotated, "UPDATE migrator_data_key SET wrapped_keyset = x'00' WHERE conversation_no IN "
                     "(SELECT conversation_no FROM migrator_data_key LIMIT 1)")  # fmt: skip
    done = program("keys", "rewrap")
    assert done.status == 30
    assert "1 key refused; each stays as it was" in done.out


@pytest.mark.usefixtures("rotated")
def test_a_service_that_is_not_in_use_is_a_usage_error(program: Program) -> None:
    """With those that are."""
    done = program("keys", "rewrap", "--to", "local:elsewhere")
    assert done.status == 2
    assert "local:keys#migrator" in done.err


def test_destroy(program: Program, rotated: Path) -> None:
    """Asked for the campaign's name; then gone for readers, and the rest verifies."""
    conversation = campaigns.migrated(rotated)
    refused = program("keys", "destroy", "--conversation", conversation)
    assert (refused.status, NAME in refused.err) == (12, True)
    assert program("keys", "destroy", "--conversation", conversation, "--confirm", "yes").status == 12
    done = program("keys", "destroy", "--conversation", conversation, "--confirm", NAME, "-o", "json")
    assert (done.status, done.json["schema"], done.json["already"]) == (0, "migrator.keys_destroyed/1", False)
    assert set(done.json) == {"schema", "conversation_id", "already", "messages", "gaps"}
    assert program("keys", "destroy", "--conversation", conversation).out == "its history was already destroyed\n"
    assert program("read", conversation, "--reason", "a test").status == 12
    assert program("verify").status == 0
    assert program("audit", "reconcile").status == 0
    assert program("keys", "status", "-o", "json").json["destroyed"] == 1
    assert "1 data key destroyed" in program("keys", "status").out


@pytest.mark.parametrize(("typed", "status"), [(f"{NAME}\n", 0), ("\n", 12)])
def test_the_name_may_be_typed(
    typed: str, status: int, program: Program, rotated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a person is there to type it."""
    monkeypatch.setattr(Session, "may_ask", lambda _: True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    done = program("keys", "destroy", "--conversation", campaigns.migrated(rotated))
    assert done.status == status
    assert "can't be undone" in done.err
