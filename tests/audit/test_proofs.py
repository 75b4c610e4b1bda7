"""RFC 6962 proofs: made as the RFC says, accepted when right, refused when anything about them is not."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.merkle import leaf_hash
from migrator.core.proofs import (
    LogProof,
    consistency_proof,
    extends,
    includes,
    inclusion_proof,
    tree_hash,
)
from tests.audit import naive_tree
from tests.audit.naive_tree import Nodes

# The test vectors of Certificate Transparency's reference implementation (google/certificate-transparency,
# merkletree/merkle_tree_test.cc), which RFC 6962 came with.
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PATHS = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
NUMBERED = [n.to_bytes(2, "big") for n in range(400)]


def _hex(nodes: list[bytes]) -> list[str]:
    return [node.hex() for node in nodes]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_of_the_vectors(size: int) -> None:
    """The root over the first leaves."""
    assert tree_hash(Nodes(LEAVES[:size]), size).hex() == ROOTS[size - 1]
    assert naive_tree.mth(LEAVES[:size]).hex() == ROOTS[size - 1]


@pytest.mark.parametrize("case", PATHS)
def test_inclusion_vectors(case: tuple[int, int]) -> None:
    """Made as expected, and accepted."""
    index, size = case
    path = inclusion_proof(Nodes(LEAVES[:size]), index, size)
    assert _hex(path) == PATHS[case]
    assert includes(bytes.fromhex(ROOTS[size - 1]), size, leaf_hash(LEAVES[index]), index, path)


@pytest.mark.parametrize("case", CONSISTENCY)
def test_consistency_vectors(case: tuple[int, int]) -> None:
    """Made as expected, and accepted."""
    old, size = case
    proof = consistency_proof(Nodes(LEAVES[:size]), old, size)
    assert _hex(proof) == CONSISTENCY[case]
    assert extends(bytes.fromhex(ROOTS[old - 1]), old, bytes.fromhex(ROOTS[size - 1]), size, proof)


@given(size=st.integers(1, 400), data=st.data())
def test_inclusion_agrees_with_the_rfc(size: int, data: st.DataObject) -> None:
    """For any tree and leaf: the RFC's own path, few nodes read; any other leaf, place, size, root is refused."""
    index = data.draw(st.integers(0, size - 1))
    leaves = NUMBERED[:size]
    nodes = Nodes(leaves)
    path = inclusion_proof(nodes, index, size)
    assert path == naive_tree.path(index, leaves)
    assert len(nodes.asked) <= 2 * size.bit_length()
    root, leaf = naive_tree.mth(leaves), leaf_hash(leaves[index])
    assert includes(root, size, leaf, index, path)
    assert not includes(root, size, leaf_hash(b"other"), index, path)
    assert not includes(leaf_hash(b"other"), size, leaf, index, path)
    assert not includes(root, size, leaf, size, path)
    assert not includes(root, size, leaf, -1, path)
    other = data.draw(st.integers(0, size - 1))
    assert includes(root, size, leaf, other, path) == (other == index)


@given(size=st.integers(1, 400), data=st.data())
def test_an_altered_inclusion_proof_is_refused(size: int, data: st.DataObject) -> None:
    """A flipped bit, a missing hash, one too many, two exchanged, one of another length."""
    index = data.draw(st.integers(0, size - 1))
    leaves = NUMBERED[:size]
    path = inclusion_proof(Nodes(leaves), index, size)
    root, leaf = naive_tree.mth(leaves), leaf_hash(leaves[index])
    for altered in _alterations(path, data):
        assert not includes(root, size, leaf, index, altered)


@given(size=st.integers(1, 400), data=st.data())
def test_consistency_agrees_with_the_rfc(size: int, data: st.DataObject) -> None:
    """For any two sizes: the RFC's own proof; a tree that does not begin with the old one is refused."""
    old = data.draw(st.integers(1, size))
    leaves = NUMBERED[:size]
    proof = consistency_proof(Nodes(leaves), old, size)
    assert proof == naive_tree.proof(old, leaves)
    old_root, root = naive_tree.mth(leaves[:old]), naive_tree.mth(leaves)
    assert extends(old_root, old, root, size, proof)
    changed = list(leaves)
    changed[data.draw(st.integers(0, old - 1))] = b"rewritten"
    forked = naive_tree.mth(changed)
    assert not extends(old_root, old, forked, size, naive_tree.proof(old, changed))
    assert not extends(old_root, old, forked, size, proof)
    for altered in _alterations(proof, data):
        assert not extends(old_root, old, root, size, altered)


def _alterations(hashes: list[bytes], data: st.DataObject) -> list[list[bytes]]:
    altered = [[*hashes, bytes(32)], [bytes(32), *hashes]]
    if hashes:
        at = data.draw(st.integers(0, len(hashes) - 1))
        bit = data.draw(st.integers(0, 255))
        flipped = (int.from_bytes(hashes[at], "big") ^ 1 << bit).to_bytes(32, "big")
        altered += [
            hashes[:at] + hashes[at + 1 :],
            [*hashes[:at], flipped, *hashes[at + 1 :]],
            [*hashes[:at], hashes[at][:31], *hashes[at + 1 :]],
        ]
    if len(hashes) > 1:
        altered.append([hashes[1], hashes[0], *hashes[2:]])
    return altered


def test_the_edges_of_consistency() -> None:
    """From nothing everything follows, with an empty proof only; a tree follows from itself only; never from larger."""
    root = naive_tree.mth(NUMBERED[:3])
    assert consistency_proof(Nodes(NUMBERED[:3]), 0, 3) == []
    assert extends(naive_tree.mth([]), 0, root, 3, [])
    assert not extends(naive_tree.mth([]), 0, root, 3, [root])
    assert extends(root, 3, root, 3, [])
    assert not extends(root, 3, naive_tree.mth(NUMBERED[:2]), 3, [])
    assert not extends(root, 3, root, 2, [])
    assert not extends(root, -1, root, 3, [])
    assert not extends(root, 3, root, 5, [])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_a_leaf_that_is_not_there_has_no_proof(index: int, size: int) -> None:
    """Asking for it is an error of the caller."""
    with pytest.raises(ValueError, match="no such leaf"):
        inclusion_proof(Nodes(NUMBERED[:3]), index, size)
    with pytest.raises(ValueError, match="not larger"):
        consistency_proof(Nodes(NUMBERED[:3]), 4, 3)
    with pytest.raises(ValueError, match="without leaves"):
        tree_hash(Nodes([]), 0)


# --- the text ---

CHECKPOINT = b"example.org/log\n3\nAAAA\n\n\xe2\x80\x94 example.org/log AAAA\n"


def test_the_text_of_a_proof() -> None:
    """As c2sp.org/tlog-proof lays it out."""
    proof = LogProof(index=7, path=(bytes(32), b"\x01" * 32), checkpoint=CHECKPOINT, extra=b"why")
    assert proof.to_bytes() == (
        b"c2sp.org/tlog-proof@v1\nextra d2h5\nindex 7\n"
        + base64.b64encode(bytes(32))
        + b"\n"
        + base64.b64encode(b"\x01" * 32)
        + b"\n\n"
        + CHECKPOINT
    )


@given(
    index=st.integers(0, 2**63 - 1),
    path=st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    extra=st.binary(max_size=50),
)
def test_text_and_back(index: int, path: list[bytes], extra: bytes) -> None:
    """Nothing is lost on the way; without hashes or extra data as well."""
    proof = LogProof(index=index, path=tuple(path), checkpoint=CHECKPOINT, extra=extra)
    assert LogProof.from_bytes(proof.to_bytes()) == proof


HASH = base64.b64encode(bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n",
        b"c2sp.org/tlog-proof@v2\nindex 0\n\nx",
        b"c2sp.org/tlog-proof@v1\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 00\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex -1\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 99999999999999999999\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 0\nextra AAAA\n\nx",
        b"c2sp.org/tlog-proof@v1\nextra \nindex 0\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + HASH[:-2] + b"B=\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + HASH + b"\r\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + b"\n".join([HASH] * 64) + b"\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex \xef\xbc\x91\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + b"x" * 300_000,
    ],
)
def test_what_is_no_proof(text: bytes) -> None:
    """Anything else is refused with a reason, and never by another error."""
    with pytest.raises(ValueError, match=r"."):
        LogProof.from_bytes(text)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_one_way(data: bytes) -> None:
    """Random bytes, with and without the right beginning, are a `ValueError` or a proof."""
    for text in (data, b"c2sp.org/tlog-proof@v1\nindex 0\n" + data):
        try:
            proof = LogProof.from_bytes(text)
        except ValueError:
            continue
        assert proof.to_bytes() == text
