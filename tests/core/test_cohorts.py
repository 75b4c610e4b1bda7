"""Rules of cohorts and limits: what is read, what is refused, and what lies inside what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.cohorts import CohortKind, Limit, Rule, members_of, require_name
from migrator.core.limits import LIMITS
from migrator.core.model import Account, AccountStatus

PERCENTAGES = st.integers(1, 1_000_000).map(lambda n: f"{n // 10_000}.{n % 10_000:04}%")


def account(*, region: str | None = None, locale: str | None = None) -> Account:
    """An account somewhere."""
    return Account(account_id="a", status=AccountStatus.ACTIVE, region=region, locale=locale)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("1%", CohortKind.SHARE, "1%"),
        ("100%", CohortKind.SHARE, "100%"),
        ("0.0001%", CohortKind.SHARE, "0.0001%"),
        ("region:EU", CohortKind.REGION, "EU"),
        ("locale:pt-BR", CohortKind.LOCALE, "pt-BR"),
        ("file:lists/a b%.txt", CohortKind.FILE, "lists/a b%.txt"),
    ],
)
def test_a_rule_is_read(text: str, kind: CohortKind, value: str) -> None:
    """The four kinds, each with its value."""
    found = Rule.parse(text)
    assert (found.kind, found.value, found.text) == (kind, value, text)


@pytest.mark.parametrize(
    "text",
    ["", "1", "%", "0%", "0.0000%", "100.0001%", "101%", "1.00001%", "-1%", "1,5%", "\u0661%", " 1%", "1% ", "region:",
     "region: EU",
     "Region:EU", "locale:\n", "file:a\0", "account:x", "region", "file:" + "x" * 1001],
)  # fmt: skip
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    """Whatever is not exactly one of the four."""
    with pytest.raises(ValueError, match=r"cohort|percentage|plain word"):
        Rule.parse(text)


@given(PERCENTAGES, PERCENTAGES, st.integers(0, 2**48 - 1))
def test_a_smaller_share_lies_inside_a_larger(one: str, other: str, place: int) -> None:
    """For every place: who is in the smaller is in the larger; 100 % has everybody."""
    small, large = sorted((Rule.parse(one), Rule.parse(other)), key=lambda rule: rule.millionths)
    assert not small.has_place(place / 2**48) or large.has_place(place / 2**48)
    assert Rule.parse("100%").has_place(place / 2**48)


@given(st.integers(0, 10**12), PERCENTAGES, PERCENTAGES)
def test_a_limit_takes_its_share(total: int, one: str, other: str) -> None:
    """Rounded up, so something of anything; never more than there is; a larger percentage takes no less."""
    small, large = (Limit.parse(text) for text in sorted((one, other), key=lambda text: Rule.parse(text).millionths))
    assert 0 <= small.of(total) <= large.of(total) <= total
    assert bool(small.of(total)) == bool(total)
    assert Limit.parse("100%").of(total) == total
    assert Limit.parse("7%").of(100) == 7
    assert Limit.parse("25").of(total) == min(25, total)


@pytest.mark.parametrize("text", ["", "0", "0%", "-1", "1.5", "101%", "1e3", "\u0663", "9" * 16, "ten"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    """Nothing, less than nothing, and what is no number."""
    with pytest.raises(ValueError, match="above 0"):
        Limit.parse(text)


def test_regions_are_exact_and_languages_take_in_their_regions() -> None:
    """RFC 4647, section 3.3.1: `de` has `de-AT`, whatever the separator and case, and not `den`."""
    europe, german = Rule.parse("region:EU"), Rule.parse("locale:de")
    assert europe.has_account(account(region="EU"))
    assert not any(europe.has_account(account(**v)) for v in ({"region": "eu"}, {"region": "EU-1"}, {}))
    assert all(german.has_account(account(locale=locale)) for locale in ("de", "de-AT", "de_CH", "DE", "de-Latn-DE"))
    assert not any(german.has_account(account(**v)) for v in ({"locale": "den"}, {"locale": "nl-de"}, {}))
    assert not Rule.parse("locale:pt-BR").has_account(account(locale="pt"))


def test_a_file_names_accounts() -> None:
    """One a line; blank lines and CRLF are fine, a repeated id counts once."""
    assert members_of("anna\r\n\nbjörn\nanna\n7 of 9".encode()) == ["anna", "björn", "7 of 9"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "nobody"),
        (b"\n\r\n", "nobody"),
        (b"anna\n bob\n", "line 2"),
        (b"anna\nbob\t\n", "line 2"),
        (b"\xef\xbb\xbfanna\n", "line 1"),
        (b"anna\nb\0b\n", "line 2"),
        (b"anna\n\nb\xff\n", "line 3 is not UTF-8"),
        (b"a" * (LIMITS.identifier_bytes + 1), "line 1 is too long"),
        (b"\n" * (LIMITS.cohort_file_bytes + 1), "bytes"),
        (b"".join(b"%d\n" % n for n in range(LIMITS.cohort_members + 1)), "more than 100,000 accounts"),
    ],
)
def test_a_file_that_is_none_is_refused(data: bytes, message: str) -> None:
    """With the line that is wrong, and never with what stands in it."""
    with pytest.raises(ValueError, match=message) as caught:
        members_of(data)
    assert "anna" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "Canary", "a.b", "a b", "-a", "x" * 65, "ä"])
def test_a_name_is_plain(name: str) -> None:
    """It stands in plan files, options and the environment."""
    with pytest.raises(ValueError, match="cohort's name"):
        require_name(name)
    assert require_name("canary-1_b") == "canary-1_b"
