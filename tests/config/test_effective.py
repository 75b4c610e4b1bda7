"""Tests of migrator.config.effective."""

import json

from migrator import config
from migrator.core.settings import Settings


def settings(**sections: dict[str, object]) -> Settings:
    """Valid settings with some of them changed."""
    campaign = {"name": "test", "cutover_at": "2026-05-08T00:00:00Z", **sections.pop("campaign", {})}
    source = {"url": "sqlite:///store.db", **sections.pop("source", {})}
    return Settings.model_validate({"campaign": campaign, "source": source, **sections})


def test_passwords_are_redacted_and_references_are_shown() -> None:
    """What is shown says where a secret comes from, and never the secret."""
    shown = config.effective(
        settings(source={"url": "postgresql://a:hunter2@db/x"}, database={"url": "env:MIGRATOR_DB"})
    )
    assert shown["source"]["url"] == "postgresql://a:[redacted]@db/x"
    assert shown["database"]["url"] == "env:MIGRATOR_DB"
    assert "hunter2" not in json.dumps(shown)


def test_the_same_settings_have_the_same_digest() -> None:
    """Written in another time zone or left to the default: it is what is in force that counts."""
    other = settings(campaign={"cutover_at": "2026-05-08T02:00:00+02:00"}, execution={"workers": 0})
    assert config.digest(settings()) == config.digest(other)


def test_any_changed_setting_changes_the_digest() -> None:
    """A plan is bound to all of them."""
    changed = [
        settings(campaign={"notice_period_days": 55}),
        settings(authorization={"quorum": "owner"}),
        settings(execution={"max_gap_fraction": 0.051}),
        settings(keys={"regions": {"EU": "local:eu"}}),
    ]
    assert len({config.digest(s) for s in [settings(), *changed]}) == len(changed) + 1


def test_the_digest_does_not_depend_on_passwords() -> None:
    """A plan outlives a rotation, and its digest is no help in guessing."""
    first, second = (settings(source={"url": f"postgresql://a:{word}@db/x"}) for word in ("one", "two"))
    assert config.digest(first) == config.digest(second)


def test_what_a_homeserver_opens_is_a_rule() -> None:
    """A rehearsal under another domain, or another policy for vanished devices, rehearses something else."""
    given = {"kind": "synapse", "local_domain": "a.org"}
    found = [given, {**given, "local_domain": "b.org"}, {**given, "unverifiable_senders": "gap"}]
    assert len({config.rules_digest(settings(source=dict(source))) for source in found}) == len(found)
    assert config.rules_digest(settings(source=dict(given))) == config.rules_digest(
        settings(source={**given, "legal_holds": "elsewhere", "url": "sqlite:///copy.db"})
    )
