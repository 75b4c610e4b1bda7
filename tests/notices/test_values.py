"""The values of a notice's variables."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.model import Account, AccountStatus
from migrator.core.policy import Answer
from migrator.notices import language, values
from migrator.notices.circumstances import Circumstances, RecordedAnswer
from migrator.notices.kinds import Audience
from tests.notices.support import NOW, make_spec

SETTINGS = make_spec(Path("campaign")).settings
CUTOVER = SETTINGS.campaign.cutover_at
ZONES = [
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
]


def _account(timezone: str | None = None, *, minor: bool = False) -> Account:
    return Account(account_id="a", status=AccountStatus.ACTIVE, timezone=timezone, minor=minor)


def _values(timezone: str | None, now: datetime, **case: object) -> dict[str, language.Value]:
    return values.values(_account(timezone), SETTINGS, "en", now, Circumstances(**case))  # type: ignore[arg-type]


def test_every_variable_has_a_value() -> None:
    """The values are those that templates may name, but for what a template says of itself."""
    own = {"notice_id", "version", "locale", "template_sha256"}
    assert set(_values(None, NOW)) == language.VARIABLES - own


@given(st.sampled_from(ZONES), st.integers(0, 100 * 24 * 60))
def test_days_left_are_nights_of_the_reader(timezone: str, minutes: int) -> None:
    """The difference of the dates on the reader's calendar, whatever clocks do in between; 0 once it is past."""
    now = CUTOVER - timedelta(minutes=minutes)
    zone = ZoneInfo(timezone)
    expected = (CUTOVER.astimezone(zone).date() - now.astimezone(zone).date()).days
    assert _values(timezone, now)["days_left"] == str(expected)
    assert _values(timezone, CUTOVER + timedelta(days=1, minutes=minutes))["days_left"] == "0"


@pytest.mark.parametrize(
    ("locale", "forms"),
    [("en", {"one", "other"}), ("ja", {"other"}), ("fr", {"one", "many", "other"}),
     ("ar", {"zero", "one", "two", "few", "many", "other"})],
)  # fmt: skip
def test_plural_forms(locale: str, forms: set[str]) -> None:
    """CLDR's categories."""
    assert values.plural_forms(locale) == forms


def test_numbers_and_their_forms() -> None:
    """Numbers are written in the language; 0 and what is not known are not spoken of."""
    found = _values(None, NOW, moved=1, sealed=12345, destroyed=0)
    assert (found["moved"], found["moved_form"]) == ("1", "one")
    assert (found["sealed"], found["sealed_form"]) == ("12,345", "other")
    assert (found["destroyed"], found["destroyed_form"]) == (None, None)
    nothing = _values(None, NOW, moved=0, sealed=0)
    assert {nothing[f"{name}{end}"] for name in ("moved", "sealed", "destroyed") for end in ("", "_form")} == {None}
    german = values.values(_account(), SETTINGS, "de", NOW, Circumstances(sealed=12345))
    assert german["sealed"] == "12.345"


def test_an_answer_is_told_as_recorded() -> None:
    """Decision, scope, number and both times."""
    answer = RecordedAnswer(answer=Answer.REFUSE, recorded_at=NOW, record_id="r1", all_conversations=False)
    found = _values("Asia/Tokyo", NOW, answer=answer)
    assert (found["answer"], found["all_conversations"], found["record_id"]) == ("refuse", False, "r1")
    assert found["valid_until"] is None
    assert "UTC" in str(found["recorded_at"])
    assert _values(None, NOW)["answer"] is None


def test_the_audience() -> None:
    """Given, or following from the account."""
    assert _values(None, NOW, audience=Audience.GUARDIAN)["audience"] == "guardian"
    assert values.values(_account(minor=True), SETTINGS, "en", NOW, Circumstances())["audience"] == "minor"


def test_the_last_day_of_the_calendar() -> None:
    """A cutover that no zone east of Greenwich can write has a number of days all the same."""
    settings = make_spec(
        Path("campaign"),
        campaign={"cutover_at": "9999-12-31T23:00:00Z", "notice_period_days": 0, "sealed_grace_days": 0},
    ).settings
    found = values.values(_account("Asia/Tokyo"), settings, "en", datetime(9999, 12, 30, tzinfo=UTC), Circumstances())
    assert found["days_left"] == "1"
