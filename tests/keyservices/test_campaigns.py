"""A whole campaign on a real key service: killed in the middle, resumed, and everything opens."""

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from fixtures.world import Shape, World
from migrator.audit import verifying as audit_verifying
from migrator.campaign import open_campaign
from migrator.core.lifecycle import RunState
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.execution.status import summary
from migrator.planning.making import make_plan
from migrator.verification.verifying import verify
from tests.execution.ready import Ready
from tests.execution.test_crash import kill_at
from tests.keyservices import test_aws
from tests.support import moto, openbao
from tests.support.campaigns import small_campaign

SHAPE = Shape(accounts=20, conversations=30, messages=400)


@pytest.fixture(params=["openbao", "aws"])
def ready(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ready:
    """A planned campaign whose data keys, and on OpenBao the audit log's key too, lie in the service."""
    audit: dict[str, str] = {}
    if request.param == "openbao":
        bao = openbao.server()
        monkeypatch.setenv("VAULT_TOKEN", bao.root)
        service = f"vault:{bao.url}/transit/{bao.key()}"
        audit = {"signing_key": f"vault:{bao.url}/transit/{bao.key(type='ed25519', derived=False)}"}
    else:
        for name, value in moto.environment(moto.server()).items():
            monkeypatch.setenv(name, value)
        service = f"awskms:{test_aws.new_key()}"
    spec = small_campaign(
        tmp_path / "live",
        SHAPE,
        keys={"service": service},
        authorization={"quorum": "owner"},
        execution={"page_size": 60, "max_failures": "100%"},
        audit=audit,
    )
    with open_campaign(spec) as campaign:
        plan = make_plan(campaign, save=None, progress=NoProgress())
    shutil.copytree(tmp_path / "live", tmp_path / "kept")
    return Ready(spec, World(SHAPE), plan.plan_id, tmp_path / "kept")


def test_a_campaign_killed_and_resumed(ready: Ready) -> None:
    """Nothing is lost to the kill, every data key is under the service, and all of the history opens through it."""
    assert not ready.run_killed(kill_at(9))
    assert ready.run_killed(lambda _: None)
    with open_campaign(ready.spec) as campaign:
        assert summary(campaign, None).state is RunState.COMPLETED
        table = tables.data_key
        with campaign.database.read() as connection:
            services = connection.execute(sa.select(table.c.key_service, sa.func.count()).group_by(table.c.key_service))
            found = {row[0]: row[1] for row in services}
        assert list(found) == [ready.spec.settings.keys.service]
        assert found[ready.spec.settings.keys.service] > 5
        result = verify(campaign, None, sample=None, progress=NoProgress())
        assert result.ok, result
        assert audit_verifying.verify(campaign.audit, NoProgress()).ok
        assert campaign.audit.state().head.size == campaign.audit.state().size
