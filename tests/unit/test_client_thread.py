"""The client's thread, really started, with a client made for tests."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiokafka
import pytest
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from faust.types import TP

from tests.unit.fake_client import TOPIC, Client, Coordinator, tp
from tests.unit.test_consumer import until
from worker.app import MailboxApp, create_app
from worker.config_file import load_settings
from worker.kafka import client_thread
from worker.kafka.client_thread import BatchConsumerThread
from worker.kafka.consumer import COMMIT_S_MAX
from worker.kafka.group_monitor import GroupCheckResult


class Started:
    """A started thread, its client, and what the worker's consumer was told."""

    def __init__(self, thread: BatchConsumerThread, served: "Served") -> None:
        self.thread = thread
        self.served = served

    @property
    def client(self) -> Client:
        assert self.served.client is not None
        return self.served.client


class Served:
    """What the thread serves, in the place of the worker's consumer."""

    def __init__(self, app: MailboxApp) -> None:
        self.app, self.transport = app, app.transport
        self.RebalanceListener = app.transport.Consumer.RebalanceListener
        self.client_options = app.transport.wiring.consumer_options
        self.topic = TOPIC
        self.in_transaction = False
        self.flow_active = self.hands_over = True
        self.client: Client | None = None
        self.options: dict[str, Any] = {}
        self.checks: list[tuple[GroupCheckResult, str]] = []
        self.fetched_bytes: list[int] = []

    def make(self, **options: Any) -> Client:
        """In the place of aiokafka's class."""
        self.options = options
        self.client = Client({0: 40, 1: 50}, {0: 2}, coordinator=Coordinator("poste-1"))
        return self.client

    def note_group(self, result: GroupCheckResult) -> None:
        self.checks.append((result, threading.current_thread().name))

    def note_fetched(self, size: int) -> None:
        self.fetched_bytes.append(size)


@asynccontextmanager
async def started(
    monkeypatch: pytest.MonkeyPatch, *, hands_over: bool = True
) -> AsyncIterator[Started]:
    app = create_app(load_settings(None, {}))
    served = Served(app)
    served.hands_over = hands_over
    monkeypatch.setattr(aiokafka, "AIOKafkaConsumer", served.make)
    monkeypatch.setattr(client_thread, "CHECK_S", 0.01)
    thread = BatchConsumerThread(served)
    await thread.start()
    try:
        yield Started(thread, served)
    finally:
        await thread.stop()


async def test_every_call_of_the_client_is_made_in_its_own_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It belongs to one event loop (G1)."""
    async with started(monkeypatch) as it:
        await it.thread.hold([0, 1])
        assert await it.thread.positions([0, 1]) == {0: 0, 1: 0}
        await it.thread.move({0: 40, 1: 50})
        await it.thread.limit_fetches(4096)
        await it.thread.poll()
        found = await it.thread.fetch({0, 1}, timeout_s=0.1, records_max=10, lingers=False)
        committed = await it.thread.commit({TP(TOPIC, 0): 42})

    assert [record.offset for record in found[0].records] == [40, 41]
    assert (committed, it.client.committed) == (True, {tp(0): 42})
    assert it.client.fetcher.partition_bytes == 4096
    assert len(it.client.threads) == 1
    assert threading.current_thread().name not in it.client.threads


async def test_nothing_is_fetched_while_the_flow_is_suspended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The assignment is over: its records would be taken by nobody (G1)."""
    async with started(monkeypatch) as it:
        it.served.flow_active = False
        assert not await it.thread.fetch({0}, timeout_s=0.1, records_max=10, lingers=False)

    assert it.client.asked == []


async def test_the_group_is_checked_whatever_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was seen arrives in the worker's own loop (G8)."""
    async with started(monkeypatch) as it:
        await until(lambda: len(it.served.checks) > 1)
        it.client.coordinator.stop_at(error := KafkaError("refused"))
        await until(lambda: it.served.checks[-1][0].error is error)
        it.thread.retry_group()
        await until(lambda: it.served.checks[-1][0].error is None)

    assert it.client.coordinator.rejoins == 1
    assert {name for _, name in it.served.checks} == {threading.current_thread().name}
    assert set(it.served.fetched_bytes) == {0}


@pytest.mark.parametrize(("hands_over", "instance_id"), [(True, None), (False, "poste-1")])
async def test_a_worker_that_ends_in_order_leaves_its_group(
    monkeypatch: pytest.MonkeyPatch, *, hands_over: bool, instance_id: str | None
) -> None:
    """The others continue at once. One that crashed keeps its place for its restart (G8)."""
    async with started(monkeypatch, hands_over=hands_over) as it:
        assert it.client.coordinator.instance_id == "poste-1"

    assert it.client.coordinator.instance_id == instance_id


async def test_the_consumer_is_made_so_that_no_default_of_its_loses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Committed records only, no reset and no commit behind our back, whole partitions assigned
    one after the other, no static membership (its failure is seen a session later) (G1)."""
    async with started(monkeypatch) as it:
        made, settings = it.served.options, load_settings(None, {})

    assert made["isolation_level"] == "read_committed"
    assert (made["auto_offset_reset"], made["enable_auto_commit"]) == ("none", False)
    assert made["partition_assignment_strategy"] == [RoundRobinPartitionAssignor]
    assert made["group_instance_id"] is None
    assert made["rebalance_timeout_ms"] >= 1000 * (settings.drain_s + COMMIT_S_MAX)
    assert made["request_timeout_ms"] >= made["session_timeout_ms"]
    assert made["max_poll_interval_ms"] >= 60_000
