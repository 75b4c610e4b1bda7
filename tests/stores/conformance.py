"""What every message store must do: subclass `StoreConformance` and give it a store with something in it."""

import json
from abc import ABC, abstractmethod
from collections import Counter
from datetime import UTC, datetime
from itertools import chain

import pytest

from migrator import plugins
from migrator.core.errors import SourceError
from migrator.core.model import Account, Conversation, MessageRow
from migrator.core.settings import SourceSettings
from migrator.stores.interface import MessageStore

STRANGERS = ["", "nobody", "no/body", "a\0b/c", "\ud800/x", "x" * 5000]


class StoreConformance(ABC):
    """Tests of the port.

    The store must hold more than ten sound conversations, one of them with at least twenty messages, several with
    fewer, and more than ten accounts, one with two devices. Every conversation with messages must be readable unless
    it has a fault.
    """

    @abstractmethod
    def store(self, *, population_page: int = 5000) -> MessageStore:
        """A newly opened store, always on the same source; the subclass closes it after the test."""

    def settings(self, url: str) -> SourceSettings:
        """The settings of a store of this kind at some URL."""
        return SourceSettings(url=url)

    @abstractmethod
    def add_message(self) -> None:
        """Let one more message arrive in the source."""

    def all_of(self, *, population_page: int = 5000) -> list[Conversation]:
        """The population in one list."""
        return list(chain.from_iterable(self.store(population_page=population_page).population()))

    def sound(self) -> list[Conversation]:
        """What can be read."""
        return [conversation for conversation in self.all_of() if not conversation.fault]

    def test_it_names_its_scheme_and_quorums(self) -> None:
        """The scheme is installed, and at least one quorum makes sense."""
        store = self.store()
        assert plugins.scheme(store.scheme).name == store.scheme
        assert store.quorums
        assert plugins.store_class(store.kind) is type(store)

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
    def test_pages_of_any_size_hold_the_same_population(self, size: int) -> None:
        """Every conversation comes exactly once, however the pages fall."""
        expected = self.all_of()
        assert len({conversation.conversation_id for conversation in expected}) == len(expected)
        assert sorted(self.all_of(population_page=size)) == sorted(expected)

    def test_the_population_is_in_the_same_order_each_time(self) -> None:
        """Two walks over an unchanged source agree."""
        assert self.all_of() == self.all_of()

    def test_nobody_unknown_is_on_hold(self) -> None:
        """Asked for whatever id, also one that no source could have."""
        assert self.store().on_hold(STRANGERS, datetime(2026, 5, 9, tzinfo=UTC)) == set()
        assert self.store().on_hold([], datetime(2026, 5, 9, tzinfo=UTC)) == set()

    def test_ids_can_be_kept_anywhere(self) -> None:
        """Every conversation id, thread key and participant is UTF-8 text without NUL."""
        for conversation in self.all_of():
            for text in (conversation.conversation_id, conversation.thread_key, *conversation.participants):
                assert text.encode().decode() == text
                assert "\0" not in text

    def test_conversations_are_those_of_the_population(self) -> None:
        """Asked for by id, a conversation is what the walk said of it."""
        sound = self.sound()
        wanted = [conversation.conversation_id for conversation in sound]
        assert self.store().conversations(wanted) == dict(zip(wanted, sound, strict=True))

    def test_owners_are_participants(self) -> None:
        """Nobody's mailbox is opened without its owner being asked."""
        for conversation in self.sound():
            if not conversation.orphan:
                assert conversation.owner_id is None or conversation.owner_id in conversation.participants
                assert conversation.participants

    def test_counts_are_of_messages(self) -> None:
        """A conversation says how many messages it has, and when the newest was sent."""
        store = self.store()
        for conversation in self.sound():
            rows = store.messages([conversation.conversation_id])[conversation.conversation_id]
            assert len(rows) == conversation.messages
            times = [row[0] for row in rows if type(row[0]) is int]
            assert conversation.last_sent_at == max(times, default=None)

    def test_messages_of_many_are_those_of_each(self) -> None:
        """A batch reads what single reads do; a conversation asked for twice comes once."""
        store = self.store()
        wanted = [conversation.conversation_id for conversation in self.sound()]
        batch = store.messages([*wanted, *wanted[:2]])
        assert set(batch) == set(wanted)
        assert batch == {identifier: store.messages([identifier])[identifier] for identifier in wanted}

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
    def test_pages_join_to_all_messages(self, limit: int) -> None:
        """Page by page, with the cursor kept as JSON in between, gives the same rows in the same order."""
        store = self.store()
        for conversation in self.sound():
            whole = store.messages([conversation.conversation_id])[conversation.conversation_id]
            assert list(self._paged(store, conversation.conversation_id, limit)) == whole

    def _paged(self, store: MessageStore, conversation_id: str, limit: int) -> list[MessageRow]:
        rows: list[MessageRow] = []
        cursor = None
        while page := store.page(conversation_id, cursor, limit):
            assert len(page) <= limit
            rows += page
            cursor = tuple(json.loads(json.dumps(store.cursor(page[-1]))))
        return rows

    def test_messages_are_in_order(self) -> None:
        """By time, then by id bytewise."""
        store = self.store()
        for conversation in self.sound():
            places = [
                (row[0], row[1].encode())
                for row in store.messages([conversation.conversation_id])[conversation.conversation_id]
            ]
            assert places == sorted(places)

    def test_key_slots_are_hashable_and_only_for_what_is_asked(self) -> None:
        """Every conversation that is asked for is answered."""
        wanted = [conversation.conversation_id for conversation in self.sound()]
        slots = self.store().key_slots(wanted[:5])
        assert set(slots) == set(wanted[:5])
        assert any(slots.values())

    def test_some_key_slot_is_one_of_them(self) -> None:
        """Whichever is found first; where nothing needs a key there is none."""
        store = self.store()
        wanted = [conversation.conversation_id for conversation in self.sound()]
        slots = store.key_slots(wanted)
        some = store.some_key_slot([*wanted, *STRANGERS])
        assert some
        assert all(slot in slots[conversation_id] for conversation_id, slot in some.items())

    def test_all_accounts_are_those_found_by_id(self) -> None:
        """The walk over accounts is in order of their ids and agrees with single look-ups."""
        accounts: list[Account] = list(chain.from_iterable(self.store(population_page=3).all_accounts()))
        wanted = [account.account_id for account in accounts]
        assert wanted == sorted(set(wanted), key=str.encode)
        assert self.store().accounts(wanted) == dict(zip(wanted, accounts, strict=True))

    def test_devices_are_found_by_account_and_by_id(self) -> None:
        """Both ways lead to the same devices, which belong to who was asked for."""
        store = self.store()
        accounts = [account.account_id for account in chain.from_iterable(store.all_accounts())]
        devices = store.devices_of(accounts)
        assert {device.account_id for device in devices} <= set(accounts)
        assert store.devices([device.device_id for device in devices]) == {d.device_id: d for d in devices}
        one = Counter(device.account_id for device in devices).most_common(1)[0][0]
        assert len(store.devices_of([one])) > 1
        assert store.devices_of([one]) == [device for device in devices if device.account_id == one]

    def test_strangers_are_missing(self) -> None:
        """Ids that nothing has, also hostile ones, are not errors."""
        store = self.store()
        assert store.conversations(STRANGERS) == {}
        assert store.accounts(STRANGERS) == {}
        assert store.devices(STRANGERS) == {}
        assert store.devices_of(STRANGERS) == []
        assert not any(store.key_slots(STRANGERS).values())
        assert not any(store.messages(STRANGERS).values())
        assert all(store.page(stranger, None, 10) == [] for stranger in STRANGERS)

    def test_nothing_asked_nothing_found(self) -> None:
        """Empty questions have empty answers."""
        store = self.store()
        assert store.conversations([]) == {}
        assert store.accounts([]) == {}
        assert store.devices([]) == {}
        assert store.devices_of([]) == []
        assert store.key_slots([]) == {}
        assert not store.messages([])

    def test_identity_survives_new_messages(self) -> None:
        """What makes a store this one is not how many messages it has."""
        before = self.store().identity()
        messages = sum(conversation.messages for conversation in self.all_of())
        self.add_message()
        assert sum(conversation.messages for conversation in self.all_of()) == messages + 1
        assert self.store().identity() == before
        assert len(bytes.fromhex(before)) == 32

    @pytest.mark.parametrize("url", ["", "not a url", "nosuch://host/db"])
    def test_what_is_no_store_is_a_source_error(self, url: str) -> None:
        """A URL that leads nowhere is refused with a hint."""
        with pytest.raises(SourceError) as caught:
            type(self.store()).open(self.settings(url))
        assert caught.value.hint
