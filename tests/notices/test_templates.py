"""The catalogue of templates, who reads which, and what the shipped ones say."""

import hashlib
import re
from datetime import timedelta
from pathlib import Path

import pytest
import rfc8785

from migrator.core.errors import ConfigError, UsageError
from migrator.core.model import Account, AccountStatus, Quorum
from migrator.core.policy import Answer
from migrator.core.settings import Settings
from migrator.notices import language, locales, markup, preview, templates, values
from migrator.notices.circumstances import Circumstances
from migrator.notices.kinds import Audience, NoticeKind
from tests.notices.support import NOW, PLAIN, make_spec, own_templates

SHIPPED = {"en", "de", "fr", "es", "pt", "ja", "hi", "ar"}


def _settings(folder: Path, **notify: object) -> Settings:
    return make_spec(folder, notify=dict(notify)).settings


def _account(**values: object) -> Account:
    given: dict[str, object] = {"account_id": "a", "status": AccountStatus.ACTIVE, "timezone": "Asia/Tokyo"}
    return Account(**(given | values))  # type: ignore[arg-type]


def _words(text: str) -> list[str]:
    """Words without what only one of text and HTML has around them."""
    return re.sub(r"[\u2068\u2069]|^== | ==$|^- ", "", text, flags=re.MULTILINE).split()


def test_the_catalogue_lists_what_is_shipped(tmp_path: Path) -> None:
    """Every kind in eight languages; the digest is that of the file's bytes."""
    found = templates.catalogue(_settings(tmp_path), tmp_path)
    assert {(t.notice_id, t.locale) for t in found} == {
        (kind.value, locale) for kind in NoticeKind for locale in SHIPPED
    }
    assert {t.version for t in found if t.notice_id == NoticeKind.FIRST} == {"2"}
    for template in found:
        assert template.sha256 == hashlib.sha256(Path(template.file).read_bytes()).hexdigest()


@pytest.mark.parametrize("locale", sorted(SHIPPED))
@pytest.mark.parametrize("kind", list(NoticeKind))
def test_what_is_shipped_renders_for_every_reader(tmp_path: Path, locale: str, kind: NoticeKind) -> None:
    """Each date in both zones; no link but the operator's, no template marks; text and HTML have the same words."""
    for audience, quorum, answer in zip(Audience, Quorum, Answer, strict=True):
        settings = make_spec(tmp_path, authorization={"quorum": quorum.value}).settings
        template = templates.current(templates.catalogue(settings, tmp_path), kind.value)[locale]
        case = preview.example(NOW, audience, answer)
        rendered = templates.render(template, _account(locale=locale), settings, NOW, case)
        moments = set(re.findall(r"{{ (\w+) }}", template.source.decode())) & values.MOMENTS
        assert rendered.body.count(" UTC)") >= len(moments - {"valid_until"})
        assert template.sha256 in rendered.body
        assert "://" not in rendered.body
        assert not {"{", "}", "%"}.intersection(rendered.body)
        assert "\n\n\n" not in rendered.body
        page = markup.check(rendered.html, locale)
        assert (page.language, page.direction) == (locale, "rtl" if locale == "ar" else "ltr")
        shown = "".join(page.words).split()
        title = rendered.subject.split()
        body = shown[shown.index(title[-1]) + 1 :]
        assert body == [*title, *_words(rendered.body)]


@pytest.mark.parametrize("locale", sorted(SHIPPED))
@pytest.mark.parametrize("kind", list(NoticeKind))
def test_languages_say_the_same(tmp_path: Path, locale: str, kind: NoticeKind) -> None:
    """Every language has the same variables, sections, lists and branches as the English text, plural forms apart."""
    found = templates.current(templates.catalogue(_settings(tmp_path), tmp_path), kind.value)

    def shape(template: templates.Template) -> list[str]:
        text = re.sub(r"{%[^%]*_form == [^%]*%}(.*?){% endif %}", "plural", template.source.decode(), flags=re.DOTALL)
        marks = re.findall(r"\[[a-z]+\]$|^- |^{%.*%}$", text, re.MULTILINE)
        return [mark for mark in marks if mark != "plural"]

    def variables(template: templates.Template) -> set[str]:
        return set(templates.checked(template).names) - {f"{name}_form" for name in language.COUNTS}

    assert variables(found[locale]) == variables(found["en"])
    assert shape(found[locale]) == shape(found["en"])


@pytest.mark.parametrize("locale", sorted(SHIPPED))
def test_sections_that_say_the_same_have_the_same_words(tmp_path: Path, locale: str) -> None:
    """A translator who mends one of them in one notice has to mend it in the others."""
    sections: dict[str, set[str]] = {}
    for kind in NoticeKind:
        text = templates.current(templates.catalogue(_settings(tmp_path), tmp_path), kind.value)[locale].source.decode()
        for heading, words in re.findall(r"^# (.*)\n((?:(?!^# ).*\n)*)", text, re.MULTILINE):
            if heading.endswith(("[genuine]", "[about]")):
                sections.setdefault(heading, set()).add(words.strip())
    assert [len(words) for words in sections.values()] == [1, 1]


@pytest.mark.parametrize(
    ("days", "form"), [(1, "يوم واحد"), (2, "يومان"), (5, "5⁩ أيام"), (11, "11⁩ يومًا"), (100, "100⁩ يوم")]
)
def test_plurals_are_those_of_the_language(tmp_path: Path, days: int, form: str) -> None:
    """Arabic counts days in six ways (CLDR)."""
    settings = _settings(tmp_path)
    template = templates.current(templates.catalogue(settings, tmp_path), NoticeKind.REMINDER.value)["ar"]
    now = settings.campaign.cutover_at - timedelta(days=days)
    assert form in templates.render(template, _account(timezone=None), settings, now).body


def test_variants_differ(tmp_path: Path) -> None:
    """Audiences and quorums read different texts; the digest of what was shown tells them apart."""
    digests = set()
    for quorum in Quorum:
        for audience in Audience:
            settings = make_spec(tmp_path, authorization={"quorum": quorum.value}).settings
            template = templates.current(templates.catalogue(settings, tmp_path), "cutover")["de"]
            case = Circumstances(audience=audience)
            digests.add(templates.render(template, _account(), settings, NOW, case).sha256)
    assert len(digests) == 9


def test_a_minors_account_reads_the_minors_words(tmp_path: Path) -> None:
    """Unless told otherwise, the audience follows from the account."""
    settings = _settings(tmp_path)
    template = templates.current(templates.catalogue(settings, tmp_path), "cutover")["en"]
    assert "together with your guardian" in templates.render(template, _account(minor=True), settings, NOW).body
    assert "together with your guardian" not in templates.render(template, _account(), settings, NOW).body


def test_the_digest_covers_subject_text_and_html(tmp_path: Path) -> None:
    """What was shown, in which words: canonical JSON of the three."""
    settings = _settings(tmp_path)
    template = templates.current(templates.catalogue(settings, tmp_path), "done")["ja"]
    rendered = templates.render(template, _account(), settings, NOW, preview.example(NOW))
    shown = rfc8785.dumps([rendered.subject, rendered.body, rendered.html])
    assert rendered.sha256 == hashlib.sha256(shown).hexdigest()


def test_html_of_the_operators_own(tmp_path: Path) -> None:
    """What follows `<!doctype html>` is the HTML; values in it are escaped, and the digest covers it."""
    page = (
        "<!doctype html>\n<html lang='en' dir='ltr'><body><p>{{ platform }} till {{ sealed_until }}</p></body></html>"
    )
    notify = own_templates(tmp_path, cutover_9_en=PLAIN + page)
    settings = _settings(tmp_path, platform="A & <B>", **notify)
    template = templates.current(templates.catalogue(settings, tmp_path), "cutover")["en"]
    rendered = templates.render(template, _account(), settings, NOW)
    assert "<p>A &amp; &lt;B&gt; till " in rendered.html
    assert "A & <B>" in rendered.subject
    assert "<" not in rendered.body
    assert (
        rendered.sha256 == hashlib.sha256(rfc8785.dumps([rendered.subject, rendered.body, rendered.html])).hexdigest()
    )


def test_dates_follow_the_campaign(tmp_path: Path) -> None:
    """Nothing is opened before the cutover, nor before the notice period has run since the first notice."""
    template = templates.Template(
        notice_id="n", version="1", locale="en", sha256="", source=b"Subject: S\n\n{{ opens_at }}|{{ sealed_until }}",
        file="f",
    )  # fmt: skip
    spec = make_spec(tmp_path, campaign={"notice_period_days": 100, "sealed_grace_days": 10})
    body = templates.render(template, _account(timezone=None), spec.settings, NOW).body.strip()
    opens_at, sealed_until = body.split("|")
    assert opens_at == locales.describe(NOW.replace(month=6, day=9, minute=0, second=0, microsecond=0), "en", None)
    assert sealed_until == opens_at  # the grace days would end earlier
    later = NOW + timedelta(days=40)
    case = Circumstances(first_noticed_at=NOW)
    assert templates.render(template, _account(timezone=None), spec.settings, later, case).body.strip() == body
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
    assert [t.identity for t in found if t.notice_id == "cutover"] == [("cutover", "7", "de")]
    assert [t.identity for t in found if t.notice_id == "extra"] == [("extra", "1", "en")]


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


def test_a_link_may_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    """A template that is another file's content would mail that file to everybody; links within are for mounts."""
    notify = own_templates(tmp_path)
    (tmp_path / "secret").write_text(PLAIN)
    (tmp_path / "notices" / ".mounted").write_text(PLAIN)
    link = tmp_path / "notices" / "cutover.3.en.txt"
    link.symlink_to(".mounted")
    found = templates.current(templates.catalogue(_settings(tmp_path, **notify), tmp_path), "cutover")
    assert found["en"].source == PLAIN.encode()
    link.unlink()
    link.symlink_to("../secret")
    with pytest.raises(ConfigError, match="outside its folder"):
        templates.catalogue(_settings(tmp_path, **notify), tmp_path)


def test_copies_are_the_next_version(tmp_path: Path) -> None:
    """In every language, byte for byte, under the next number; what is there is not written over."""
    settings = _settings(tmp_path)
    current = templates.current(templates.catalogue(settings, tmp_path), "correction")
    saved = templates.save_next(current, tmp_path / "notices")
    assert [path.name for path in saved] == [f"correction.2.{locale}.txt" for locale in sorted(SHIPPED)]
    found = templates.current(templates.catalogue(_settings(tmp_path, templates="notices"), tmp_path), "correction")
    assert {t.version for t in found.values()} == {"2"}
    assert {locale: t.source for locale, t in found.items()} == {locale: t.source for locale, t in current.items()}
    (tmp_path / "notices" / "correction.2.ar.txt").unlink()
    with pytest.raises(UsageError, match="there already"):
        templates.save_next(current, tmp_path / "notices")
    assert not (tmp_path / "notices" / "correction.2.ar.txt").exists()
    with pytest.raises(UsageError, match="can't be written"):
        templates.save_next(current, tmp_path / "notices" / "correction.2.en.txt")


def test_languages_that_are_not_complete(tmp_path: Path) -> None:
    """A language of the first notice that another notice lacks; what is shipped lacks none."""
    assert templates.untranslated(templates.catalogue(_settings(tmp_path), tmp_path)) == []
    notify = own_templates(tmp_path, cutover_3_en=PLAIN, cutover_3_sv=PLAIN, done_2_en=PLAIN, done_2_sv=PLAIN)
    missing = templates.untranslated(templates.catalogue(_settings(tmp_path, **notify), tmp_path))
    assert missing == [(kind.value, "sv") for kind in NoticeKind if kind not in ("cutover", "done")]
