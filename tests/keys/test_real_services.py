"""Campaigns on real key services, from the first wrap to the last rewrap: OpenBao, and AWS KMS as moto emulates it."""

from pathlib import Path

import boto3
import pytest

from migrator import key_routing, keys
from migrator.core.errors import KeyServiceUnavailableError, MigratorError
from migrator.core.progress import NoProgress
from migrator.database import tables
from tests.execution.bench import Bench, run_in
from tests.execution.opened import history, run_killed
from tests.keys.support import agree, bench_in, configure, rewrap, versions
from tests.support import moto, openbao
from tests.support.openbao import Server

CONVERSATIONS = 20


@pytest.fixture
def bao(monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server of this test process; nobody waits for it."""
    server = openbao.server()
    monkeypatch.setenv("VAULT_TOKEN", server.root)
    monkeypatch.setattr(key_routing, "PATIENCE_SECONDS", 0.0)
    return server


def bench_on(folder: Path, service: str) -> Bench:
    """Conversations in units of five, and a long one."""
    bench = bench_in(folder, CONVERSATIONS, messages=10, service=service)
    bench.account("zora")
    bench.messages(bench.thread("zora", "x"), range(2300))
    bench.keys("zora", ["in-zora/x"])
    return bench


def complete(bench: Bench) -> None:
    """Every conversation is there, opens, and agrees with source and log."""
    assert {outcome for outcome, _, _ in bench.outcomes(bench.all(tables.run)[-1]["run_id"]).values()} == {"rewrapped"}
    assert len(bench.all(tables.data_key)) == CONVERSATIONS + 1
    assert len(history(bench, "in-zora/x")) == 2300
    agree(bench)


def test_a_campaign_on_openbao_killed_sealed_rotated_and_rewrapped(tmp_path: Path, bao: Server) -> None:
    """Killed between commits; sealed under its feet; rotated while it works; in the end all is under one version."""
    name = bao.key()
    service = f"vault:{bao.url}/transit/{name}"
    bench = bench_on(tmp_path, service)
    run_killed(bench, "unit", plan=bench.plan().plan_id)
    done = len(bench.all(tables.data_key))
    assert 0 < done < CONVERSATIONS
    with bao.sealed(), pytest.raises(MigratorError) as stopped:
        bench.resume()
    assert isinstance(stopped.value, KeyServiceUnavailableError)
    assert len(bench.all(tables.data_key)) == done
    (run,) = bench.all(tables.run)
    assert (run["state"], run["stop_detail"]) == ("stopped", stopped.value.message)
    bao.ask("POST", f"transit/keys/{name}/rotate")
    run_killed(bench, "page")
    bench.resume()
    complete(bench)
    found = {version: number for (kind, _, version), number in versions(bench).items() if kind == "data"}
    assert found == {"1": done, "2": CONVERSATIONS + 1 - done}
    assert rewrap(bench).rewrapped == done + 2
    assert {version for _, _, version in versions(bench)} == {"2"}
    bao.ask("POST", f"transit/keys/{name}/config", min_decryption_version=2)
    complete(bench)


def test_one_wrap_for_a_unit(tmp_path: Path, bao: Server) -> None:
    """The calls of a whole run on a server: one for each unit that needs keys, none for a message."""
    service = f"vault:{bao.url}/transit/{bao.key()}"
    bench = bench_on(tmp_path, service)
    labels: list[str] = []
    with bench.open() as campaign:
        campaign.database.boundary = lambda label, moment: labels.append(label) if moment == "after" else None
        run_in(campaign, bench.plan().plan_id)
        calls, items = campaign.key_services.calls, campaign.key_services.items
        name = campaign.key_services.default().name
    assert calls[name, "wrap"] == labels.count("unit") + labels.count("flip")
    assert items[name, "wrap"] == CONVERSATIONS + 1
    assert calls[name, "unwrap"] == 1 + len(bench.all(tables.shard))  # reference key; recipient key for each shard


def test_from_local_keys_to_openbao(tmp_path: Path, bao: Server) -> None:
    """Every key moves, and nothing of the local keyset is needed any more."""
    bench = bench_on(tmp_path, "local:keys#migrator")
    bench.run()
    service = f"vault:{bao.url}/transit/{bao.key()}"
    configure(bench, service=service, former={"local": "local:keys#migrator"})
    assert rewrap(bench, to=service).rewrapped == CONVERSATIONS + 3
    configure(bench, former={})
    (bench.folder / "keys" / "migrator.json").unlink()
    complete(bench)


def test_a_campaign_on_aws_kms_killed_and_rewrapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On moto: killed and resumed; AWS's blobs tell no version, so each rewrap moves all, and goes on where it was."""
    for name, value in moto.environment(moto.server()).items():
        monkeypatch.setenv(name, value)
    made = boto3.session.Session().client("kms", region_name=moto.REGION).create_key()
    bench = bench_on(tmp_path, f"awskms:{made['KeyMetadata']['Arn']}")
    run_killed(bench, "unit", plan=bench.plan().plan_id)
    bench.resume()
    complete(bench)
    assert {version for _, _, version in versions(bench)} == {""}
    with bench.open() as campaign:
        assert keys.status(campaign).services[0].behind is None
        assert keys.rewrap(campaign, to=None, progress=NoProgress()).rewrapped == CONVERSATIONS + 3
    complete(bench)
