"""What the client leaves paused, whom a fetch waits for, and what it says of each partition."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, IllegalStateError, KafkaError

from tests.unit.fake_client import TOPIC, Client, tp
from worker.fetching import Fetched
from worker.kafka import other_brokers, partition_reader
from worker.kafka.partition_reader import PartitionReader


def reader_of(client: Any, error: BaseException | None = None) -> PartitionReader:
    return PartitionReader(client, TOPIC, take=client.take, group_error=lambda: error)


async def opened(client: Any) -> PartitionReader:
    """A reader whose partitions are all open, where the client stands."""
    reader = reader_of(client)
    await reader.move({each.partition: at for each, at in client.positions.items()})
    return reader


async def fetched(
    reader: PartitionReader, *partitions: int, lingers: bool = True
) -> dict[int, Fetched]:
    return await reader.fetch(partitions, timeout_s=1.0, records_max=5_000, lingers=lingers)


def two(*answers: Mapping[int, int]) -> Client:
    return Client({0: 40, 1: 50}, *answers)


def offsets(found: Mapping[int, Fetched]) -> dict[int, list[int]]:
    return {p: [record.offset for record in each.records] for p, each in found.items()}


# ---- lingering


async def test_partitions_read_to_their_end_are_paused_until_they_are_asked_for() -> None:
    """The client fetches ahead otherwise, and a look after the linger finds the one record that it
    holds since then: a message waited for two lingers."""
    client = two({0: 2, 1: 0}, {0: 1, 1: 1})
    client.ends_at(0, 42)
    reader = await opened(client)

    found = await fetched(reader, 0, 1)
    assert offsets(found) == {0: [40, 41], 1: []}
    assert all(each.caught_up and each.lingers for each in found.values())
    assert client.paused_partitions() == {0, 1}

    await fetched(reader, 0, 1)
    assert client.asked[1] == ({0, 1}, set())


async def test_a_backlog_is_neither_paused_nor_waits_for_other_brokers() -> None:
    """Only what was read to its end lingers (G8)."""
    client = two({0: 2, 1: 0})
    client.ends_at(0, 100)
    found = await fetched(await opened(client), 0, 1)

    assert client.paused_partitions() == {1}
    assert not found[0].lingers
    assert offsets(found) == {0: [40, 41], 1: []}
    assert not found[0].caught_up
    assert len(client.asked) == 1


async def test_a_fetch_takes_what_other_brokers_answer_a_moment_later() -> None:
    """Each broker answers for its own partitions; what one of them held since before the linger is
    followed by what has gathered behind it."""
    client = two({0: 1}, {1: 1})
    client.ends_at(0, 41)
    client.ends_at(1, 51)
    found = await fetched(await opened(client), 0, 1)

    assert offsets(found) == {0: [40], 1: [50]}
    assert [partitions for partitions, _ in client.asked] == [{0, 1}, {1}]


async def test_a_broker_that_does_not_answer_is_waited_for_only_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its partitions do not linger: they are asked again at once, and what it has comes late."""
    monkeypatch.setattr(other_brokers, "OTHER_BROKERS_S", 0.001)
    client = two({0: 1})
    client.ends_at(0, 41)
    found = await fetched(await opened(client), 0, 1)

    assert offsets(found) == {0: [40]}
    assert client.paused_partitions() == {0}


async def test_a_record_that_the_client_held_does_not_make_its_partition_linger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says nothing of what has come behind it: the broker is asked first."""
    monkeypatch.setattr(other_brokers, "OTHER_BROKERS_S", 0.001)
    client = two({0: 1})
    client.ends_at(0, 41)
    client.held = True
    found = await fetched(await opened(client), 0)

    assert offsets(found) == {0: [40]}
    assert not found[0].lingers
    assert 0 not in client.paused_partitions()


async def test_nothing_is_paused_after_a_silence_nor_without_a_linger() -> None:
    """The first record after a silence waits for nothing."""
    silent = two({0: 0, 1: 0})
    assert await fetched(await opened(silent), 0, 1) == {}
    assert silent.paused_partitions() == set()

    prompt = two({0: 1})
    prompt.ends_at(0, 41)
    found = await fetched(await opened(prompt), 0, 1, lingers=False)
    assert offsets(found) == {0: [40]}
    assert prompt.paused_partitions() == set()


async def test_a_held_partition_is_not_resumed_by_a_fetch() -> None:
    """It is not open, or stuck: the linger before does not count (G1)."""
    client = two({0: 1, 1: 0})
    client.ends_at(0, 41)
    reader = await opened(client)
    await fetched(reader, 0, 1)
    await reader.hold([0])
    await fetched(reader, 0, 1)

    assert client.asked[-1] == ({0, 1}, {0})
    assert client.positions[tp(0)] == 0


async def test_a_revoke_meanwhile_is_no_error() -> None:
    client = two({0: 1})
    reader = await opened(client)
    client.revoke(0, 1)
    found = await fetched(reader, 0)

    assert offsets(found) == {0: [40]}
    assert found[0] == (found[0].records, False, False, False)
    assert client.paused_partitions() == set()
    assert await reader.positions([0]) == {}
    await reader.hold([0])
    with pytest.raises(IllegalStateError):
        await reader.move({0: 40})


# ---- what is prefetched, and what a fetch says


async def test_nothing_is_prefetched_of_a_partition_of_which_nothing_is_wanted() -> None:
    """aiokafka fetches ahead of every partition that is not paused, a whole batch of its producer
    at least: of many partitions with large records that is more than all limits (G8). One that is
    held is not resumed by a fetch that was meant for an older assignment (G1)."""
    client = Client(dict.fromkeys(range(4), 0))
    reader = reader_of(client)
    await reader.hold(range(4))

    async def read_ahead(*partitions: int) -> set[int]:
        await fetched(reader, *partitions, lingers=False)
        return {each.partition for each in client.all} - client.asked[-1][1]

    await reader.move(dict.fromkeys(range(3), 0))
    assert await read_ahead(0, 1, 2) == {0, 1, 2}
    assert await read_ahead(0) == {0}
    assert await read_ahead() == set()
    assert await read_ahead(1, 2) == {1, 2}
    await reader.hold([1])
    assert await read_ahead(1, 2) == {2}
    client.revoke(2)
    assert await read_ahead(0) == {0}
    await reader.move({1: 5})
    assert await read_ahead(1) == {1}


async def test_a_fetch_of_nothing_asks_for_no_partition() -> None:
    """aiokafka takes an empty set for every partition (G1)."""
    client = two()
    await fetched(await opened(client))

    ((asked, _),) = client.asked
    assert asked
    assert not asked & {0, 1}


async def test_a_fetch_says_what_a_transaction_holds_back() -> None:
    """It reached the stable end, and not the log's (G2)."""
    client = two({0: 1, 1: 1})
    client.ends_at(0, 41)
    client.ends_at(1, 60)
    client.highwaters[tp(0)] = 45
    found = await fetched(await opened(client), 0, 1, lingers=False)

    assert [(each.caught_up, each.held_back) for each in found.values()] == [
        (True, True), (False, False),
    ]  # fmt: skip


async def test_a_position_is_where_the_client_reads_on() -> None:
    """Beyond the markers that it has skipped."""
    client = two()
    client.positions[tp(1)] = 57

    assert await reader_of(client).positions([0, 1]) == {0: 40, 1: 57}


async def test_a_poll_and_a_limit_reach_the_clients_fetcher() -> None:
    client = two()
    reader = reader_of(client)
    await reader.poll()
    await reader.limit_fetches(65_536)

    assert (client.fetcher.polls, client.fetcher.partition_bytes) == (1, 65_536)


async def test_an_error_of_the_group_is_none_of_a_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fetch raises it, until the check of the group has judged it; another one is the
    fetch's own (G8)."""
    monkeypatch.setattr(partition_reader, "CHECK_S", 0.0)
    client: Any = two()
    client.failure = error = GroupAuthorizationFailedError("group")
    async with asyncio.timeout(30):
        assert await fetched(reader_of(client, error), 0) == {}
    with pytest.raises(KafkaError):
        await fetched(reader_of(client), 0)
