"""Candidates for one session: which are the same, which are tried, and how many are kept."""

from migrator.core.megolm import read_session
from migrator.schemes.megolm_sessions import Sessions, encode
from tests.support.megolm import ALICES_KEY, MALLORYS_KEY, Sending


def candidate(entry: dict[str, object]) -> bytes:
    """An entry as a ring holds it."""
    return encode(read_session(entry, entry["session_id"]))


def test_candidates_that_agree_are_one_session() -> None:
    """From the lowest index on; what they say of the creator is kept, each word once."""
    sending = Sending()
    entries = [sending.entry(5), sending.entry(2), sending.entry(9, sender_key=MALLORYS_KEY), sending.entry(2)]
    [chain] = Sessions().chains([candidate(entry) for entry in entries])
    assert chain.first_index == 2
    assert chain.senders == [(ALICES_KEY, False), (MALLORYS_KEY, False)]


def test_one_that_disagrees_stays_a_candidate_of_its_own() -> None:
    """It may be the good one, whichever is lower."""
    sending = Sending()
    forged = candidate(sending.forged())
    for entries in ([forged, candidate(sending.entry(3))], [candidate(sending.entry(3)), forged]):
        chains = Sessions().chains(entries)
        assert [chain.first_index for chain in chains] == [0, 3]


def test_what_a_forger_claims_of_the_creator_stays_with_the_forgery() -> None:
    """A candidate that disagrees says nothing of the session that it disagrees with."""
    sending = Sending()
    chains = Sessions().chains([candidate(sending.forged() | {"sender_key": MALLORYS_KEY}), candidate(sending.entry())])
    assert [chain.senders for chain in chains] == [[(MALLORYS_KEY, False)], [(ALICES_KEY, False)]]


def test_a_bounded_number_is_kept() -> None:
    """The least recently used go first; the one at hand always stays."""
    sessions = Sessions(most=3)
    sendings = [Sending() for _ in range(6)]
    for sending in sendings:
        first = sessions.chains([candidate(sending.entry())])
        assert sessions.chains([candidate(sending.entry())]) is first
    assert sessions._count == len(sessions._kept) == 3
    many = [candidate(sendings[0].forged()) for _ in range(5)]
    assert len(sessions.chains(many)) == 5
    assert len(sessions._kept) == 1
