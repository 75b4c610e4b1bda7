"""Attachments of a source below a URL whose client decodes what it is given."""

from pathlib import Path

import fsspec
import pytest

from migrator.blobs.interface import BlobRefusal
from migrator.blobs.objects import ObjectSource
from migrator.core.attachments import AttachmentGap


@pytest.fixture
def source() -> ObjectSource:
    """A folder of a store in memory, beside something that is nobody's business."""
    files = fsspec.filesystem("memory")
    files.pipe("/place/media/a%20b", b"blob")
    files.pipe("/place/secret", b"secret")
    return ObjectSource.open("memory://place/media", directory=Path())


@pytest.mark.parametrize("location", ["%2e%2e/secret", "x/%2E./%2e%2e/secret", "..%2Fsecret", "a%2f..%2f..%2fsecret"])
def test_encoded_climbing_is_refused(source: ObjectSource, location: str) -> None:
    """HTTP clients take `%2e%2e` for `..`: neither reading nor deleting follows it."""
    with pytest.raises(BlobRefusal) as refusal, source.reading(location):
        pass
    assert refusal.value.reason is AttachmentGap.UNSAFE_PATH
    source.delete(location)
    assert fsspec.filesystem("memory").cat("/place/secret") == b"secret"


def test_a_percent_sign_may_stand_in_a_name(source: ObjectSource) -> None:
    """As it is, and not decoded."""
    with source.reading("a%20b") as blob:
        assert blob.read() == b"blob"
