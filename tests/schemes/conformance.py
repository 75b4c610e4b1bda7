"""What every scheme must do: subclass `SchemeConformance` and give it messages with their keys."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import pytest

from migrator import plugins
from migrator.core.model import Conversation, MessageRow
from migrator.core.outcomes import GapReason
from migrator.schemes.interface import KeyRing, Scheme, ScopeTooBroadError

Unit = tuple[Conversation, KeyRing, Sequence[MessageRow]]


class SchemeConformance(ABC):
    """Tests of the port. Each unit holds at least three messages; its ring opens every one of them."""

    @abstractmethod
    def scheme(self) -> Scheme:
        """The scheme."""

    @abstractmethod
    def units(self) -> list[tuple[Unit, list[bytes]]]:
        """At least three units of different conversations, and the contents of their messages."""

    def test_it_is_found_by_its_name(self) -> None:
        """The entry point and the name agree."""
        assert type(plugins.scheme(self.scheme().name)) is type(self.scheme())

    def test_everything_opens_in_its_order(self) -> None:
        """One result a row, one list a unit, contents byte for byte."""
        units = self.units()
        results = self.scheme().open_messages([unit for unit, _ in units])
        opened = [[r[1] for r in of_unit if not isinstance(r, GapReason)] for of_unit in results]
        assert opened == [contents for _, contents in units]

    def test_units_do_not_touch_each_other(self) -> None:
        """Opened together or one by one is the same, in any order, also with an empty unit between."""
        units = [unit for unit, _ in self.units()]
        scheme = self.scheme()
        alone = [scheme.open_messages([unit])[0] for unit in units]
        assert scheme.open_messages(units) == alone
        assert scheme.open_messages(units[::-1]) == alone[::-1]
        empty: Unit = (units[0][0], units[0][1], [])
        assert scheme.open_messages([units[0], empty, *units[1:]]) == [alone[0], [], *alone[1:]]
        assert scheme.open_messages([]) == []

    def test_without_keys_everything_is_a_gap(self) -> None:
        """No key opens nothing, and says so."""
        for (conversation, _, rows), _contents in self.units():
            assert self.scheme().open_messages([(conversation, {}, rows)]) == [[GapReason.NO_KEY] * len(rows)]

    def test_messages_of_another_conversation_do_not_open(self) -> None:
        """A ring opens what was written in its conversation, and there alone."""
        units = [unit for unit, _ in self.units()]
        for (conversation, ring, _), (_, _, others) in pairwise(units):
            for result in self.scheme().open_messages([(conversation, ring, others)])[0]:
                assert isinstance(result, GapReason)

    def test_tampering_costs_the_one_message(self) -> None:
        """A changed ciphertext is a gap between neighbours that open."""
        (conversation, ring, rows), contents = self.units()[0]
        middle = rows[1]
        flipped = bytes(middle[3][:-1]) + bytes([middle[3][-1] ^ 1])
        changed = [rows[0], (*middle[:3], flipped, *middle[4:]), *rows[2:]]
        results = self.scheme().open_messages([(conversation, ring, changed)])[0]
        assert isinstance(results[1], GapReason)
        assert [r[1] for r in results if not isinstance(r, GapReason)] == [contents[0], *contents[2:]]

    @pytest.mark.parametrize("odd", [None, "", b"", "text", -1, 1.5, True, [], "\ud800", "\0"])
    def test_odd_fields_cost_the_one_message(self, odd: object) -> None:
        """Whatever type stands in whatever field, neighbours open and nothing is raised."""
        (conversation, ring, rows), contents = self.units()[0]
        for field in range(len(rows[1])):
            changed = (*rows[1][:field], odd, *rows[1][field + 1 :])
            results = self.scheme().open_messages([(conversation, ring, [rows[0], changed, *rows[2:]])])[0]
            assert not isinstance(results[0], GapReason)
            assert [r[1] for r in results[2:] if not isinstance(r, GapReason)] == contents[2:]

    @pytest.mark.parametrize(
        "entry",
        [{}, {"conversation_id": "i/t"}, {"conversation_id": None, "key": "AA"}, {"": ""}],
    )
    def test_key_entries_of_no_known_form_are_refused(self, entry: dict[str, object]) -> None:
        """Unknown and missing members, without a word of content."""
        with pytest.raises((ValueError, ScopeTooBroadError)):
            list(self.scheme().read_key_entries(entry, lambda: None))

    @pytest.mark.parametrize("entry", [None, [], {}, "", 7, {"versions": []}, {"unknown": 1}])
    def test_coverage_of_no_known_form_is_refused(self, entry: object) -> None:
        """A manifest can't name slots in a way that the scheme doesn't know."""
        with pytest.raises(ValueError):  # noqa: PT011 - the message is the scheme's own
            self.scheme().read_coverage(entry)
