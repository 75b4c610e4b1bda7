"""Tests of blobs in an object store: S3, as moto emulates it."""

import uuid
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest

from migrator.blobs.objects import ObjectSource, ObjectStore
from migrator.core.errors import BlobsUnavailableError, ConfigError
from migrator.plugins import blob_source_class, blob_store_class
from tests.blobs.conformance import NAMES, BlobSourceConformance, BlobStoreConformance
from tests.support import moto

HERE = Path()


@cache
def client() -> Any:
    """An operator's own client."""
    keys = {"aws_access_key_id": "access-key-of-tests", "aws_secret_access_key": moto.SECRET_KEY}
    return boto3.client("s3", endpoint_url=moto.server(), region_name=moto.REGION, **keys)


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of the test's own."""
    for name, value in moto.environment(moto.server()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.server())
    name = f"b-{uuid.uuid4().hex}"
    client().create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": moto.REGION})
    return name


class TestObjectStore(BlobStoreConformance):
    """Sealed blobs under a prefix."""

    @pytest.fixture(autouse=True)
    def _place(self, bucket: str) -> None:
        self.bucket = bucket

    def store(self) -> ObjectStore:
        """Below a prefix of the test's bucket."""
        return ObjectStore.open(f"s3://{self.bucket}/some/prefix/", directory=HERE)

    def test_keys_are_below_the_prefix_and_no_upload_is_left(self) -> None:
        """What an operator's policies and life cycles have to know."""
        self.put(NAMES[1], bytes(17_000_000))
        with pytest.raises(ZeroDivisionError):
            self.fail_in(NAMES[2], 17_000_000)
        (listed,) = client().list_objects_v2(Bucket=self.bucket)["Contents"]
        assert (listed["Key"], listed["Size"]) == (f"some/prefix/0a/{NAMES[1]}", 17_000_000)
        assert "Uploads" not in client().list_multipart_uploads(Bucket=self.bucket)

    def test_a_bucket_that_is_not_there(self) -> None:
        """Is no blob that is missing: the whole store is away."""
        store = ObjectStore.open(f"s3://{self.bucket}-other", directory=HERE)
        with pytest.raises(BlobsUnavailableError), store.reading(NAMES[0]):
            pass
        with pytest.raises(BlobsUnavailableError) as refused, store.writing(NAMES[0]) as file:
            file.write(b"x")
        assert moto.SECRET_KEY not in repr((refused.value, refused.value.__cause__, refused.value.__context__))


class TestObjectSource(BlobSourceConformance):
    """Attachments of a source under a prefix."""

    @pytest.fixture(autouse=True)
    def _place(self, bucket: str) -> None:
        self.bucket = bucket
        client().put_object(Bucket=bucket, Key="media/ab/cd/blob", Body=b"x" * 5_000_000)
        client().put_object(Bucket=bucket, Key="media/with space", Body=b"y")
        client().put_object(Bucket=bucket, Key="beyond", Body=b"secret")

    def source(self) -> ObjectSource:
        """Below a prefix of the test's bucket."""
        return ObjectSource.open(f"s3://{self.bucket}/media", directory=HERE)

    def test_a_whole_url_below_the_prefix_is_a_location(self) -> None:
        """One of the same bucket beside it is not."""
        with self.source().reading(f"s3://{self.bucket}/media/with space") as file:
            assert file.read(5) == b"y"
        self.test_unsafe_locations_are_refused(f"s3://{self.bucket}/beyond")
        self.test_unsafe_locations_are_refused(f"s3://{self.bucket}/media/../beyond")


def test_addresses_lead_to_implementations() -> None:
    """A folder, a URL, and a URL that nobody knows."""
    assert blob_store_class("file:blobs").__name__ == "FolderStore"
    assert blob_store_class("s3://b/p") is blob_store_class("gs://b/p") is ObjectStore
    assert blob_source_class("media").__name__ == blob_source_class("file:media").__name__ == "FolderSource"
    assert blob_source_class("s3://b/p") is ObjectSource
    with pytest.raises(ConfigError, match="nonsense"):
        ObjectStore.open("nonsense://b", directory=HERE)
    with pytest.raises(ConfigError, match="not installed"):
        ObjectStore.open("gs://b", directory=HERE)
