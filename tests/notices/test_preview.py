"""Looking at notices before they go out."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from migrator.core.errors import UsageError
from migrator.core.policy import Answer
from migrator.notices import preview
from migrator.notices.kinds import Audience, NoticeKind
from migrator.notices.templates import Rendered
from tests.notices.support import NOW, account_row, make_spec, notice_rows, opened


def _preview(folder: Path, locale: str | None, timezone: str | None = None, notice_id: str = "cutover") -> Rendered:
    settings = make_spec(folder).settings
    return preview.preview(settings, folder, preview.reader(locale, timezone), now=NOW, notice_id=notice_id)


def test_a_made_up_reader(tmp_path: Path) -> None:
    """What a reader of that locale and zone would get; without a locale, of the default one."""
    rendered = _preview(tmp_path, "de-CH", "Europe/Zurich")
    assert rendered.template.locale == "de"
    assert "Mitteleuropäische Sommerzeit" in rendered.body
    assert _preview(tmp_path, None).template.locale == "en"


@pytest.mark.parametrize(
    ("locale", "timezone", "notice_id"),
    [("sv", None, "cutover"), ("en", "X", "cutover"), ("en", None, "other"), ("%%", None, "cutover")],
)
def test_what_there_is_not(tmp_path: Path, locale: str, timezone: str | None, notice_id: str) -> None:
    """An unknown locale, zone or notice is said to be one."""
    with pytest.raises(UsageError):
        _preview(tmp_path, locale, timezone, notice_id)


@pytest.mark.parametrize("kind", list(NoticeKind))
@pytest.mark.parametrize("audience", list(Audience))
@pytest.mark.parametrize("answer", list(Answer))
def test_the_example_has_all_that_a_notice_shows(
    tmp_path: Path, kind: NoticeKind, audience: Audience, answer: Answer
) -> None:
    """Every notice can be looked at for every audience and answer."""
    settings = make_spec(tmp_path).settings
    case = preview.example(NOW, audience, answer)
    reader = preview.reader("ar", "Asia/Riyadh")
    assert preview.preview(settings, tmp_path, reader, now=NOW, notice_id=kind.value, case=case).body


def test_a_reminder_is_shown_as_to_somebody_who_was_told_in_time(tmp_path: Path) -> None:
    """Nothing opens before the cutover then; the first notice counts from when it is sent."""
    settings = make_spec(tmp_path).settings
    late = settings.campaign.cutover_at - timedelta(days=7)
    shown = {
        notice_id: preview.preview(settings, tmp_path, preview.reader("en"), now=late, notice_id=notice_id).body
        for notice_id in ("cutover", "reminder")
    }
    assert "opened before: Friday, May 8, 2026" in shown["reminder"]
    assert "opened before: Friday, June 26, 2026" in shown["cutover"]


def test_an_account_of_the_source(tmp_path: Path) -> None:
    """Its own locale, zone and age count; nothing is recorded or published."""
    rows = [account_row("ana", locale="ja-JP", timezone="Asia/Tokyo", age_band="minor")]
    with opened(tmp_path, rows) as campaign:
        account = preview.account(campaign, "ana")
        rendered = preview.preview(campaign.settings, tmp_path, account, now=NOW)
        assert notice_rows(campaign) == {}
        with pytest.raises(UsageError, match="no account"):
            preview.account(campaign, "nobody")
    assert rendered.template.locale == "ja"
    assert "日本標準時" in rendered.body
    assert "保護者の方と一緒に" in rendered.body


def test_html_for_a_browser(tmp_path: Path) -> None:
    """Written for its owner only, over what was there; a place that can't be written is an error of the call."""
    path = tmp_path / "notice.html"
    path.write_text("old")
    rendered = _preview(tmp_path, "hi")
    preview.write_html(rendered, path)
    assert path.read_text(encoding="utf-8") == rendered.html
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for place in (tmp_path / "notice.html" / "x", Path("nul\0")):
        with pytest.raises(UsageError, match="can't be written"):
            preview.write_html(rendered, place)
