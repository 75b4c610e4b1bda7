"""The catalogue of templates, who reads which, and what the shipped ones say."""

import hashlib
from pathlib import Path

import pytest

from migrator.core.errors import ConfigError, UsageError
from migrator.core.model import Account, AccountStatus, Quorum
from migrator.core.settings import Settings
from migrator.notices import language, locales, templates
from tests.notices.support import NOW, PLAIN, make_spec, own_templates

SHIPPED = {"en", "de", "fr", "es", "pt", "ja", "hi", "ar"}


def _settings(folder: Path, **notify: object) -> Settings:
    return make_spec(folder, notify=dict(notify)).settings


def _account(**values: object) -> Account:
    given: dict[str, object] = {"account_id": "a", "status": AccountStatus.ACTIVE, "timezone": "Asia/Tokyo"}
    return Account(**(given | values))  # type: ignore[arg-type]


def test_the_catalogue_lists_what_is_shipped(tmp_path: Path) -> None:
    """`cutover` in eight languages; the digest is that of the file's bytes."""
    found = templates.catalogue(_settings(tmp_path), tmp_path)
    assert {(t.notice_id, t.version) for t in found} == {("cutover", "1")}
    assert {t.locale for t in found} == SHIPPED
    for template in found:
        assert template.sha256 == hashlib.sha256(Path(template.file).read_bytes()).hexdigest()


@pytest.mark.parametrize("locale", sorted(SHIPPED))
@pytest.mark.parametrize("quorum", list(Quorum))
@pytest.mark.parametrize("minor", [False, True])
def test_shipped_notices_say_what_they_must(tmp_path: Path, locale: str, quorum: Quorum, minor: bool) -> None:
    """All three dates in both zones, the digest, no link unless the operator gave an address, no template marks."""
    settings = make_spec(tmp_path, authorization={"quorum": quorum.value}).settings
    template = templates.current(templates.catalogue(settings, tmp_path), "cutover")[locale]
    rendered = templates.render(template, _account(locale=locale, minor=minor), settings, NOW)
    assert rendered.body.count("UTC)") + rendered.body.count("TU)") == 3
    assert template.sha256 in rendered.body
    assert "://" not in rendered.body
    assert not {"{", "}", "%"}.intersection(rendered.body)
    assert "\n\n\n" not in rendered.body


@pytest.mark.parametrize("locale", sorted(SHIPPED))
def test_languages_say_the_same(tmp_path: Path, locale: str) -> None:
    """Every language has the same variables, branches and paragraphs as the English text."""
    found = templates.current(templates.catalogue(_settings(tmp_path), tmp_path), "cutover")

    def shape(text: bytes) -> list[str]:
        marks = [line for line in text.decode().splitlines() if line.startswith("{%") or "{{" in line or not line]
        return [mark if mark.startswith("{%") or not mark else "variable" for mark in marks]

    def variables(text: bytes) -> set[str]:
        return {name for name in language.VARIABLES if f"{{{{ {name} }}}}" in text.decode()}

    assert variables(found[locale].source) == variables(found["en"].source)
    assert [s for s in shape(found[locale].source) if s] == [s for s in shape(found["en"].source) if s]


def test_variants_differ(tmp_path: Path) -> None:
    """Minors and the three quorums read different texts; the digest of what was shown tells them apart."""
    digests = set()
    for quorum in Quorum:
        for minor in (False, True):
            settings = make_spec(tmp_path, authorization={"quorum": quorum.value}).settings
            template = templates.current(templates.catalogue(settings, tmp_path), "cutover")["de"]
            digests.add(templates.render(template, _account(minor=minor), settings, NOW).sha256)
    assert len(digests) == 6


def test_dates_follow_the_campaign(tmp_path: Path) -> None:
    """Nothing is opened before the cutover, nor before the notice period has run for a late notice."""
    template = templates.Template(
        notice_id="n", version="1", locale="en", sha256="", source=b"Subject: S\n\n{{ opens_at }}|{{ sealed_until }}",
        file="f",
    )  # fmt: skip
    spec = make_spec(tmp_path, campaign={"notice_period_days": 100, "sealed_grace_days": 10})
    body = templates.render(template, _account(timezone=None), spec.settings, NOW).body
    opens_at, sealed_until = body.split("|")
    assert opens_at == locales.describe(NOW.replace(month=6, day=9, minute=0, second=0, microsecond=0), "en", None)
    assert sealed_until == opens_at  # the grace days would end earlier
    spec = make_spec(tmp_path, campaign={"notice_period_days": 1, "sealed_grace_days": 10})
    opens_at, sealed_until = templates.render(template, _account(timezone=None), spec.settings, NOW).body.split("|")
    assert "May 8, 2026" in opens_at
    assert "May 18, 2026" in sealed_until


def test_a_date_beyond_the_calendar_is_a_setting_to_mend(tmp_path: Path) -> None:
    """Periods that lead out of the calendar are an error of the configuration."""
    spec = make_spec(tmp_path, campaign={"cutover_at": "9999-12-31T23:00:00Z"})
    template = templates.current(templates.catalogue(spec.settings, tmp_path), "cutover")["en"]
    with pytest.raises(ConfigError, match="9999"):
        templates.render(template, _account(), spec.settings, NOW)


def test_the_operators_folder_hides_shipped_ids(tmp_path: Path) -> None:
    """An id in the folder replaces the shipped texts of that id in every language; other ids are added."""
    notify = own_templates(tmp_path, cutover_7_de=PLAIN, extra_1_en=PLAIN)
    found = templates.catalogue(_settings(tmp_path, **notify), tmp_path)
    assert [t.identity for t in found] == [("cutover", "7", "de"), ("extra", "1", "en")]


def test_the_highest_version_counts(tmp_path: Path) -> None:
    """Versions compare as numbers; a language that the newest one lacks is not filled up from an older one."""
    notify = own_templates(tmp_path, cutover_9_de=PLAIN, cutover_9_fr=PLAIN, cutover_10_de=PLAIN)
    found = templates.current(templates.catalogue(_settings(tmp_path, **notify), tmp_path), "cutover")
    assert {locale: t.version for locale, t in found.items()} == {"de": "10"}


@pytest.mark.parametrize(
    "name", ["cutover.txt", "cutover.1.txt", "cutover.01.en.txt", "cutover.x.en.txt", "Cutover.1.en.txt",
             "cutover.1.xx-y.txt", "cutover.1.qqq.txt", "cutover.1.en.de.txt"],
)  # fmt: skip
def test_misnamed_files_are_errors(tmp_path: Path, name: str) -> None:
    """A slip in a name would silently lose a language, so it is refused and named."""
    notify = own_templates(tmp_path)
    (tmp_path / "notices" / name).write_text(PLAIN)
    with pytest.raises(ConfigError, match=name):
        templates.catalogue(_settings(tmp_path, **notify), tmp_path)


def test_two_spellings_of_a_locale_are_refused(tmp_path: Path) -> None:
    """The same template twice is an error."""
    notify = own_templates(tmp_path)
    for name in ("cutover.1.pt-BR.txt", "cutover.1.pt-br.txt"):
        (tmp_path / "notices" / name).write_text(PLAIN)
    with pytest.raises(ConfigError, match="same template"):
        templates.catalogue(_settings(tmp_path, **notify), tmp_path)


@pytest.mark.parametrize("folder", ["missing", "file", "nul\0"])
def test_a_folder_that_is_none(tmp_path: Path, folder: str) -> None:
    """A setting that names no folder is an error of the configuration."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"notify\.templates"):
        templates.catalogue(_settings(tmp_path, templates=folder), tmp_path)


@pytest.mark.parametrize(
    ("wanted", "default", "expected"),
    [("de-AT", "en", "de"), (None, "fr", "fr"), ("", "fr", "fr"), ("sv", "en", None), ("%%", "en", None),
     (None, "sv", None)],
)  # fmt: skip
def test_who_reads_what(tmp_path: Path, wanted: str | None, default: str, expected: str | None) -> None:
    """The account's language, the default only where it names none; another language is never slipped in."""
    settings = _settings(tmp_path, default_locale=default)
    available = templates.current(templates.catalogue(settings, tmp_path), "cutover")
    found = templates.for_reader(available, templates.wanted_locale(_account(locale=wanted), settings))
    assert (found.locale if found else None) == expected


def test_preview(tmp_path: Path) -> None:
    """A preview is what the reader of that locale and zone would get."""
    rendered = templates.preview(_settings(tmp_path), tmp_path, locale="de-CH", now=NOW, timezone="Europe/Zurich")
    assert rendered.template.locale == "de"
    assert "Mitteleuropäische Sommerzeit" in rendered.body


@pytest.mark.parametrize(
    ("locale", "timezone", "notice_id"),
    [("sv", None, "cutover"), ("en", "X", "cutover"), ("en", None, "other")],
)
def test_preview_of_what_there_is_not(tmp_path: Path, locale: str, timezone: str | None, notice_id: str) -> None:
    """An unknown locale, zone or notice is said to be one."""
    settings = _settings(tmp_path)
    with pytest.raises(UsageError):
        templates.preview(settings, tmp_path, locale=locale, now=NOW, notice_id=notice_id, timezone=timezone)
