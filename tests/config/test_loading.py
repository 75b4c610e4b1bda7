"""Tests of migrator.config.loading."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator import config
from migrator.config.keys import Keys
from migrator.config.loading import check
from migrator.core.errors import ConfigError
from migrator.core.model import Environment

MINIMAL = """
[campaign]
name = "test"
cutover_at = 2026-05-08T00:00:00Z
[source]
url = "sqlite:///store.db"
"""


def write(folder: Path, text: str) -> Path:
    """A configuration file with that text."""
    path = folder / "migrator.toml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str, **environ: str) -> str:
    """What is said about a configuration that does not load."""
    with pytest.raises(ConfigError) as caught:
        config.load(write(folder, text), environ, {})
    assert caught.value.exit_status == 2
    return caught.value.message


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    """Precedence, and that the origin of each value is known."""
    path = write(tmp_path, MINIMAL + "[execution]\nworkers = 1\npage_size = 10\nmax_failures = '1'\n")
    environ = {"MIGRATOR_EXECUTION_WORKERS": "2", "MIGRATOR_EXECUTION_PAGE_SIZE": "20", "HOME": "/"}
    loaded = config.load(path, environ, {"execution.page_size": "30"})
    execution = loaded.settings.execution
    assert (execution.page_size, execution.workers, execution.max_failures, execution.engine) == (30, 2, "1", "local")
    origins = [loaded.provenance[f"execution.{key}"] for key in ("page_size", "workers", "max_failures", "engine")]
    assert origins == ["flag", "env", "file", "default"]


def test_every_setting_has_an_origin(tmp_path: Path) -> None:
    """Provenance lists exactly the settings that there are."""
    loaded = config.load(write(tmp_path, MINIMAL), {}, {})
    assert set(loaded.provenance) == set(Keys().known())
    assert loaded.directory == tmp_path


def test_tables_take_entries_from_file_and_environment(tmp_path: Path) -> None:
    """A region may come from either place; its name keeps its case."""
    path = write(tmp_path, MINIMAL + '[keys.regions]\nEU = "local:eu"\n')
    loaded = config.load(path, {"MIGRATOR_KEYS_REGIONS_us_east": "local:us"}, {})
    assert loaded.settings.keys.regions == {"EU": "local:eu", "us_east": "local:us"}
    assert loaded.provenance["keys.regions.us_east"] == "env"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[campain]\n", "unknown section 'campain'; the nearest known one is 'campaign'"),
        ("[execution]\nworker = 1\n", "unknown key 'execution.worker'; the nearest known one is 'execution.workers'"),
        ("[execution]\nworkers = '1'\n", "'execution.workers' is text, not a whole number"),
        ("[execution]\nworkers = true\n", "'execution.workers' is true or false, not a whole number"),
        ("[execution]\nworkers = -1\n", "execution.workers: input should be greater than or equal to 0"),
        ("[execution]\nmax_gap_fraction = nan\n", "execution.max_gap_fraction: input should be"),
        ("[keys.regions]\nEU = 1\n", "'keys.regions.EU' is a whole number, not text"),
        ("[keys]\nregions = 'EU'\n", "'keys.regions' is text, not a table"),
        ("[notify]\nrate = 'fast'\n", "notify.rate: a rate reads like 50/s, 30/min or 1000/h"),
        ("[authorization]\nquorum = 'all'\n", "authorization.quorum: input should be 'owner'"),
        ("[authorization.issuers]\ndesk = 'AAAA'\n", "authorization.issuers.desk: an issuer's key is an Ed25519"),
        ("[[execution]]\n", "execution is a section: write [execution]"),
        ("[execution]\n\x1b[31m = 1\n", "is not TOML"),
        ('[execution]\n"\\u001b[31m" = 1\n', "unknown key 'execution.\\x1b[31m'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    """Typos get the nearest known key, wrong types both types, wrong values the rule; the file is always named."""
    message = complaint(tmp_path, MINIMAL + text)
    assert said in message
    assert str(tmp_path / "migrator.toml") in message


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Nobody corrects ten typos in ten runs."""
    message = complaint(tmp_path, "[campain]\n[source]\nurl = 1\nknd = 'x'\n", MIGRATOR_EXECUTION_WORKERS="many")
    assert message.startswith("4 things are wrong")
    assert "MIGRATOR_EXECUTION_WORKERS: this is not a whole number" in message


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """A campaign without a name, a date or a source is none."""
    message = complaint(tmp_path, "")
    assert "campaign.name is missing" in message or "campaign" in message
    assert "source.url is missing" in message


@pytest.mark.parametrize(
    "variable",
    ["MIGRATOR_EXECUTION_WORKER", "MIGRATOR_KEYS_REGIONS", "MIGRATOR_KEYS_REGIONS_", "MIGRATOR_", "MIGRATOR_X"],
)
def test_unknown_variables_are_errors(tmp_path: Path, variable: str) -> None:
    """A misspelt variable must not be passed over in silence."""
    assert f"unknown variable {variable!r}" in complaint(tmp_path, MINIMAL, **{variable: "1"})


def test_variables_of_the_program_are_not_settings(tmp_path: Path) -> None:
    """MIGRATOR_CONFIG and its like belong to the command line."""
    loaded = config.load(write(tmp_path, MINIMAL), {"MIGRATOR_CONFIG": "x", "MIGRATOR_OUTPUT": "json"}, {})
    assert "env" not in loaded.provenance.values()


@pytest.mark.parametrize("text", ["2026", "1778198400", "2026-05-08", "2026-05-08T00:00:00", "tomorrow", ""])
def test_a_date_that_is_not_one_moment_is_refused(tmp_path: Path, text: str) -> None:
    """The cutover is never guessed: no numbers, no missing hours, no missing offset."""
    message = complaint(tmp_path, MINIMAL, MIGRATOR_CAMPAIGN_CUTOVER_AT=text)
    assert "MIGRATOR_CAMPAIGN_CUTOVER_AT: this is not a time" in message


def test_a_toml_time_without_an_offset_is_refused(tmp_path: Path) -> None:
    """A local time means something else on each machine."""
    assert "cutover_at" in complaint(tmp_path, MINIMAL.replace("00Z", "00"))


def test_values_are_never_repeated(tmp_path: Path) -> None:
    """A secret in the wrong place does not come back in the error."""
    secret = "hunter2-very-secret"
    text = MINIMAL + f"[execution]\nworkers = '{secret}'\nengine = 5\n[database]\nschema = '{secret}'\n"
    assert secret not in complaint(tmp_path, text, MIGRATOR_EXECUTION_PAGE_SIZE=secret, MIGRATOR_NOTIFY_RATE=secret)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe",
        b"[campaign",
        b"a = [" + b"[" * 5000,
        b"a = " + b"9" * 5000,
        b"\xef\xbb\xbf[campaign]",
        b"#" * 1_100_000,
    ],
    ids=["not UTF-8", "cut off", "deep", "long number", "byte order mark", "large"],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, data: bytes) -> None:
    """Whatever the bytes: an error that names the file, and never a traceback."""
    path = tmp_path / "migrator.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"migrator\.toml"):
        config.load(path, {}, {})


def test_a_syntax_error_has_its_line(tmp_path: Path) -> None:
    """TOML's own message, with the line."""
    assert "line 2" in complaint(tmp_path, "[campaign]\nname = \n")


@pytest.mark.parametrize("folder", [False, True])
def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path, folder: bool) -> None:
    """Missing, or not a file."""
    path = tmp_path / "migrator.toml"
    if folder:
        path.mkdir()
    with pytest.raises(ConfigError) as caught:
        config.load(path, {}, {})
    assert caught.value.hint


def test_production_with_local_keys_needs_a_yes(tmp_path: Path) -> None:
    """The guard of the settings reaches the operator in words."""
    text = MINIMAL.replace("[source]", 'environment = "production"\n[source]')
    assert "allow_local_keys" in complaint(tmp_path, text)
    loaded = config.load(write(tmp_path, text + "[keys]\nallow_local_keys = true\n"), {}, {})
    assert loaded.settings.campaign.environment is Environment.PRODUCTION


@given(st.text(max_size=200))
def test_no_text_makes_the_loader_stumble(text: str) -> None:
    """Whatever follows a mistake, it is refused with a `ConfigError`."""
    with pytest.raises(ConfigError, match="migrator"):
        check(f"[unknown]\n{text}", Path("migrator.toml"))


SYNAPSE = MINIMAL + 'kind = "synapse"\n'


def test_a_homeserver_needs_its_domain(tmp_path: Path) -> None:
    """Without it nobody could tell the server's own users from those of others."""
    assert "source.local_domain is missing" in complaint(tmp_path, SYNAPSE)


@pytest.mark.parametrize("name", ["", "a b", "@user:example.org", "example.org/x", "example.org:port", "a:1:2"])
def test_a_domain_that_is_none(tmp_path: Path, name: str) -> None:
    """A server name is a host or an address, and perhaps a port."""
    assert "source.local_domain" in complaint(tmp_path, SYNAPSE + f'local_domain = "{name}"\n')


@pytest.mark.parametrize("name", ["example.org", "matrix.example.org:8448", "10.0.0.1", "[2001:db8::1]:8448"])
def test_settings_of_a_homeserver(tmp_path: Path, name: str) -> None:
    """They load from the file, and say that they came from there."""
    text = SYNAPSE + f'local_domain = "{name}"\nlegal_holds = "holds.txt"\nunverifiable_senders = "gap"\nmedia = "m"\n'
    loaded = config.load(write(tmp_path, text), {}, {})
    source = loaded.settings.source
    assert (source.local_domain, source.legal_holds, source.unverifiable_senders) == (name, "holds.txt", "gap")
    assert loaded.provenance["source.local_domain"] == loaded.provenance["source.media"] == "file"


@pytest.mark.parametrize("line", ['local_domain = "a.org"', 'legal_holds = "h"', 'unverifiable_senders = "gap"'])
def test_what_means_nothing_to_a_labyrinth_store(tmp_path: Path, line: str) -> None:
    """A setting that would be passed over is an error that names it."""
    assert f"source.{line.split()[0]} means nothing" in complaint(tmp_path, f"{MINIMAL}{line}\n")
