"""The server-side envelope: what it binds, what it refuses, and that Tink reads and writes the same bytes."""

import pickle
from pathlib import Path

import pytest
import tink
from hypothesis import given
from hypothesis import strategies as st
from tink import aead, proto_keyset_format, secret_key_access
from tink.proto import aes_gcm_pb2, tink_pb2

from migrator.core import envelope
from migrator.core.envelope import OVERHEAD, DataKey, associated_data, open_message, seal_message
from migrator.core.errors import IntegrityError
from migrator.keyservices.local import LocalKeyService

aead.register()
KEY = DataKey.generate()
IDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
FIELDS = st.tuples(IDS, IDS, IDS, st.integers(0, 2**53), IDS)


def _sealed(content: bytes, bound_to: bytes, key: DataKey = KEY) -> bytes:
    return seal_message(key, envelope.random_ivs(1)[0], content, bound_to)


def _tink_primitive(keyset: bytes) -> aead.Aead:
    return proto_keyset_format.parse(keyset, secret_key_access.TOKEN).primitive(aead.Aead)


@given(content=st.binary(max_size=300), fields=FIELDS)
def test_round_trip(content: bytes, fields: tuple[str, str, str, int, str]) -> None:
    """What was sealed opens, byte for byte, and is `OVERHEAD` bytes longer."""
    bound_to = associated_data(*fields)
    sealed = _sealed(content, bound_to)
    assert len(sealed) == len(content) + OVERHEAD
    assert open_message(KEY, sealed, bound_to) == content


@given(content=st.binary(max_size=100), data=st.data())
def test_any_altered_bit_is_refused(content: bytes, data: st.DataObject) -> None:
    """G9: prefix, IV, ciphertext and tag alike: one flipped bit and nothing opens."""
    sealed = bytearray(_sealed(content, b"bound"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        open_message(KEY, bytes(sealed), b"bound")


@given(content=st.binary(max_size=100), data=st.data())
def test_truncated_or_extended_is_refused(content: bytes, data: st.DataObject) -> None:
    """A ciphertext cut anywhere, or with bytes added, does not open."""
    sealed = _sealed(content, b"bound")
    with pytest.raises(IntegrityError):
        open_message(KEY, sealed[: data.draw(st.integers(0, len(sealed) - 1))], b"bound")
    with pytest.raises(IntegrityError):
        open_message(KEY, sealed + data.draw(st.binary(min_size=1, max_size=5)), b"bound")


@given(one=FIELDS, other=FIELDS)
def test_every_field_is_bound(one: tuple[str, str, str, int, str], other: tuple[str, str, str, int, str]) -> None:
    """G9: conversation, id, sender, time and type: a ciphertext opens with exactly those it was sealed with."""
    sealed = _sealed(b"content", associated_data(*one))
    (a, b, c, d, e), (v, w, x, y, z) = one, other
    for moved in ((v, b, c, d, e), (a, w, c, d, e), (a, b, x, d, e), (a, b, c, y, e), (a, b, c, d, z)):
        bound_to = associated_data(*moved)
        if moved == one:
            assert open_message(KEY, sealed, bound_to) == b"content"
        else:
            with pytest.raises(IntegrityError):
                open_message(KEY, sealed, bound_to)


@given(one=FIELDS, other=FIELDS)
def test_associated_data_is_injective(
    one: tuple[str, str, str, int, str], other: tuple[str, str, str, int, str]
) -> None:
    """Without NUL in them no two lists of fields give the same bytes."""
    assert (associated_data(*one) == associated_data(*other)) == (one == other)


def test_associated_data_is_the_format() -> None:
    """The exact bytes of formats, section 5."""
    expected = b"migrator/1\x00in/th\x00m\xc3\xa9\x00ann\x001700000000000\x00text/plain"
    assert associated_data("in/th", "mé", "ann", 1700000000000, "text/plain") == expected


def test_a_nul_in_an_id_would_shift_the_fields() -> None:
    """Why schemes and exports refuse ids with the separator: two different messages would be bound alike."""
    assert associated_data("a", "b\0c", "d", 1, "t") == associated_data("a", "b", "c\0d", 1, "t")


def test_key_context_is_canonical_json() -> None:
    """RFC 8785, all values strings, as a key service logs it."""
    assert envelope.key_context("c", "00ff", 7) == b'{"campaign":"c","conversation":"00ff","key_id":"7"}'


def test_another_key_does_not_open() -> None:
    """Neither another id nor the same id over other key bytes."""
    sealed = _sealed(b"content", b"")
    for other in (DataKey.generate(), DataKey(KEY.key_id, bytes(32))):
        with pytest.raises(IntegrityError):
            open_message(other, sealed, b"")


def test_fresh_ivs_differ() -> None:
    """A page's IVs have 12 bytes each and none comes twice."""
    ivs = envelope.random_ivs(5000)
    assert len(set(ivs)) == len(ivs) == 5000
    assert {len(iv) for iv in ivs} == {12}
    assert envelope.random_ivs(0) == []


@given(content=st.binary(max_size=300), bound_to=st.binary(max_size=60))
def test_tink_opens_what_we_seal(content: bytes, bound_to: bytes) -> None:
    """G12: Google Tink reads our keyset and our wire format."""
    assert _tink_primitive(KEY.to_keyset()).decrypt(_sealed(content, bound_to), bound_to) == content


@given(content=st.binary(max_size=300), bound_to=st.binary(max_size=60))
def test_we_open_what_tink_seals(content: bytes, bound_to: bytes) -> None:
    """The other way round: a keyset and a ciphertext of Tink's own making."""
    handle = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    keyset = proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
    key = DataKey.from_keyset(keyset, handle.keyset_info().primary_key_id)
    assert open_message(key, handle.primitive(aead.Aead).encrypt(content, bound_to), bound_to) == content


def test_tink_opens_a_stored_row(tmp_path: Path) -> None:
    """G12: from the key service's file, the wrapped keyset and the row's columns alone, without our envelope."""
    LocalKeyService.create("keys", directory=tmp_path)
    context = envelope.key_context("c", "00ff", KEY.key_id)
    wrapped = LocalKeyService.open("keys", directory=tmp_path).wrap([(KEY.to_keyset(), context)])[0]
    row = _sealed(b"hello", associated_data("in/th", "m1", "ann", 5, "text/plain"))

    kek = tink.json_proto_keyset_format.parse(
        (tmp_path / "keys" / "migrator.json").read_text(), secret_key_access.TOKEN
    ).primitive(aead.Aead)
    handle = proto_keyset_format.parse_encrypted(wrapped_as_tink(wrapped), kek, context)
    assert handle.keyset_info().primary_key_id == KEY.key_id
    assert int.from_bytes(row[1:5], "big") == KEY.key_id
    bound_to = b"\x00".join([b"migrator/1", b"in/th", b"m1", b"ann", b"5", b"text/plain"])
    assert handle.primitive(aead.Aead).decrypt(row, bound_to) == b"hello"


def wrapped_as_tink(wrapped: object) -> bytes:
    """`wrapped_keyset` dressed as Tink's `EncryptedKeyset` message, which Tink's own readers take."""
    assert isinstance(wrapped, bytes)
    message: bytes = tink_pb2.EncryptedKeyset(encrypted_keyset=wrapped).SerializeToString()
    return message


def test_keyset_round_trip() -> None:
    """A key comes back from its keyset under its id, and opens what it sealed."""
    again = DataKey.from_keyset(KEY.to_keyset(), KEY.key_id)
    assert open_message(again, _sealed(b"x", b"y"), b"y") == b"x"


def _keyset(  # one argument a field that may be wrong
    *,
    key_id: int = 7,
    primary: int = 7,
    value: bytes = bytes(32),
    copies: int = 1,
    type_url: str = "type.googleapis.com/google.crypto.tink.AesGcmKey",
    prefix: int = tink_pb2.TINK,
    status: int = tink_pb2.ENABLED,
    version: int = 0,
) -> bytes:
    key = aes_gcm_pb2.AesGcmKey(version=version, key_value=value).SerializeToString()
    data = tink_pb2.KeyData(type_url=type_url, value=key, key_material_type=tink_pb2.KeyData.SYMMETRIC)
    entry = tink_pb2.Keyset.Key(key_data=data, status=status, key_id=key_id, output_prefix_type=prefix)
    serialized: bytes = tink_pb2.Keyset(primary_key_id=primary, key=[entry] * copies).SerializeToString()
    return serialized


@pytest.mark.parametrize(
    "keyset",
    [
        b"",
        b"\xff" * 40,
        _keyset(copies=0),
        _keyset(copies=2),
        _keyset(key_id=8),
        _keyset(primary=8),
        _keyset(value=b""),
        _keyset(value=bytes(16)),
        _keyset(value=bytes(33)),
        _keyset(type_url="type.googleapis.com/google.crypto.tink.AesSivKey"),
        _keyset(prefix=tink_pb2.RAW),
        _keyset(prefix=tink_pb2.CRUNCHY),
        _keyset(status=tink_pb2.DISABLED),
        _keyset(status=tink_pb2.DESTROYED),
        _keyset(version=1),
    ],
)
def test_other_keysets_are_refused(keyset: bytes) -> None:
    """Anything but one enabled AES-256-GCM key of that id with the TINK prefix is no data key."""
    with pytest.raises(IntegrityError):
        DataKey.from_keyset(keyset, 7)


def test_the_keyset_of_the_cases_above_is_good_without_its_fault() -> None:
    """The refusals above are for their faults."""
    assert DataKey.from_keyset(_keyset(), 7).key_id == 7


@given(st.binary(max_size=120))
def test_garbage_keysets_raise_our_error_only(garbage: bytes) -> None:
    """Whatever a key service hands back, it is a key or an `IntegrityError`."""
    with pytest.raises(IntegrityError):
        DataKey.from_keyset(garbage, 7)


@pytest.mark.parametrize("key_id", [0, -1, 2**32])
def test_impossible_key_ids_are_refused(key_id: int) -> None:
    """Tink's ids have 32 bits, and 0 is none."""
    with pytest.raises(IntegrityError):
        DataKey(key_id, bytes(32))


def test_key_never_shows() -> None:
    """G5: not in `repr`, `str`, nor by pickle; errors say nothing of it."""
    secret = bytes(range(100, 132))
    key = DataKey(9, secret)
    assert repr(key) == str(key) == "DataKey(9)"
    with pytest.raises(TypeError) as refused:
        pickle.dumps(key)
    with pytest.raises(IntegrityError) as caught:
        DataKey.from_keyset(_keyset(value=secret), 8)
    for error in (refused.value, caught.value):
        assert not any(form in repr(error) for form in (secret.hex(), repr(secret)[2:-1], secret.decode("latin-1")))


def test_generated_keys_differ() -> None:
    """Fresh ids and fresh bytes: no two keys open each other's messages."""
    keys = [DataKey.generate() for _ in range(50)]
    assert len({key.to_keyset() for key in keys}) == 50
    assert len({key.key_id for key in keys}) == 50
