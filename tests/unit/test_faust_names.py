"""The undocumented parts of Faust and mode that worker/kafka/consumer.py and
worker/kafka/client_thread.py lean on, and those of aiokafka that worker/kafka/partition_reader.py
and worker/kafka/group_membership.py do.

An upgrade that renames one of them, or changes how it is called, must turn these red before it
loses a message.
"""

import inspect
from importlib.metadata import version
from typing import Any

import aiokafka
import faust
import mode
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.protocol.group import SyncGroupRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.transport.drivers import aiokafka as driver
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types.tuples import ConsumerMessage

from worker.kafka.client_thread import BatchConsumerThread
from worker.kafka.consumer import BatchConsumer, BatchTransport, WholeBatches

PINNED = {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0"}


@pytest.mark.parametrize(("name", "pinned"), PINNED.items())
def test_the_versions_are_those_that_were_read(name: str, pinned: str) -> None:
    """The guarantees lean on their behaviour (G1)."""
    assert version(name) == pinned


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (driver.Consumer, "perform_seek", ["self"]),
        (driver.Consumer, "wait_empty", ["self"]),
        (driver.Consumer, "on_stop", ["self"]),
        (driver.Consumer, "on_partitions_revoked", ["self", "revoked"]),
        (driver.Consumer, "on_partitions_assigned", ["self", "assigned", "generation_id"]),
        (driver.Consumer, "force_commit", ["self", "topics", "start_new_transaction"]),
        (driver.Consumer, "verify_event_path", ["self", "now", "tp"]),
        (driver.Consumer, "_drain_messages", ["self", "fetcher"]),
        (driver.Consumer, "_getmany", ["self", "active_partitions", "timeout"]),
        (driver.Consumer, "_commit", ["self", "offsets"]),
        (driver.Consumer, "_new_consumer_thread", ["self"]),
        (AIOKafkaConsumerThread, "_create_worker_consumer", ["self", "transport"]),
        (AIOKafkaConsumerThread, "getmany", ["self", "active_partitions", "timeout"]),
        (
            AIOKafkaConsumerThread,
            "_fetch_records",
            ["self", "consumer", "active_partitions", "timeout", "max_records"],
        ),
        (AIOKafkaConsumerThread, "_ensure_consumer", ["self"]),
        (AIOKafkaConsumerThread, "commit", ["self", "offsets"]),
        (AIOKafkaConsumerThread, "on_start", ["self"]),
        (AIOKafkaConsumerThread, "on_thread_stop", ["self"]),
        (GroupCoordinator, "_maybe_leave_group", ["self"]),
        (GroupCoordinator, "_send_req", ["self", "request"]),
        (GroupCoordinator, "check_errors", ["self"]),
        (GroupCoordinator, "request_rejoin", ["self"]),
        (
            SyncGroupRequest,
            "__init__",
            [
                "self",
                "group",
                "generation_id",
                "member_id",
                "group_instance_id",
                "group_assignment",
            ],
        ),
        (faust.App, "_create_directories", ["self"]),
        (faust.App, "on_init_dependencies", ["self"]),
        (mode.Service, "wait_first", ["self", "coros", "timeout"]),
        (mode.Service, "add_future", ["self", "coro"]),
        (mode.Service, "crash", ["self", "reason"]),
        (mode.Worker, "_enter_debugger", ["self"]),
        (aiokafka.AIOKafkaConsumer, "seek", ["self", "partition", "offset"]),
        (aiokafka.AIOKafkaConsumer, "pause", ["self", "partitions"]),
        (aiokafka.AIOKafkaConsumer, "resume", ["self", "partitions"]),
        (aiokafka.AIOKafkaConsumer, "last_stable_offset", ["self", "partition"]),
        (aiokafka.AIOKafkaConsumer, "highwater", ["self", "partition"]),
        (aiokafka.AIOKafkaConsumer, "last_poll_timestamp", ["self", "partition"]),
        (SubscriptionState, "fetch_context", ["self"]),
        (Fetcher, "fetched_records", ["self", "partitions", "timeout", "max_records"]),
    ],
)
def test_a_name_relied_on_is_there_and_called_as_before(
    owner: type, name: str, parameters: list[str]
) -> None:
    """Names and parameters of what is overridden or called (G1)."""
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


def test_the_tasks_of_the_coordination_are_where_their_errors_are_retrieved() -> None:
    """A stop does not wait for one that has ended, nor for its error."""
    source = inspect.getsource(GroupCoordinator.__init__)

    assert "self._heartbeat_task = None" in source
    assert "self._commit_refresh_task = None" in source
    assert "if not self._heartbeat_task.done():" in inspect.getsource(
        GroupCoordinator._stop_heartbeat_task
    )


def test_what_a_fetch_takes_of_a_partition_is_read_for_each_request() -> None:
    """It is set anew at each assignment, by the number of partitions (G8)."""
    source = inspect.getsource(Fetcher._get_actions_per_node)

    assert "position, self._max_partition_fetch_bytes)" in source
    assert "self._max_partition_fetch_bytes = max_partition_fetch_bytes" in inspect.getsource(
        Fetcher.__init__
    )


def test_the_bytes_of_a_kept_response_are_known_until_its_last_record_is_taken() -> None:
    """For the metrics: `FetchResult` drops them when it is empty."""
    batch = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1,
        base_sequence=-1, batch_size=1 << 20,
    )  # fmt: skip
    for offset in range(3):
        batch.append(offset, timestamp=1, key=b"k", value=b"v" * 100, headers=[])
    buffer = bytes(batch.build())
    records = PartitionRecords(
        TopicPartition("t", 0), MemoryRecords(buffer), [], 0, None, None, True, 0
    )
    assert records._records.size_in_bytes() == len(buffer)
    assert "self._partition_records = None" in inspect.getsource(FetchResult.getall)
    assert "self._records = collections.OrderedDict()" in inspect.getsource(Fetcher.__init__)


@pytest.mark.parametrize("mine", [BatchConsumer, BatchConsumerThread, WholeBatches])
def test_every_override_overrides_something(mine: Any) -> None:
    """A method of ours that Faust no longer calls would switch a mechanism off silently (G1)."""
    own_names = {
        BatchConsumer: {"note_group", "note_fetched", "problem", "hands_over", "_joined", "topic",
                        "wiring", "client_options", "status", "iterations", "_open", "_take_answer",
                        "_limited", "_on_broken", "_arm_last_resort", "commit_offsets", "_drain",
                        "_wait_for_flow", "_deliver_ready", "_deliver", "positions", "_tp",
                        "settled_positions"},
        BatchConsumerThread: {"_watch_group", "retry_group", "fetch", "positions", "poll", "hold",
                              "move", "limit_fetches"},
        WholeBatches: set(),
    }  # fmt: skip
    ours = {n for n, v in vars(mine).items() if callable(v) or isinstance(v, property)}
    expected = {n for n in ours if not n.startswith("__")} - own_names[mine]
    base = mine.__mro__[1]

    assert expected
    assert {name for name in expected if not hasattr(base, name)} == set()


def test_an_event_carries_the_batch_as_it_is() -> None:
    """Nothing is decoded by Faust: a record's bytes cannot fail there (G9)."""
    batch: Any = object()
    message = ConsumerMessage("t", 0, 1, 0.0, 0, [], None, batch, None)
    schema = WholeBatches()

    assert schema.loads_value(None, message) is batch
    schema.loads_key(None, message)


def test_the_transport_hands_out_our_consumer() -> None:
    """`Transport.Consumer` is the documented plug point."""
    assert BatchTransport.Consumer is BatchConsumer
    assert issubclass(BatchConsumer, driver.Consumer)
