"""The Dask engine, on a real scheduler and real workers: whatever the cluster loses is told."""

from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from datetime import UTC, datetime
from pathlib import Path

import dask.config
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import migrator
from migrator.core.errors import ConfigError, ExitStatus
from migrator.engines import remote
from migrator.engines.dask import ClusterUnavailableError, DaskEngine, WorkerBugError, WorkerRefusedError
from tests.engines.conformance import PATIENCE, EngineConformance, double
from tests.support.cluster import Cluster, cluster, sweep


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """One cluster for all tests here."""
    with cluster(2) as made:
        yield made


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    """Nothing is left to later tests."""
    yield
    sweep()


class TestDaskEngine(EngineConformance):
    """The port's tests."""

    @pytest.fixture(autouse=True)
    def _two_workers(self, shared: Cluster) -> None:
        shared.top_up(2)
        self.cluster = shared

    def engine(self, workers: int) -> DaskEngine:
        """So many workers of the cluster at once."""
        return DaskEngine(self.cluster.address, workers)


@pytest.mark.parametrize(
    "address",
    ["", "host:8786", "tcp://host", "tcp://user:pw@host:8786", "http://host:8786", "tcp://host:8786/x", "tls://"],
)
def test_what_is_no_address(address: str) -> None:
    """Named by its setting; what it reads like is in the hint."""
    with pytest.raises(ConfigError, match=r"execution\.engine") as caught:
        DaskEngine(address)
    assert "dask:tcp://host:8786" in caught.value.hint


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 24 before anything begins; once it was reached, it is waited for."""
    monkeypatch.setattr("migrator.engines.dask._CONNECT_SECONDS", 0.2)
    made = Cluster()
    engine = DaskEngine(made.address)
    with pytest.raises(ClusterUnavailableError, match="no Dask scheduler") as caught:
        _ = engine.workers
    assert caught.value.exit_status is ExitStatus.SERVICE_DOWN
    with pytest.raises(BrokenExecutor):
        engine.executor()
    made.remove()


def bug(_: int) -> None:
    """What a worker does not expect, with something of a message in it."""
    raise KeyError("what was said")


def test_of_a_bug_only_its_kind_and_place_come_back(shared: Cluster) -> None:
    """G5: what an unknown error carries may be content, and would go through the scheduler."""
    shared.top_up(2)
    with DaskEngine(shared.address).executor() as executor:
        error = executor.submit(bug, 0).exception(PATIENCE)
    assert isinstance(error, WorkerBugError)
    assert "KeyError" in str(error)
    assert "test_dask.py" in str(error)
    assert "said" not in repr(error)


def test_workers_come_and_go_while_it_looks_on(shared: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number is the scheduler's, at most as many as were asked for; with the scheduler away, none."""
    monkeypatch.setattr("migrator.engines.dask._COUNT_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("migrator.engines.dask._CONNECT_SECONDS", 1.0)
    shared.top_up(2)
    every, one = DaskEngine(shared.address), DaskEngine(shared.address, 1)
    assert (every.workers, one.workers) == (2, 1)
    executor = every.executor()
    assert every.executor() is executor
    shared.workers[0].kill()
    shared.wait_for(1)
    assert (every.workers, one.workers) == (1, 1)
    shared.kill_scheduler()
    assert (every.workers, one.workers) == (0, 0)
    with pytest.raises(BrokenExecutor):
        executor.submit(double, 1)
    executor.shutdown()
    shared.kill_workers()
    shared.start(1)
    assert every.workers == 1
    with every.executor() as another:
        assert another.submit(double, 2).result(PATIENCE) == 4


def test_a_worker_of_another_version_refuses(shared: Cluster) -> None:
    """Both versions are named, and which worker it was; what the task says is not looked at."""
    shared.replace_workers(1, first="import migrator; migrator.__version__ = '0.0.9'")
    with DaskEngine(shared.address).executor() as executor:
        error = executor.submit(double, 2).exception(PATIENCE)
    assert isinstance(error, WorkerRefusedError)
    assert f"has migrator 0.0.9, and this is migrator {migrator.__version__}" in error.message
    assert f"/{shared.workers[0].pid} " in error.message
    assert error.exit_status is ExitStatus.SERVICE_DOWN
    assert remote.perform("0.0.9", b"not even a pickle")[0] == remote.OTHER_VERSION


def test_without_migrator_nothing_works(shared: Cluster) -> None:
    """A worker that can't load a task ends itself, which is a loss; a scheduler that can't says so."""
    nothing = "import sys; sys.modules['migrator'] = None"
    shared.replace_workers(1, first=nothing)
    with DaskEngine(shared.address).executor() as executor, pytest.raises(BrokenExecutor):
        executor.submit(double, 2).result(PATIENCE)
    shared.close()
    shared.start(0, first=nothing)
    with DaskEngine(shared.address).executor() as executor:
        error = executor.submit(double, 2).exception(PATIENCE)
    assert isinstance(error, WorkerRefusedError)
    assert "scheduler can't load migrator" in error.message
    assert migrator.__version__ in error.hint


def certificate(folder: Path) -> dict[str, str]:
    """A certificate that vouches for itself, as the settings that the runbook names."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cluster")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    settings = {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": str(folder / "cert.pem"),
                "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}  # fmt: skip
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        settings[f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT"] = str(folder / "cert.pem")
        settings[f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY"] = str(folder / "key.pem")
    return settings


def test_with_tls_nobody_gets_in_without_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings are those of `distributed`, from the environment; a coordinator that has none is turned away."""
    monkeypatch.setattr("migrator.engines.dask._CONNECT_SECONDS", 1.0)
    settings = certificate(tmp_path)
    made = Cluster(settings, protocol="tls")
    try:
        given = dask.config.collect_env(settings)["distributed"]
        with dask.config.set({"distributed": dask.config.merge(dask.config.get("distributed"), given)}):
            made.start(1)
            with DaskEngine(made.address).executor() as executor:
                assert executor.submit(double, 2).result(PATIENCE) == 4
        for address in (made.address, made.address.replace("tls:", "tcp:")):
            with pytest.raises(ClusterUnavailableError, match="no Dask scheduler"):
                _ = DaskEngine(address).workers
    finally:
        made.remove()
