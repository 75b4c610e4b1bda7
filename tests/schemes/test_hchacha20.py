"""HChaCha20 against the vector of its draft and against a plain implementation."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.schemes.hchacha20 import subkeys

KEY = bytes(range(32))
NONCE = bytes.fromhex("000000090000004a0000000031415927")
SUBKEY = bytes.fromhex("82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc")


def plain_subkey(key: bytes, nonce: bytes) -> bytes:
    """HChaCha20 of one input, as the draft's section 2.2 words it."""
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def quarter_round(a: int, b: int, c: int, d: int) -> None:
        for x, y, z, distance in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            mixed = state[z] ^ state[x]
            state[z] = ((mixed << distance) | (mixed >> (32 - distance))) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            quarter_round(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            quarter_round(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return struct.pack("<8I", *state[:4], *state[12:])


def test_vector_of_the_draft() -> None:
    """draft-irtf-cfrg-xchacha-03, section 2.2.1."""
    assert subkeys(KEY, NONCE) == SUBKEY
    assert plain_subkey(KEY, NONCE) == SUBKEY


@given(st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16)), max_size=20))
def test_many_at_once_are_each_by_itself(inputs: list[tuple[bytes, bytes]]) -> None:
    """Every lane gives what the plain implementation gives, whatever its neighbours are."""
    together = subkeys(b"".join(key for key, _ in inputs), b"".join(nonce for _, nonce in inputs))
    assert together == b"".join(plain_subkey(key, nonce) for key, nonce in inputs)


@pytest.mark.parametrize(("keys", "nonces"), [(31, 16), (33, 16), (32, 15), (32, 17), (64, 16), (0, 16), (32, 0)])
def test_lengths_that_do_not_fit_are_refused(keys: int, nonces: int) -> None:
    """A key or nonce of another length would shift all lanes behind it."""
    with pytest.raises(ValueError, match="32-byte key"):
        subkeys(bytes(keys), bytes(nonces))
