"""The local key service: its files, and what it makes of bad ones."""

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tink
from hypothesis import given
from hypothesis import strategies as st
from tink import aead, json_proto_keyset_format, secret_key_access

from migrator.core.errors import KeyDelay, KeyProblem, KeyServiceError, KeyServiceUnavailableError
from migrator.keyservices.interface import KeyRefusal, KeyService
from migrator.keyservices.local import MAX_KEYSET_BYTES, LocalKeyService
from migrator.testing.keyservices import CONTEXT, KeyServiceConformance


class TestConformance(KeyServiceConformance):
    """The port's own tests."""

    @pytest.fixture(autouse=True)
    def _key(self, tmp_path: Path) -> None:
        LocalKeyService.create("keys#k", directory=tmp_path)
        self.directory = tmp_path

    def service(self) -> LocalKeyService:
        """Opened anew from its file."""
        return LocalKeyService.open("keys#k", directory=self.directory)

    @contextmanager
    def in_trouble(self, trouble: KeyProblem | KeyDelay) -> Iterator[Callable[[], KeyService]]:
        """A key that is not there; a file is neither disabled nor away for a moment."""
        if trouble is not KeyProblem.UNKNOWN_KEY:
            pytest.skip("a file is there and readable, or it is not")
        yield lambda: LocalKeyService.open("keys#other", directory=self.directory)


@pytest.fixture
def keyset(tmp_path: Path) -> Path:
    """Path of a fresh keyset, address `keys`."""
    LocalKeyService.create("keys", directory=tmp_path)
    return tmp_path / "keys" / "migrator.json"


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _key_value(path: Path) -> str:
    value: str = json.loads(path.read_text())["key"][0]["keyData"]["value"]
    return value


def test_create_makes_private_file_and_folder(keyset: Path) -> None:
    """0600 and 0700, whatever the umask, and nothing else is left in the folder."""
    assert _mode(keyset) == 0o600
    assert _mode(keyset.parent) == 0o700
    assert list(keyset.parent.iterdir()) == [keyset]


def test_create_keeps_what_is_there(keyset: Path, tmp_path: Path) -> None:
    """A second `create` says so and changes no byte."""
    before = keyset.read_bytes()
    assert LocalKeyService.create("keys", directory=tmp_path) is False
    assert keyset.read_bytes() == before


def test_create_clears_away_what_a_killed_one_left(tmp_path: Path) -> None:
    """A torn temporary file neither counts as the key nor stays."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    (folder / ".migrator.json.new").write_bytes(b"{torn")
    assert LocalKeyService.create("keys", directory=tmp_path) is True
    assert [path.name for path in folder.iterdir()] == ["migrator.json"]
    LocalKeyService.open("keys", directory=tmp_path)


def test_create_does_not_write_through_a_dangling_link(tmp_path: Path) -> None:
    """A link in place of the key is something that is there: not followed, not replaced."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    (folder / "migrator.json").symlink_to(tmp_path / "elsewhere")
    assert LocalKeyService.create("keys", directory=tmp_path) is False
    assert not (tmp_path / "elsewhere").exists()


def test_create_refuses_a_folder_open_to_others(tmp_path: Path) -> None:
    """A key is not put where others could swap it."""
    folder = tmp_path / "keys"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(KeyServiceError) as caught:
        LocalKeyService.create("keys", directory=tmp_path)
    assert caught.value.hint == f"chmod 700 {folder}"
    assert list(folder.iterdir()) == []


def test_create_says_when_the_folder_is_a_file(tmp_path: Path) -> None:
    """A file in the folder's place is an error of ours, not a traceback."""
    (tmp_path / "keys").write_text("")
    with pytest.raises(KeyServiceError):
        LocalKeyService.create("keys", directory=tmp_path)


def test_tink_reads_the_file_and_opens_what_it_wrapped(keyset: Path, tmp_path: Path) -> None:
    """G12: Tink alone, with the context as associated data, unwraps."""
    wrapped = LocalKeyService.open("keys", directory=tmp_path).wrap([(b"secret", CONTEXT)])[0]
    handle = json_proto_keyset_format.parse(keyset.read_text(), secret_key_access.TOKEN)
    assert handle.keyset_info().key_info[0].type_url == "type.googleapis.com/google.crypto.tink.AesGcmKey"
    assert handle.primitive(aead.Aead).decrypt(wrapped, CONTEXT) == b"secret"


def test_key_has_256_bits(keyset: Path) -> None:
    """AES256_GCM and not its little brother: the key's protobuf is a tag, a length and 32 bytes."""
    handle = json_proto_keyset_format.parse(keyset.read_text(), secret_key_access.TOKEN)
    assert handle.keyset_info().key_info[0].output_prefix_type == tink.proto.tink_pb2.TINK
    assert len(_key_value(keyset)) == 4 * 12  # base64 of 34 bytes


def test_rotated_keyset_still_unwraps(keyset: Path, tmp_path: Path) -> None:
    """After a rotation by Tink's tools the new primary wraps and the old key still unwraps."""
    old = LocalKeyService.open("keys", directory=tmp_path).wrap([(b"old", CONTEXT)])[0]
    LocalKeyService.create("keys#second", directory=tmp_path)
    first, second = (json.loads((keyset.parent / f"{name}.json").read_text()) for name in ("migrator", "second"))
    both = {"primaryKeyId": second["primaryKeyId"], "key": first["key"] + second["key"]}
    keyset.write_text(json.dumps(both))
    rotated = LocalKeyService.open("keys", directory=tmp_path)
    assert isinstance(old, bytes)
    assert rotated.unwrap([(old, CONTEXT)]) == [b"old"]
    assert rotated.version(old) == str(first["primaryKeyId"])
    rewrapped = rotated.rewrap([(old, CONTEXT)])[0]
    assert isinstance(rewrapped, bytes)
    assert rotated.version(rewrapped) == str(second["primaryKeyId"])
    new = rotated.wrap([(b"new", CONTEXT)])[0]
    assert isinstance(new, bytes)
    assert LocalKeyService.open("keys#second", directory=tmp_path).unwrap([(new, CONTEXT)]) == [b"new"]


@pytest.mark.usefixtures("keyset")
def test_another_key_refuses(tmp_path: Path) -> None:
    """What one key wrapped, another does not unwrap."""
    wrapped = LocalKeyService.open("keys", directory=tmp_path).wrap([(b"secret", CONTEXT)])[0]
    LocalKeyService.create("keys#other", directory=tmp_path)
    assert isinstance(wrapped, bytes)
    answer = LocalKeyService.open("keys#other", directory=tmp_path).unwrap([(wrapped, CONTEXT)])[0]
    assert isinstance(answer, KeyRefusal)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("keys", "local:keys#migrator"),
        ("keys#k", "local:keys#k"),
        ("./keys/#k", "local:keys#k"),
        ("a#b#k", "local:a#b#k"),
    ],
)
def test_name_is_the_address_in_full(address: str, name: str, tmp_path: Path) -> None:
    """DIR and NAME as configured, normalised, so that spelling does not orphan a key."""
    LocalKeyService.create(address, directory=tmp_path)
    assert LocalKeyService.open(address, directory=tmp_path).name == name


def test_name_survives_a_move_of_the_campaign(keyset: Path, tmp_path: Path) -> None:
    """A campaign folder that moves keeps its keys' names."""
    before = LocalKeyService.open("keys", directory=tmp_path).name
    moved = tmp_path / "moved"
    moved.mkdir()
    keyset.parent.rename(moved / "keys")
    assert LocalKeyService.open("keys", directory=moved).name == before


@pytest.mark.parametrize(
    "address",
    ["", "#k", "keys#", "keys#../k", "keys#a/b", "keys#/etc/passwd", "keys#.", "keys#..", "keys#.k", "keys#k\0",
     "keys\0#k", "keys#k\n", "keys#" + "k" * 101, "keys#k k"],
)  # fmt: skip
def test_addresses_with_tricks_are_refused(address: str, tmp_path: Path) -> None:
    """A name is a plain name: no paths, no NUL, no surprise; and nothing is made."""
    for act in (LocalKeyService.open, LocalKeyService.create):
        with pytest.raises(KeyServiceError):
            act(address, directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_missing_key_is_not_made_by_opening(tmp_path: Path) -> None:
    """`open` creates nothing and says where a lost key comes back from."""
    with pytest.raises(KeyServiceError) as caught:
        LocalKeyService.open("keys", directory=tmp_path)
    assert "backup" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_loose_file_modes_are_refused(mode: int, keyset: Path, tmp_path: Path) -> None:
    """A key that others may read or write is refused with the command that mends it."""
    keyset.chmod(mode)
    with pytest.raises(KeyServiceError) as caught:
        LocalKeyService.open("keys", directory=tmp_path)
    assert caught.value.hint == f"chmod 600 {keyset}"


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_loose_folder_modes_are_refused(mode: int, keyset: Path, tmp_path: Path) -> None:
    """Whoever can write the folder can swap the key."""
    keyset.parent.chmod(mode)
    with pytest.raises(KeyServiceError) as caught:
        LocalKeyService.open("keys", directory=tmp_path)
    assert caught.value.hint == f"chmod 700 {keyset.parent}"


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_private_modes_are_taken(mode: int, keyset: Path, tmp_path: Path) -> None:
    """Stricter than 0600 is fine."""
    keyset.chmod(mode)
    LocalKeyService.open("keys", directory=tmp_path)


def test_links_and_odd_files_are_refused(keyset: Path, tmp_path: Path) -> None:
    """A symbolic link, a folder and a pipe are no keyset; none of them hangs."""
    real = keyset.rename(tmp_path / "real.json")
    keyset.symlink_to(real)
    with pytest.raises(KeyServiceError, match="symbolic link"):
        LocalKeyService.open("keys", directory=tmp_path)
    keyset.unlink()
    keyset.mkdir(mode=0o700)
    with pytest.raises(KeyServiceError):
        LocalKeyService.open("keys", directory=tmp_path)
    keyset.rmdir()
    os.mkfifo(keyset, 0o600)
    with pytest.raises(KeyServiceError, match="regular file"):
        LocalKeyService.open("keys", directory=tmp_path)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"null", b"[]", b"\xff\xfe", b"[" * 10_000, b'{"key":[' * 9, b'{"primaryKeyId":1,"key":[]}',
     b'{"primaryKeyId":1.5}', b" " * (MAX_KEYSET_BYTES + 1)],
)  # fmt: skip
def test_what_is_no_keyset_is_refused(data: bytes, keyset: Path, tmp_path: Path) -> None:
    """Empty, garbage, deep and huge files: one clear error."""
    keyset.write_bytes(data)
    with pytest.raises(KeyServiceError):
        LocalKeyService.open("keys", directory=tmp_path)


def test_every_truncation_is_refused_and_leaks_nothing(keyset: Path, tmp_path: Path) -> None:
    """A keyset cut anywhere within its object does not open, and no error quotes the key."""
    whole = keyset.read_bytes().rstrip()
    secret = _key_value(keyset)
    for length in range(len(whole)):
        keyset.write_bytes(whole[:length])
        with pytest.raises(KeyServiceError) as caught:
            LocalKeyService.open("keys", directory=tmp_path)
        shown = f"{caught.value!r} {caught.value.hint} {caught.value.__cause__!r}"
        assert not any(secret[at : at + 8] in shown for at in range(len(secret) - 8))
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ENABLED", "DISABLED"),
        ("ENABLED", "DESTROYED"),
        ("google.crypto.tink.AesGcmKey", "google.crypto.tink.AesSivKey"),
        ("google.crypto.tink.AesGcmKey", "google.crypto.tink.KmsAeadKey"),
        ("TINK", "NOTHING"),
    ],
)
def test_keysets_of_another_kind_are_refused(old: str, new: str, keyset: Path, tmp_path: Path) -> None:
    """Disabled keys, other key types (also such that would call a remote KMS) and unknown values."""
    text = keyset.read_text()
    assert old in text
    keyset.write_text(text.replace(old, new))
    with pytest.raises(KeyServiceError):
        LocalKeyService.open("keys", directory=tmp_path)


def test_key_without_permission(keyset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's key is not used: it may be known to them."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    os.chown(keyset, 4321, 4321) if os.getuid() == 0 else pytest.skip("only root can give files away")
    with pytest.raises(KeyServiceError, match="another user"):
        LocalKeyService.open("keys", directory=tmp_path)


def test_repr_shows_a_name_only(keyset: Path, tmp_path: Path) -> None:
    """G5: nothing of the key in what a log or traceback would show."""
    service = LocalKeyService.open("keys", directory=tmp_path)
    assert repr(service) == "LocalKeyService(local:keys#migrator)"
    assert _key_value(keyset) not in repr(service)


@pytest.fixture(scope="module")
def module_service(tmp_path_factory: pytest.TempPathFactory) -> LocalKeyService:
    """One key for the properties below."""
    directory = tmp_path_factory.mktemp("module")
    LocalKeyService.create("keys", directory=directory)
    return LocalKeyService.open("keys", directory=directory)


@given(secret=st.binary(max_size=200), context=st.binary(max_size=200), data=st.data())
def test_any_altered_bit_is_refused(
    module_service: LocalKeyService, secret: bytes, context: bytes, data: st.DataObject
) -> None:
    """A wrapped key with one bit flipped, or cut short, never unwraps to anything."""
    wrapped = module_service.wrap([(secret, context)])[0]
    assert isinstance(wrapped, bytes)
    bit = data.draw(st.integers(0, len(wrapped) * 8 - 1))
    altered = bytearray(wrapped)
    altered[bit // 8] ^= 1 << bit % 8
    cut = wrapped[: data.draw(st.integers(0, len(wrapped) - 1))]
    answers = module_service.unwrap([(bytes(altered), context), (cut, context), (wrapped, context + b"x")])
    assert all(isinstance(answer, KeyRefusal) for answer in answers)


def test_a_rotation_takes_effect_at_once(keyset: Path, tmp_path: Path) -> None:
    """A handle that is open wraps under the new primary key, and unwraps what others wrapped under it."""
    service = LocalKeyService.open("keys", directory=tmp_path)
    old = service.wrap([(b"old", CONTEXT)])[0]
    assert isinstance(old, bytes)
    LocalKeyService.create("keys#second", directory=tmp_path)
    first, second = (json.loads((keyset.parent / f"{name}.json").read_text()) for name in ("migrator", "second"))
    first["key"] += second["key"]
    first["primaryKeyId"] = second["primaryKeyId"]
    keyset.write_text(json.dumps(first))
    fresh = LocalKeyService.open("keys", directory=tmp_path).wrap([(b"new", CONTEXT)])[0]
    assert isinstance(fresh, bytes)
    assert service.unwrap([(fresh, CONTEXT), (old, CONTEXT)]) == [b"new", b"old"]
    assert service.version(fresh) == str(second["primaryKeyId"]) != service.version(old)
    newest = service.wrap([(b"newest", CONTEXT)])[0]
    assert isinstance(newest, bytes)
    assert service.version(newest) == service.version(fresh)


def test_a_file_in_the_middle_of_being_written(keyset: Path, tmp_path: Path) -> None:
    """Is a service that is away for the moment; once it is whole, the open handle goes on."""
    service = LocalKeyService.open("keys", directory=tmp_path)
    whole = keyset.read_bytes()
    for torn in (b"", whole[: len(whole) // 2]):
        keyset.write_bytes(torn)
        for _ in range(2):
            with pytest.raises(KeyServiceUnavailableError):
                service.wrap([(b"secret", CONTEXT)])
    keyset.write_bytes(whole)
    assert isinstance(service.wrap([(b"secret", CONTEXT)])[0], bytes)
