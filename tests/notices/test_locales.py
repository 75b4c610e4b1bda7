"""Locales, and moments written in them."""

import re
import zoneinfo
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
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


SHIPPED = ["en", "de", "fr", "es", "pt", "ja", "hi", "ar"]
ZONES = sorted(zoneinfo.available_timezones())
MOMENTS = st.integers(0, 200 * 366 * 24 * 60).map(lambda m: datetime(1980, 1, 1, tzinfo=UTC) + timedelta(minutes=m))
WRITTEN = re.compile(
    r"(?P<local>\w+, \w+ \d+, \d+, \d+:\d\d\s[AP]M) (?P<zone>.+) \((?P<utc>\w+ \d+, \d+, \d+:\d\d\s[AP]M) UTC\)\Z"
)


@settings(max_examples=300)
@given(MOMENTS, st.sampled_from(ZONES))
def test_both_times_are_the_same_moment(moment: datetime, timezone: str) -> None:
    """In every zone and season: the first is what the clock there shows, the second is UTC."""
    text = locales.describe(moment, "en", timezone)
    if timezone == "UTC":
        assert text.endswith("Coordinated Universal Time")
        return
    match = WRITTEN.match(text)
    assert match, text
    local = datetime.strptime(match["local"].replace("\u202f", " "), "%A, %B %d, %Y, %I:%M %p").replace(tzinfo=UTC)
    utc = datetime.strptime(match["utc"].replace("\u202f", " "), "%B %d, %Y, %I:%M %p").replace(tzinfo=UTC)
    assert local.replace(tzinfo=None) == moment.astimezone(ZoneInfo(timezone)).replace(tzinfo=None, second=0)
    assert utc == moment


@given(MOMENTS, st.sampled_from(ZONES), st.sampled_from(SHIPPED))
def test_every_language_tells_both_times(moment: datetime, timezone: str, locale: str) -> None:
    """The minutes of the reader's clock come first, those of UTC last, and the latter is named."""
    text = locales.describe(moment, locale, timezone)
    minutes = [found[0] or found[1] for found in re.findall(r"\d[:時](\d\d)(?!\d)|h(\d\d)(?!\d)", text)]
    assert minutes[0] == f"{moment.astimezone(ZoneInfo(timezone)).minute:02d}"
    if timezone != "UTC":
        assert minutes[-1] == f"{moment.minute:02d}"
        assert text.endswith(" UTC)")


@pytest.mark.parametrize("locale", SHIPPED)
def test_the_hour_that_comes_twice(locale: str) -> None:
    """When clocks go back, two moments show the same time; zone and UTC tell them apart. No hour is skipped over."""
    first, second = (datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1))
    told = [locales.describe(moment, locale, "Europe/Berlin") for moment in (first, second)]
    (local_1, _, utc_1), (local_2, _, utc_2) = (text.rpartition(" (") for text in told)
    assert local_1 != local_2
    assert utc_1 != utc_2
    assert "3:00" in locales.describe(datetime(2026, 3, 29, 1, tzinfo=UTC), "en", "Europe/Berlin")


def test_seconds_are_told_where_there_are_any() -> None:
    """A deadline is exact; zeros are left out."""
    assert "2:00:07" in locales.describe(MOMENT.replace(second=7), "en", "Europe/Berlin")
    assert "2:00:00" not in locales.describe(MOMENT, "en", "Europe/Berlin")
    assert "9時00分 " in locales.describe(MOMENT, "ja", "Asia/Tokyo")


def test_the_ends_of_the_calendar() -> None:
    """A moment that is beyond the calendar in the reader's zone is told in UTC."""
    assert "Coordinated" in locales.describe(datetime(9999, 12, 31, 23, tzinfo=UTC), "en", "Asia/Tokyo")
