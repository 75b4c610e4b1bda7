"""Locales, and moments written in them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.notices import locales

MOMENT = datetime(2026, 5, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("de", "de"), ("DE", "de"), ("pt_br", "pt-BR"), ("zh-hant-tw", "zh-Hant-TW"), ("es-419", "es-419"),
        ("", None), ("e", None), ("english", None), ("de_DE.UTF-8", None), ("de-", None), ("../en", None),
        ("en" + "-abcdefgh" * 4, None), ("日本", None), ("en\n", None), ("C", None),
    ],
)  # fmt: skip
def test_normalise(text: str, expected: str | None) -> None:
    """Language tags get one spelling; what is none is told apart."""
    assert locales.normalise(text) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("de", "de"), ("de-AT", "de"), ("pt-BR", "pt-BR"), ("pt-PT", "pt"), ("zh-Hant-TW", "zh-Hant"), ("sv", None)],
)
def test_best(wanted: str, expected: str | None) -> None:
    """The exact locale, else a more general one; never another language."""
    assert locales.best(wanted, {"en", "de", "pt", "pt-BR", "zh-Hant"}) == expected


def test_a_moment_is_told_in_both_zones() -> None:
    """The reader's own time with its zone's name, and UTC."""
    text = locales.describe(MOMENT, "en", "America/New_York")
    assert "Thursday, May 7, 2026" in text
    assert "Eastern Daylight Time" in text
    assert "May 8, 2026" in text
    assert text.endswith("UTC)")


@pytest.mark.parametrize("timezone", [None, "", "UTC", "Mars/Olympus", "../../etc/passwd", "\0", "x" * 10**6, "é"])
def test_without_a_zone_it_is_utc(timezone: str | None) -> None:
    """A zone that is missing or none at all costs nothing but the local time."""
    assert "Coordinated Universal Time" in locales.describe(MOMENT, "en", timezone)


@given(st.text(max_size=40))
def test_any_locale_and_zone(text: str) -> None:
    """Hostile values of the source never raise."""
    locales.normalise(text)
    locales.describe(MOMENT, "de", text)
