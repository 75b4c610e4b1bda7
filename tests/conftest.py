"""Settings and fixtures for all tests."""

import os
import sys

import pytest
from hypothesis import settings

from tests.support.key_services import switched

__all__ = ["switched"]

# The same examples each time and no time limit on one: a red test is red for everybody, on a slow machine too.
settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--thorough` is for a night; the default takes one boundary of each kind."""
    parser.addoption("--thorough", action="store_true", help="kill at every boundary, and at many more instants")


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether this run has a night."""
    return bool(request.config.getoption("--thorough"))


# Tests start hundreds of processes of the program; where an environment forbids to keep compiled modules, a third of
# the time of each start is spent on compiling all of it again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
