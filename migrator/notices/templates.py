"""The templates of notices: which there are, which one a reader gets, and what it says.

A template is a file `<notice id>.<version>.<locale>.txt`; its digest is that of its bytes. Rules:

1. An id that the operator's folder (`notify.templates`) has hides the shipped templates of that id altogether.
2. The highest version of an id is the one that is sent, in every locale; older ones are kept for reference.
3. A reader gets the exact locale, else a more general one of the same language, else nothing: no silent English.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Final

from migrator.core.encoding import canonical_json
from migrator.core.errors import ConfigError, UsageError
from migrator.core.model import Account
from migrator.core.settings import Settings
from migrator.notices import language, layout, locales
from migrator.notices.circumstances import Circumstances
from migrator.notices.kinds import NoticeKind
from migrator.notices.values import values

DEFAULT_NOTICE: Final = NoticeKind.FIRST.value
NOTHING_KNOWN: Final = Circumstances()
MAX_TEMPLATES: Final = 2000
_FILE: Final = re.compile(
    r"(?P<notice>[a-z0-9][a-z0-9_-]{0,63})\.(?P<version>[1-9][0-9]{0,8})\.(?P<locale>[^.]+)\.txt\Z"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One notice in one version and language. `sha256` is what authorisations name; `file` is where it was found."""

    notice_id: str
    version: str
    locale: str
    sha256: str
    source: bytes
    file: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """What no two templates share."""
        return self.notice_id, self.version, self.locale

    @property
    def own_values(self) -> dict[str, language.Value]:
        """What a notice can say of itself."""
        return {
            "notice_id": self.notice_id,
            "version": self.version,
            "locale": self.locale,
            "template_sha256": self.sha256,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A notice as its reader sees it; `sha256` is the digest of subject, text and HTML as canonical JSON (RFC 8785)."""

    template: Template
    subject: str
    body: str
    html: str
    sha256: str


def catalogue(settings: Settings, directory: Path) -> list[Template]:
    """Every template, checked, in order of id, version and locale. Raises `ConfigError` naming the file at fault."""
    templates = found(settings, directory)
    for template in templates:
        checked(template)
    return templates


def found(settings: Settings, directory: Path) -> list[Template]:
    """Every template as it stands in its file. Raises `ConfigError` for files that are no templates by name or kind."""
    shipped = _read(Path(str(resources.files("migrator.notices") / "shipped")))
    own = _read(directory / settings.notify.templates) if settings.notify.templates else []
    overridden = {template.notice_id for template in own}
    every = [*own, *(template for template in shipped if template.notice_id not in overridden)]
    return sorted(every, key=lambda t: (t.notice_id, int(t.version), t.locale))


def current(templates: Iterable[Template], notice_id: str) -> dict[str, Template]:
    """The templates of a notice's highest version, by locale. Raises `UsageError` if there is no such notice."""
    of_notice = [template for template in templates if template.notice_id == notice_id]
    if not of_notice:
        raise UsageError(f"there is no notice {notice_id!r}", hint="`migrator notify templates` lists them")
    newest = max(int(template.version) for template in of_notice)
    return {template.locale: template for template in of_notice if int(template.version) == newest}


def untranslated(templates: Sequence[Template]) -> list[tuple[str, str]]:
    """Notices (by id) that lack a language (second) which the first notice has: its readers would be told half."""
    newest = {kind: current(templates, kind.value) for kind in NoticeKind}
    languages = sorted(newest[NoticeKind.FIRST])
    return [(kind.value, locale) for kind in NoticeKind for locale in languages if locale not in newest[kind]]


def save_next(templates: Mapping[str, Template], folder: Path) -> list[Path]:
    """Copy a notice's templates into a folder under the next version number, to be changed there.

    A text that was sent never changes: who wants other words makes a version. Raises `UsageError`; overwrites nothing.
    """
    copies = {
        folder / f"{template.notice_id}.{int(template.version) + 1}.{template.locale}.txt": template.source
        for template in templates.values()
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = [path for path in copies if path.exists()]
        if there:
            raise UsageError(f"{there[0]} is there already", hint="change that one, or name another folder")
        for path, source in copies.items():
            path.write_bytes(source)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise UsageError(f"{folder} can't be written: {reason}", hint="name a place that is yours to write") from None
    return sorted(copies)


def wanted_locale(account: Account, settings: Settings) -> str | None:
    """The locale that a reader asks for; None for one that is no locale."""
    return locales.normalise(account.locale or settings.notify.default_locale)


def for_reader(available: Mapping[str, Template], wanted: str | None) -> Template | None:
    """The template for a reader's locale; None if there is none in that language."""
    found = None if wanted is None else locales.best(wanted, available)
    return None if found is None else available[found]


def render(
    template: Template, account: Account, settings: Settings, now: datetime, case: Circumstances = NOTHING_KNOWN
) -> Rendered:
    """What the account reads if the notice is sent at `now`. Raises `ConfigError`."""
    filled = checked(template).render(values(account, settings, template.locale, now, case) | template.own_values)
    shown = layout.sections(filled.body)
    text = layout.as_text(shown, template.locale)
    html = layout.as_html(filled.subject, shown, template.locale) if filled.html is None else filled.html
    digest = hashlib.sha256(canonical_json([filled.subject, text, html])).hexdigest()
    return Rendered(template=template, subject=filled.subject, body=text, html=html, sha256=digest)


def checked(template: Template) -> language.CheckedTemplate:
    """The template, read. Raises `ConfigError` naming file and line."""
    return _checked(template.source, template.file)


@lru_cache(maxsize=256)
def _checked(source: bytes, file: str) -> language.CheckedTemplate:
    return language.check(source, file)


def _read(folder: Path) -> list[Template]:
    """The `.txt` files of a folder; other files, hidden ones and folders are none of ours."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".txt" and path.name[0] != ".")
        if len(paths) > MAX_TEMPLATES:
            raise ConfigError(f"{folder} has over {MAX_TEMPLATES} templates")
        found = [_template(path) for path in paths]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ConfigError(f"notify.templates: {folder} can't be read: {reason}") from None
    seen: dict[tuple[str, str, str], str] = {}
    for template in found:
        other = seen.setdefault(template.identity, template.file)
        if other != template.file:
            raise ConfigError(f"{other} and {template.file} are the same template", hint="remove one of them")
    return found


def _template(path: Path) -> Template:
    match = _FILE.match(path.name)
    locale = None if match is None else locales.normalise(match["locale"])
    if match is None or locale is None or not locales.is_known(locale):
        raise ConfigError(
            f"{path} is not named like a template",
            hint="<notice id>.<version>.<locale>.txt, for example cutover.2.pt-BR.txt",
        )
    if not path.is_file():
        raise ConfigError(f"{path} is not a regular file")
    if not path.resolve().is_relative_to(path.parent.resolve()):
        raise ConfigError(f"{path} is a link to a file outside its folder", hint="put the file itself there")
    with path.open("rb") as file:
        source = file.read(language.MAX_TEMPLATE_BYTES + 1)
    return Template(
        notice_id=match["notice"],
        version=match["version"],
        locale=locale,
        sha256=hashlib.sha256(source).hexdigest(),
        source=source,
        file=str(path),
    )
