"""What the client's thread leaves paused while partitions linger, and whom a fetch waits for."""

import time
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from tests.records import MadeRecord
from worker.kafka import other_brokers
from worker.kafka.client_thread import BatchConsumerThread, Fetched

FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)


class Client:
    """aiokafka's consumer: `answers` are taken one by one, each of some brokers' partitions."""

    def __init__(self, *answers: dict[Any, int]) -> None:
        self.answers = list(answers)
        self.ends = {FIRST: 40, SECOND: 50}
        self.positions = dict(self.ends)
        self.answered_ms: dict[Any, int] = {}
        self.paused: set[Any] = set()
        self.asked: list[tuple[set[Any], set[Any]]] = []
        self.revoked = self.held = False

    def pause(self, *tps: TopicPartition) -> None:
        self.paused.update(tps)

    def resume(self, *tps: TopicPartition) -> None:
        self.paused.difference_update(tps)

    def assignment(self) -> set[TopicPartition]:
        return set() if self.revoked else {FIRST, SECOND}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    def last_poll_timestamp(self, tp: TopicPartition) -> int | None:
        return self.answered_ms.get(tp)

    def last_stable_offset(self, tp: TopicPartition) -> Any:
        self._check()
        return self.ends[tp]

    highwater = last_stable_offset

    async def position(self, tp: TopicPartition) -> Any:
        return self.positions[tp]

    def _check(self) -> None:
        if self.revoked:
            raise IllegalStateError("revoked")

    async def take(self, _: Any, tps: set[Any], **__: Any) -> dict[Any, list[Any]]:
        """answers: by partition how many records; all of an answer's partitions have answered."""
        self.asked.append((set(tps), set(self.paused)))
        taken = {}
        for tp, count in (self.answers.pop(0) if self.answers else {}).items():
            begin = self.positions[tp]
            self.positions[tp] = begin + count
            if not self.held:
                self.answered_ms[tp] = int(time.time() * 1000) + 1
            if count:
                taken[tp] = [MadeRecord(offset=begin + n) for n in range(count)]
        return taken


def thread_of(client: Client) -> BatchConsumerThread:
    thread = BatchConsumerThread.__new__(BatchConsumerThread)
    thread._opened, thread._paused = {FIRST, SECOND}, set()
    thread._ensure_consumer = lambda: client
    thread._fetch_records = client.take
    return thread


def offsets(found: dict[Any, Fetched]) -> dict[Any, list[int]]:
    return {tp: [record.offset for record in each.records] for tp, each in found.items()}


async def test_partitions_read_to_their_end_are_paused_until_they_are_asked_for() -> None:
    """The client fetches ahead otherwise, and a look after the linger finds the one record that it
    holds since then: a message waited for two lingers."""
    client = Client({FIRST: 2, SECOND: 0}, {FIRST: 1, SECOND: 1})
    client.ends[FIRST] = 42
    thread = thread_of(client)

    found = await thread._fetch({FIRST, SECOND}, 1.0, 5_000, lingers=True)
    assert offsets(found) == {FIRST: [40, 41], SECOND: []}
    assert all(each.caught_up and each.lingers for each in found.values())
    assert client.paused == {FIRST, SECOND}

    await thread._fetch({FIRST, SECOND}, 1.0, 5_000, lingers=True)
    assert client.asked[1] == ({FIRST, SECOND}, set())


async def test_a_backlog_is_neither_paused_nor_waits_for_other_brokers() -> None:
    """Only what was read to its end lingers (G8)."""
    client = Client({FIRST: 2, SECOND: 0})
    client.ends[FIRST] = 100
    found = await thread_of(client)._fetch({FIRST, SECOND}, 1.0, 5_000, lingers=True)

    assert client.paused == {SECOND}
    assert not found[FIRST].lingers
    assert offsets(found) == {FIRST: [40, 41], SECOND: []}
    assert not found[FIRST].caught_up
    assert len(client.asked) == 1


async def test_a_fetch_takes_what_other_brokers_answer_a_moment_later() -> None:
    """Each broker answers for its own partitions; what one of them held since before the linger is
    followed by what has gathered behind it."""
    client = Client({FIRST: 1}, {SECOND: 1})
    client.ends |= {FIRST: 41, SECOND: 51}
    found = await thread_of(client)._fetch({FIRST, SECOND}, 1.0, 5_000, lingers=True)

    assert offsets(found) == {FIRST: [40], SECOND: [50]}
    assert [tps for tps, _ in client.asked] == [{FIRST, SECOND}, {SECOND}]


async def test_a_broker_that_does_not_answer_is_waited_for_only_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its partitions do not linger: they are asked again at once, and what it has comes late."""
    monkeypatch.setattr(other_brokers, "OTHER_BROKERS_S", 0.001)
    client = Client({FIRST: 1})
    client.ends[FIRST] = 41
    found = await thread_of(client)._fetch({FIRST, SECOND}, 1.0, 5_000, lingers=True)

    assert offsets(found) == {FIRST: [40]}
    assert client.paused == {FIRST}


async def test_a_record_that_the_client_held_does_not_make_its_partition_linger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says nothing of what has come behind it: the broker is asked first."""
    monkeypatch.setattr(other_brokers, "OTHER_BROKERS_S", 0.001)
    client = Client({FIRST: 1})
    client.ends[FIRST] = 41
    client.held = True
    found = await thread_of(client)._fetch({FIRST}, 1.0, 5_000, lingers=True)

    assert offsets(found) == {FIRST: [40]}
    assert not found[FIRST].lingers
    assert FIRST not in client.paused


async def test_nothing_is_paused_after_a_silence_nor_without_a_linger() -> None:
    """The first record after a silence waits for nothing."""
    silent = Client({FIRST: 0, SECOND: 0})
    assert await thread_of(silent)._fetch({FIRST, SECOND}, 1.0, 5_000, lingers=True) == {}
    assert silent.paused == set()

    prompt = Client({FIRST: 1})
    prompt.ends[FIRST] = 41
    found = await thread_of(prompt)._fetch({FIRST, SECOND}, 1.0, 5_000, lingers=False)
    assert offsets(found) == {FIRST: [40]}
    assert prompt.paused == set()


async def test_a_held_partition_is_not_resumed_by_a_fetch() -> None:
    """It is not open, or stuck: the linger before does not count (G1)."""
    client = Client({FIRST: 1, SECOND: 0})
    client.ends[FIRST] = 41
    thread = thread_of(client)
    await thread._fetch({FIRST, SECOND}, 1.0, 5_000, lingers=True)
    await thread._hold({FIRST})
    await thread._fetch({FIRST, SECOND}, 1.0, 5_000, lingers=True)

    assert client.asked[-1] == ({FIRST, SECOND}, {FIRST})


async def test_a_revoke_meanwhile_is_no_error() -> None:
    client = Client({FIRST: 1})
    client.revoked = True
    found = await thread_of(client)._fetch({FIRST}, 1.0, 5_000, lingers=True)

    assert offsets(found) == {FIRST: [40]}
    assert client.paused == set()
