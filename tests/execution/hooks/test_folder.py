"""Which programs count as hooks, and which are refused: in doubt the command does not begin."""

import os
from pathlib import Path

import pytest

from migrator.core.errors import ConfigError
from migrator.execution.hooks.folder import Hook, found
from tests.execution.hooks.scripts import script


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one hook."""
    script(tmp_path / "hooks", "on-start", "true")
    return tmp_path / "hooks"


def refused(folder: Path, words: str) -> None:
    """`ConfigError` with these words and a hint."""
    with pytest.raises(ConfigError, match=words):
        found(folder)


def test_no_folder_no_hooks() -> None:
    """Without the setting nothing is looked for."""
    assert found(None).paths == {}


def test_hooks_are_found_by_name(folder: Path) -> None:
    """Whatever else lies there, unless it can be executed."""
    (folder / "README").write_text("notes")
    (folder / ".before-cutover.swp").write_text("an editor's")
    script(folder / "lib", "helper", "true")
    script(folder, "before-cutover", "true")
    assert found(folder).paths == {
        Hook.ON_START: folder / "on-start",
        Hook.BEFORE_CUTOVER: folder / "before-cutover",
    }


def test_a_folder_that_is_not_there(folder: Path) -> None:
    """Missing, or a file: said, not passed over."""
    refused(folder / "nowhere", "can't be read")
    refused(folder / "on-start", "not a folder")


@pytest.mark.parametrize("name", ["before-cutovr", "before-cutover.sh", "on-started"])
def test_a_misspelt_hook_is_no_open_gate(folder: Path, name: str) -> None:
    """The nearest known name is in the message."""
    script(folder, name, "false")
    refused(folder, f"'{name}', which is no hook; the nearest known one is '(before-cutover|on-start)'")


def test_a_hook_that_is_not_executable(folder: Path) -> None:
    """It would never be called, and nobody would know."""
    script(folder, "before-cutover", "false", mode=0o600)
    refused(folder, "before-cutover is not executable")


def test_a_hook_that_is_a_folder(folder: Path) -> None:
    """No program."""
    (folder / "on-failure").mkdir()
    refused(folder, "not a regular file")


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_hook_that_others_may_write(folder: Path, mode: int) -> None:
    """Its group, or anybody."""
    (folder / "on-start").chmod(mode)
    refused(folder, "others than its owner can write .*on-start")


def test_a_folder_that_others_may_write(folder: Path) -> None:
    """They could put a hook there; also one folder above, where they could put another in its place."""
    folder.chmod(0o770)
    refused(folder, "others than its owner can write .*hooks,")
    folder.chmod(0o700)
    folder.parent.chmod(0o777)
    refused(folder, "others than its owner can write")
    folder.parent.chmod(0o1777)
    assert Hook.ON_START in found(folder).paths, "with the sticky bit nobody moves what is another's"
    folder.parent.chmod(0o700)


def test_links_are_held_to_what_they_lead_to(folder: Path, tmp_path: Path) -> None:
    """A program elsewhere may be linked, if nobody else can change it."""
    program = script(tmp_path / "elsewhere", "program", "true")
    (folder / "on-complete").symlink_to(program)
    assert found(folder).paths[Hook.ON_COMPLETE] == folder / "on-complete"
    program.chmod(0o777)
    refused(folder, "others than its owner can write .*program")
    program.unlink()
    refused(folder, "can't be read")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_hook_of_another_user(folder: Path) -> None:
    """They may change it at any time."""
    os.chown(folder / "on-start", 12345, -1)
    refused(folder, "belongs to another user")
