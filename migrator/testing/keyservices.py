"""What every key service must do: subclass `KeyServiceConformance`, give it a service, and put it into troubles.

from migrator.testing.keyservices import KeyServiceConformance

class TestOurs(KeyServiceConformance):
    def service(self) -> KeyService:
        return OurKeyService.open("key-7", directory=Path.cwd())
"""

import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from migrator.core.errors import KeyDelay, KeyProblem, KeyServiceError, KeyServiceUnavailableError
from migrator.keyservices.interface import KeyRefusal, KeyService, RefusalKind

CONTEXT = b'{"campaign":"c","conversation":"00ff","key_id":"7"}'
OTHER_CONTEXT = b'{"campaign":"c","conversation":"00ff","key_id":"8"}'


class KeyServiceConformance(ABC):
    """Tests of the port. `service` gives a fresh handle on one and the same key at each call."""

    @abstractmethod
    def service(self) -> KeyService:
        """A newly opened service, always on the same key."""

    def in_trouble(self, trouble: KeyProblem | KeyDelay) -> AbstractContextManager[Callable[[], KeyService]]:
        """While the block lasts, the service is in a trouble; what it gives opens a service that meets it.

        Skips, as it does here, where there is no way to bring the trouble about.
        """
        pytest.skip(f"there is no way to have this key service {trouble.value}")

    @pytest.mark.parametrize("problem", [KeyProblem.UNKNOWN_KEY, KeyProblem.DISABLED, KeyProblem.DENIED])
    def test_what_is_wrong_until_somebody_mends_it_is_named(self, problem: KeyProblem) -> None:
        """Unknown key, disabled key, no permission: as an error of the whole service, or as each item's refusal."""
        with self.in_trouble(problem) as opens:
            try:
                answers = opens().wrap([(b"sixteen secret b", CONTEXT), (b"sixteen secret b", CONTEXT)])
            except KeyServiceError as error:
                assert error.problem is problem
                assert error.hint
                assert "sixteen secret b" not in f"{error!r} {error.hint}"
                assert error.__context__ is None or error.__suppress_context__
            else:
                assert [a.kind if isinstance(a, KeyRefusal) else None for a in answers] == [RefusalKind(problem)] * 2

    @pytest.mark.parametrize("delay", KeyDelay)
    def test_what_passes_is_worth_another_try(self, delay: KeyDelay) -> None:
        """Throttled, slow, down, sealed: named, never mistaken for a refusal, and over when it is over."""
        wrapped = self.service().wrap([(b"secret", CONTEXT)])[0]
        assert isinstance(wrapped, bytes)
        with self.in_trouble(delay) as opens, pytest.raises(KeyServiceUnavailableError) as caught:
            opens().unwrap([(wrapped, CONTEXT)])
        assert caught.value.delay is delay
        assert self.service().unwrap([(wrapped, CONTEXT)]) == [b"secret"]

    @pytest.mark.parametrize("secret", [b"k", bytes(32), bytes(range(96)), b"x" * 1024])
    def test_round_trip_through_a_second_handle(self, secret: bytes) -> None:
        """What one process wraps, another one unwraps."""
        wrapped = self.service().wrap([(secret, CONTEXT)])[0]
        assert isinstance(wrapped, bytes)
        assert self.service().unwrap([(wrapped, CONTEXT)]) == [secret]

    def test_wrapped_hides_the_secret(self) -> None:
        """The secret is not in what is stored, and two wrappings of it differ."""
        secret = b"sixteen secret bytes and sixteen"
        first, second = self.service().wrap([(secret, CONTEXT), (secret, CONTEXT)])
        assert isinstance(first, bytes)
        assert secret not in first
        assert first != second

    def test_batch_keeps_its_order(self) -> None:
        """Results stand where their items stood."""
        service = self.service()
        secrets = [bytes([number]) * 32 for number in range(20)]
        wrapped = service.wrap([(secret, CONTEXT) for secret in secrets])
        items = [(item, CONTEXT) for item in wrapped if isinstance(item, bytes)]
        assert service.unwrap(items) == secrets

    def test_empty_batch(self) -> None:
        """Nothing asked, nothing answered."""
        service = self.service()
        assert service.wrap([]) == []
        assert service.unwrap([]) == []
        assert service.rewrap([]) == []

    def test_context_is_bound(self) -> None:
        """Another context is refused: a wrapped key can't be moved to another row."""
        service = self.service()
        wrapped = service.wrap([(b"secret", CONTEXT)])[0]
        assert isinstance(wrapped, bytes)
        answer = service.unwrap([(wrapped, OTHER_CONTEXT)])[0]
        assert isinstance(answer, KeyRefusal)
        assert answer.kind is RefusalKind.NOT_OPENED

    def test_one_refusal_costs_one_item(self) -> None:
        """A blob that does not unwrap leaves the rest of its batch alone."""
        service = self.service()
        good = service.wrap([(b"secret", CONTEXT)])[0]
        assert isinstance(good, bytes)
        altered = good[:-1] + bytes([good[-1] ^ 1])
        answers = service.unwrap([(good, CONTEXT), (altered, CONTEXT), (b"", CONTEXT), (good, CONTEXT)])
        assert [isinstance(answer, KeyRefusal) for answer in answers] == [False, True, True, False]

    def test_rewrapped_opens_as_before(self) -> None:
        """A rewrapped blob has the same secret under the same context, and no other."""
        service = self.service()
        wrapped = service.wrap([(b"secret", CONTEXT)])[0]
        assert isinstance(wrapped, bytes)
        again = service.rewrap([(wrapped, CONTEXT)])[0]
        assert isinstance(again, bytes)
        assert self.service().unwrap([(again, CONTEXT), (wrapped, CONTEXT)]) == [b"secret", b"secret"]
        assert isinstance(service.unwrap([(again, OTHER_CONTEXT)])[0], KeyRefusal)

    def test_what_does_not_unwrap_is_not_rewrapped(self) -> None:
        """A wrong context or an altered blob costs its own item: nothing comes back that looks healthy."""
        service = self.service()
        good = service.wrap([(b"secret", CONTEXT)])[0]
        assert isinstance(good, bytes)
        altered = good[:-1] + bytes([good[-1] ^ 1])
        answers = service.rewrap([(altered, CONTEXT), (good, OTHER_CONTEXT), (good, CONTEXT), (b"", CONTEXT)])
        assert [isinstance(answer, KeyRefusal) for answer in answers] == [True, True, False, True]
        assert isinstance(answers[2], bytes)
        assert service.unwrap([(answers[2], CONTEXT)]) == [b"secret"]

    def test_version_is_the_same_for_all_that_one_version_wrapped(self) -> None:
        """It is text, known without asking the service, and empty for what no version wrapped."""
        service = self.service()
        first, second = service.wrap([(b"one", CONTEXT), (b"two", OTHER_CONTEXT)])
        assert isinstance(first, bytes)
        assert isinstance(second, bytes)
        assert service.version(first) == self.service().version(second)
        assert service.version(b"") == ""

    def test_refusal_says_nothing_secret(self) -> None:
        """A refusal can be logged: neither secret nor blob is in it."""
        service = self.service()
        wrapped = service.wrap([(b"sixteen secret b", CONTEXT)])[0]
        assert isinstance(wrapped, bytes)
        refusal = service.unwrap([(wrapped, OTHER_CONTEXT)])[0]
        assert "sixteen secret b" not in repr(refusal)
        assert wrapped.hex() not in repr(refusal)

    def test_name_is_stable(self) -> None:
        """The name recorded beside a wrapped key finds the service again."""
        assert self.service().name == self.service().name
        assert ":" in self.service().name
        assert self.service().answers_to(self.service().name)
        assert not self.service().answers_to(self.service().name + "x")

    def test_stays_in_its_process(self) -> None:
        """A service, which may hold keys or credentials, is not pickled into another process."""
        with pytest.raises(TypeError):
            pickle.dumps(self.service())
