"""What the words of a notice must not do: promote, link, name dates by hand. Line by line, in any language.

A notice of service stays one only while it is neutral: a word of promotion makes it advertising (for example the UK
Information Commissioner's guidance on direct marketing). The phrases are those that such texts are written with; who
reviews a template still reads it.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Rule(StrEnum):
    """Why a template is refused."""

    TEMPLATE = "template"
    PROMOTION = "promotion"
    TRACKING = "tracking"
    LOGIN_LINK = "login_link"
    LINK = "link"
    SCRIPT = "script"
    MARKUP = "markup"
    DEFAULT_OUTCOME = "default_outcome"
    SECTION = "section"
    DEADLINE = "deadline"
    FIXED_DATE = "fixed_date"
    PLURAL = "plural"
    LANGUAGE = "language"


@dataclass(frozen=True, slots=True)
class Fault:
    """One reason, in one line of the file (0: of the template as a whole)."""

    line: int
    rule: Rule
    reason: str


_PHRASES: Final = {
    "en": r"try (our|the new)|upgrade|premium|discount|[0-9]+ ?% off|special offer|free trial|exciting|excited to"
    r"|great news|don.t miss|best.in.class|award.winning|subscribe|sign up (now|today)|download (our|the new) app"
    r"|recommend(s|ed)?|we think you.ll love|hurry|act now|limited time|check out",
    "de": r"jetzt (testen|ausprobieren|sichern|upgraden)|upgrade|premium|rabatt|sonderangebot|kostenlos testen|spannend"
    r"|tolle neuigkeiten|verpassen sie nicht|abonnieren|empfehlen wir|wir freuen uns|nur für kurze zeit|entdecken sie",
    "fr": r"essayez (notre|le nouveau|la nouvelle)|premium|remise|offre spéciale|essai gratuit|bonne nouvelle"
    r"|ne manquez pas|abonnez-vous|nous recommandons|nous sommes ravis|durée limitée|découvrez",
    "es": r"prueb[ae] (nuestr|el nuevo|la nueva)|premium|descuento|oferta especial|prueba gratuita|buenas noticias"
    r"|no te (lo )?pierdas|no se (lo )?pierda|suscríb(ete|ase)|recomendamos|nos complace|tiempo limitado|descubr[ae] ",
    "pt": r"experimente (o|a) (nosso|nossa|novo|nova)|premium|desconto|oferta especial|teste grátis|ótimas notícias"
    r"|não perca|assine (já|agora)|recomendamos|temos o prazer|tempo limitado|descubra ",
    "ja": r"お試しください|アップグレード|プレミアム|割引|キャンペーン中|無料体験|お得|お見逃しなく|おすすめ|今すぐ登録"
    r"|期間限定|ご好評",
    "hi": r"आज़माएँ|आज़माएं|अपग्रेड|प्रीमियम|छूट पाएँ|छूट पाएं|विशेष ऑफ़र|विशेष ऑफर|मुफ़्त ट्रायल|खुशखबरी|मौका न चूकें"
    r"|सब्सक्राइब|सलाह देते हैं",
    "ar": r"جرّب|جرب (تطبيق|خدمت)|ترقية|بريميوم|خصم|عرض خاص|تجربة مجانية|أخبار رائعة|لا تفوّت|لا تفوت|اشترك الآن|نوصي"
    r"|يسعدنا|لفترة محدودة",
}
_COMPILED: Final = {
    language: re.compile(rf"(?<!\w)(?:{phrases})" if language not in ("ja", "hi", "ar") else phrases, re.IGNORECASE)
    for language, phrases in _PHRASES.items()
}
_ADDRESS: Final = re.compile(
    r"(?:[a-z][a-z0-9+.-]{0,20}:)?//\S+|\bwww\.\S+|\b(?:mailto|tel|javascript|data):\S+"
    r"|\b[\w-]{1,63}\.[a-z]{2,24}/\S*",
    re.IGNORECASE,
)
_HELP: Final = re.compile(r"\{\{-?\s*help_url\s*-?\}\}(?P<rest>[?&#=/\w]\S*)?")
_TOKEN: Final = re.compile(
    r"[?&#]\S*=|\{\{|(?<![a-z])(token|login|signin|sign-in|auth|session|otp|code)(?![a-z])", re.IGNORECASE
)
_TAG: Final = re.compile(r"<\s{0,9}/?\s{0,9}([a-z][a-z0-9]*)\b", re.IGNORECASE)
_LOADS: Final = frozenset({"img", "iframe", "link", "object", "embed", "video", "audio", "source", "picture", "svg"})
_ACTS: Final = frozenset({"script", "form", "input", "button", "select", "textarea", "base", "meta"})
_EXCLAMATIONS: Final = frozenset("!\u00a1\uff01")
_YEAR: Final = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_ZONE: Final = re.compile(r"\b(UTC|GMT)\b")


def of_line(text: str, number: int, locale: str) -> Iterator[Fault]:
    """What is wrong with a line of words."""
    yield from _promotion(text, number, locale)
    yield from _links(text, number)
    digits = "".join(str(unicodedata.digit(c)) if c.isdigit() and unicodedata.digit(c, -1) >= 0 else c for c in text)
    if _YEAR.search(digits) or _ZONE.search(text):
        reason = "a date typed in by hand is in one time zone, and stays when the campaign's changes; use a variable"
        yield Fault(number, Rule.FIXED_DATE, reason)


def of_tags(text: str, number: int) -> Iterator[Fault]:
    """Tags in what is plain text."""
    for match in _TAG.finditer(text):
        yield Fault(number, rule_of_tag(match[1]), f"a tag in plain text: <{match[1].lower()}>")


def rule_of_tag(tag: str) -> Rule:
    """What an HTML element that notices have no use for is refused for."""
    if tag.lower() in _LOADS:
        return Rule.TRACKING
    return Rule.SCRIPT if tag.lower() in _ACTS else Rule.MARKUP


def _promotion(text: str, number: int, locale: str) -> Iterator[Fault]:
    language = locale.split("-", maxsplit=1)[0]
    phrases = _COMPILED.get(language)
    match = phrases.search(text) if phrases else None
    if match:
        yield Fault(number, Rule.PROMOTION, f"{match[0].strip()!r} reads like promotion; a notice is neutral")
    words = re.sub(r"\{\{.{0,200}?\}\}|\{%.{0,200}?%\}", "", text)
    if any(c in _EXCLAMATIONS or unicodedata.category(c) == "So" for c in words):
        yield Fault(number, Rule.PROMOTION, "exclamation marks and pictograms have no place in a neutral notice")


def _links(text: str, number: int) -> Iterator[Fault]:
    for match in _HELP.finditer(text):
        if match["rest"]:
            yield Fault(number, Rule.LOGIN_LINK, "something is attached to the address of the help page")
    for match in _ADDRESS.finditer(_HELP.sub("", text)):
        if _TOKEN.search(match[0]):
            reason = "a link with a token, or one of each reader's own: it teaches people to fall for phishing"
            yield Fault(number, Rule.LOGIN_LINK, reason)
        else:
            yield Fault(number, Rule.LINK, "a link; the only address in a notice is {{ help_url }}")
