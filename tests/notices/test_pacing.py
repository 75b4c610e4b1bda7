"""The rate limit, without waiting for it."""

import pytest

from migrator.notices.pacing import Pacer


class Time:
    """A clock that only sleeping moves, a little more than asked for."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """The present."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        assert seconds > 0
        self.now += seconds + 1e-9


@pytest.mark.parametrize(("rate", "events", "seconds"), [(50, 200, 3.0), (0.5, 3, 4.0), (10, 10, 0.0)])
def test_the_rate_holds(rate: float, events: int, seconds: float) -> None:
    """One second's worth (or one event) goes at once, the rest at the rate."""
    time = Time()
    pacer = Pacer(rate, monotonic=time.monotonic, sleep=time.sleep)
    for _ in range(events):
        pacer.wait()
    assert time.now == pytest.approx(seconds, abs=0.01)


def test_idle_time_is_not_saved_up() -> None:
    """After an hour of nothing, still only one second's worth goes at once."""
    time = Time()
    pacer = Pacer(10, monotonic=time.monotonic, sleep=time.sleep)
    time.now = 3600.0
    for _ in range(20):
        pacer.wait()
    assert time.now == pytest.approx(3601.0, abs=0.01)
