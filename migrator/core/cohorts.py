"""Cohorts: the part of a population that a plan is for, and limits on how much of it one plan takes up.

A cohort is a name in the configuration and one rule:

- `1%`: a share of all threads. A thread's place is drawn by a keyed hash, so the same threads are in it each time,
  1 % lies inside 10 %, and nobody without the campaign's key can tell who is in it;
- `region:EU`, `locale:de`: threads whose every participant lives there or reads that language (`de` has `de-AT` in it:
  basic filtering, RFC 4647, section 3.3.1);
- `file:staff.txt`: threads whose every participant's account stands in a file.

Whoever is outside a cohort is not touched by it: that is why all participants count, and why all copies of a thread are
in it or none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from migrator.core.limits import LIMITS
from migrator.core.model import Account

NAME_RULE: Final = "a cohort's name has 1 to 64 of a-z, 0-9, '_' and '-', and begins with a letter or digit"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")
_PERCENTAGE: Final = re.compile(r"(\d{1,3})(?:\.(\d{1,4}))?%\Z", re.ASCII)
_COUNT: Final = re.compile(r"\d{1,15}\Z", re.ASCII)
_WHOLE: Final = 1_000_000
_MOST_TEXT: Final = 1000


class CohortKind(StrEnum):
    """What a rule looks at."""

    SHARE = "share"
    REGION = "region"
    LOCALE = "locale"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A cohort's rule; `text` as the configuration has it, `value` without its kind."""

    kind: CohortKind
    text: str
    value: str
    millionths: int = _WHOLE
    """Of a share."""

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """`1%`, `region:EU`, `locale:de` or `file:staff.txt`; `ValueError` for anything else."""
        if text.endswith("%") and ":" not in text:
            return cls(kind=CohortKind.SHARE, text=text, value=text, millionths=_millionths(text))
        kind, separator, value = text.partition(":")
        if separator and kind in (CohortKind.REGION, CohortKind.LOCALE, CohortKind.FILE):
            if not value or value != value.strip() or not value.isprintable() or len(value) > _MOST_TEXT:
                raise ValueError(f"{kind}: needs a plain word behind it, without spaces around it")
            return cls(kind=CohortKind(kind), text=text, value=value)
        raise ValueError('a cohort is "1%", "region:EU", "locale:de" or "file:staff.txt"')

    def has_place(self, fraction: float) -> bool:
        """Whether a share has a thread with a place from 0 up to 1."""
        return fraction * _WHOLE < self.millionths

    def has_account(self, account: Account) -> bool:
        """Whether an account is of the region or language."""
        match self.kind:
            case CohortKind.REGION:
                return account.region == self.value
            case CohortKind.LOCALE:
                return account.locale is not None and _in_range(account.locale, self.value)
            case CohortKind.SHARE | CohortKind.FILE:
                raise ValueError("this rule does not look at accounts")
            case _:
                assert_never(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How many conversations a plan takes up at most; `text` as it was given."""

    text: str
    count: int | None = None
    millionths: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """`25` or `1%`, above 0; `ValueError` for anything else."""
        if text.endswith("%"):
            return cls(text=text, millionths=_millionths(text))
        if not _COUNT.match(text) or not int(text):
            raise ValueError("a limit is a number like 25 or a percentage like 1%, above 0")
        return cls(text=text, count=int(text))

    def of(self, total: int) -> int:
        """How many of `total` that is; a percentage of something is at least one."""
        if self.count is not None:
            return min(self.count, total)
        return -(-total * (self.millionths or 0) // _WHOLE)


def require_name(name: str) -> str:
    """The name, if it may be one; `ValueError`."""
    if not _NAME.match(name):
        raise ValueError(NAME_RULE)
    return name


def members_of(data: bytes) -> list[str]:
    """The account ids in a cohort's file: one a line, UTF-8, each once, in order; `ValueError` names the line.

    Blank lines and CRLF are fine; a BOM, spaces around an id and control characters are mistakes.
    """
    if len(data) > LIMITS.cohort_file_bytes:
        raise ValueError(f"it has more than {LIMITS.cohort_file_bytes:,} bytes")
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise ValueError(f"line {number} is not UTF-8") from None
    found = dict.fromkeys(_ids(lines))
    if not found:
        raise ValueError("it names nobody")
    if len(found) > LIMITS.cohort_members:
        raise ValueError(f"it names more than {LIMITS.cohort_members:,} accounts: take a share or a region")
    return list(found)


def _ids(lines: list[str]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        identifier = line.removesuffix("\r")
        if not identifier:
            continue
        if identifier != identifier.strip() or not identifier.isprintable():
            raise ValueError(f"line {number} is no account id: it has spaces around it, or characters that don't print")
        if len(identifier.encode()) > LIMITS.identifier_bytes:
            raise ValueError(f"line {number} is too long for an account id")
        yield identifier


def _millionths(text: str) -> int:
    match = _PERCENTAGE.match(text)
    found = 0 if match is None else int(match[1]) * 10_000 + int((match[2] or "").ljust(4, "0"))
    if not 0 < found <= _WHOLE:
        raise ValueError("a percentage is above 0 and at most 100%, with up to four decimals")
    return found


def _in_range(locale: str, wanted: str) -> bool:
    """Basic filtering: the same subtags, or more behind them; `_` and case make no difference."""
    tag, language = (text.replace("_", "-").lower() for text in (locale, wanted))
    return tag == language or tag.startswith(f"{language}-")
