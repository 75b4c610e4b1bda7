"""What part of the population a plan is for: its cohort, found by name in the settings, and its limit.

A cohort's rule is bound to the plan by the digest of the configuration, a file's accounts by a keyed digest of their
own: an edited cohort makes a plan stale, so that no approval covers more than what was approved.
"""

import hmac
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from migrator.campaign import Campaign
from migrator.config.keys import nearest, show
from migrator.core.cohorts import CohortKind, Limit, Rule, members_of
from migrator.core.errors import ConfigError, PlanError, UsageError
from migrator.core.limits import LIMITS
from migrator.facts import Membership

_PURPOSE: Final = "cohort-file"
_LOOKED_UP: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A cohort by its name with its rule, the accounts of its file, and a limit; None: there is none."""

    name: str | None = None
    rule: Rule | None = None
    accounts: tuple[str, ...] | None = None
    limit: Limit | None = None

    @property
    def whole(self) -> bool:
        """Whether the plan is for everything."""
        return self.rule is None and self.limit is None

    def membership(self, campaign: Campaign) -> Membership | None:
        """Who is in the cohort; None: everybody."""
        if self.rule is None:
            return None
        return Membership(campaign, self.rule, None if self.accounts is None else frozenset(self.accounts))

    def document(self, campaign: Campaign) -> dict[str, object]:
        """The plan file's members `cohort` and `limit`, which a plan for everything does not have."""
        found: dict[str, object] = {}
        if self.rule is not None:
            cohort: dict[str, object] = {"name": self.name, "rule": self.rule.text}
            if self.accounts is not None:
                cohort["accounts"] = len(self.accounts)
                cohort["accounts_hmac"] = _digest(campaign, self.accounts)
            found["cohort"] = cohort
        if self.limit is not None:
            found["limit"] = self.limit.text
        return found


def select(campaign: Campaign, cohort: str | None, limit: str | None) -> Selection:
    """The part that was asked for; `UsageError` for a cohort that is not configured or a limit that is none."""
    try:
        wanted = None if limit is None else Limit.parse(limit)
    except ValueError as error:
        raise UsageError(f"--limit: {error}") from None
    if cohort is None:
        return Selection(limit=wanted)
    known = campaign.settings.cohorts
    if cohort not in known:
        raise UsageError(
            f"there is no cohort {show(cohort)}{nearest(cohort, known)}",
            hint="cohorts stand under [cohorts] in the configuration; `migrator config show` lists them",
        )
    rule = Rule.parse(known[cohort])
    accounts = _accounts(campaign, cohort, rule) if rule.kind is CohortKind.FILE else None
    return Selection(name=cohort, rule=rule, accounts=accounts, limit=wanted)


def rule_of(document: Mapping[str, Any]) -> Rule | None:
    """The rule of a plan's cohort; None where the plan is for everything."""
    if "cohort" not in document:
        return None
    try:
        return Rule.parse(document["cohort"]["rule"])
    except (ValueError, KeyError, TypeError):
        raise PlanError("the plan names no cohort that this migrator knows", hint="make a new plan") from None


def require_unchanged(campaign: Campaign, document: Mapping[str, Any]) -> None:
    """Raise `PlanError` where a cohort's file names other accounts than when the plan was made."""
    rule = rule_of(document)
    if rule is None or rule.kind is not CohortKind.FILE:
        return
    name = document["cohort"]["name"]
    found = _digest(campaign, _read(campaign, name, rule))
    if not hmac.compare_digest(found, str(document["cohort"].get("accounts_hmac"))):
        raise PlanError(
            f"the accounts of cohort {name!r} have changed since the plan was made",
            hint=f"put {rule.value} back as it was, or make a new plan",
        )


def _accounts(campaign: Campaign, name: str, rule: Rule) -> tuple[str, ...]:
    """The accounts of a cohort's file, each of which the source knows."""
    found = _read(campaign, name, rule)
    for start in range(0, len(found), _LOOKED_UP):
        page = found[start : start + _LOOKED_UP]
        known = campaign.store.accounts(page)
        unknown = sum(account_id not in known for account_id in page)
        if unknown:
            first = next(n for n, account_id in enumerate(page, start=start + 1) if account_id not in known)
            raise UsageError(
                f"cohort {name!r}: the source does not know {unknown} of the accounts in {rule.value}, "
                f"the first of them is its {first}. account",
                hint="correct the file: one account id a line, spelled as the source has it",
            )
    return found


def _read(campaign: Campaign, name: str, rule: Rule) -> tuple[str, ...]:
    """In the order of ids, whatever the order of lines."""
    path = campaign.spec.directory / rule.value
    try:
        return tuple(sorted(members_of(_bytes(path))))
    except OSError as error:
        raise ConfigError(f"cohort {name!r}: {path} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"cohort {name!r}: {path}: {error}", hint="one account id a line, in UTF-8") from None


def _bytes(path: Path) -> bytes:
    """Without waiting for a pipe that nobody writes to."""
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a file")
        return file.read(LIMITS.cohort_file_bytes + 1)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _digest(campaign: Campaign, accounts: tuple[str, ...]) -> str:
    """Keyed, as a plan file names nobody, and a plain digest would confirm a guess."""
    return campaign.references.digest(accounts, _PURPOSE)
