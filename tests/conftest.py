"""Settings and fixtures for all tests."""

from hypothesis import settings

from tests.support.key_services import switched

__all__ = ["switched"]

# The same examples each time and no time limit on one: a red test is red for everybody, on a slow machine too.
settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")
