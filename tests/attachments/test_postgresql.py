"""Attachments where source and server history are in PostgreSQL, and sealed ones in an object store."""

import uuid
from datetime import timedelta
from pathlib import Path

import boto3
import pytest
import sqlalchemy as sa

from fixtures.world import FaultShares, Shape, UserShares
from migrator import preflight
from migrator.campaign import open_campaign
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.finalization import finalize
from migrator.planning.making import make_plan
from migrator.reporting import summary
from migrator.rollback import rollback
from migrator.stores import labyrinth_tables
from migrator.verification import verify
from tests.execution.bench import run_in
from tests.execution.media import shown
from tests.support import moto
from tests.support.campaigns import NAME, RUN, at, small_campaign
from tests.support.postgres import server

SHAPE = Shape(
    accounts=4, conversations=4, messages=60, huge=1010, attachments=0.012, users=UserShares.none(),
    faults=FaultShares.none(),
)  # fmt: skip


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of the test's own."""
    for name, value in moto.environment(moto.server()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.server())
    name = f"b-{uuid.uuid4().hex}"
    made = {"LocationConstraint": moto.REGION}
    boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=made)
    return name


def test_a_whole_campaign_with_attachments(tmp_path: Path, bucket: str) -> None:
    """Checked, run, verified, rolled back, run again, and made final: counts and contents agree all the way."""
    url = server().url(server().create())
    spec = small_campaign(
        tmp_path, SHAPE, source={"url": url, "media": "media"}, database={"url": url, "schema": "migrator"},
        attachments={"target": f"s3://{bucket}/sealed"}, authorization={"quorum": "owner"},
        execution={"page_size": 1000},
    )  # fmt: skip
    (check,) = [check for check in preflight.checks(spec) if check.name == "attachments"]
    assert (check.state, check.remedy) == (preflight.CheckState.OK, "")
    for again in (True, False):
        with open_campaign(spec) as campaign:
            run_in(campaign, make_plan(campaign, save=None, progress=NoProgress()).plan_id)
            opened = shown(campaign)
            assert len(opened) > 8
            reported = summary(campaign, None)["attachments"]
            sizes = sum(len(content) for content in opened.values())
            assert reported == {"sealed": len(opened), "bytes": sizes, "gaps": {}}
            if again:
                rollback(campaign, None, NoProgress())
                assert campaign.blobs is not None
                assert list(campaign.blobs.names()) == []
                continue
            found = verify(campaign, None, sample=None, progress=NoProgress())
            assert found.ok, found.mismatches
            assert len(opened) == found.checked["attachments"] == found.checked["attachments_compared"]
            assert "stray_blobs" not in found.checked
    with open_campaign(at(spec, RUN + timedelta(days=31))) as campaign:
        finalize(campaign, None, sealed=False, confirm=NAME, progress=NoProgress())
        assert shown(campaign) == opened
        with campaign.database.read() as connection:
            rows = connection.scalar(sa.select(sa.func.count()).select_from(tables.attachment))
        assert rows == len(opened)
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        left = connection.execute(sa.select(labyrinth_tables.attachment.c.blob_uri)).scalars().all()
    engine.dispose()
    files = [path for path in (tmp_path / "media").rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(tmp_path / "media")) for path in files) == sorted(left)
