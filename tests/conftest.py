"""Settings for all tests."""

from hypothesis import settings

# The same examples each time and no time limit on one: a red test is red for everybody, on a slow machine too.
settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")
