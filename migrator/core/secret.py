"""A value that must not be seen: its `repr` shows a length and nothing else."""

from typing import final


@final
class Secret:
    """Bytes that never appear in a log, a traceback or a settings dump; `reveal` is the one way to them."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The bytes themselves, for the call that needs them."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({len(self._value)} bytes)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret does not leave its process")
