"""Records of every kind through the real worker: dead letters, CloudEvents, transactions."""

import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from cloudevents.core.bindings.kafka import (
    KafkaMessage,
    from_structured_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Producer

from tests.deployment import Deployment

STARTED_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z


async def test_bad_records_become_dead_letters_byte_for_byte(deployment: Deployment) -> None:
    """A record that cannot become a message is in the dead-letter topic, with its reason, and the
    good ones around it are delivered (G9)."""
    deployment.init(partitions=1)
    bad: list[tuple[dict[str, Any], str]] = [
        ({"key": None, "value": b"nobody"}, "no_user_id"),
        ({"key": b"", "value": b"nobody"}, "no_user_id"),
        ({"key": b"u" * 1025, "value": b"x"}, "user_id_too_long"),
        ({"key": b"\xff\xfe", "value": b"x"}, "user_id_not_utf8"),
        ({"key": "bob", "value": None}, "no_body"),
        ({"key": "bob", "value": b"x" * 500_000}, "too_large"),
        ({"key": "bob", "value": b"x", "headers": [("ce_id", b"1")]}, "malformed_cloudevent"),
    ]
    headers = [("traceparent", b"00-1"), ("twice", b"1"), ("twice", b"2"), ("null", None)]
    records = [
        {**record, "timestamp_ms": STARTED_MS + n, "headers": record.get("headers", headers)}
        for n, (record, _) in enumerate(bad)
    ]
    await deployment.produce([("bob", b"before"), *records, ("bob", b"after")])
    deployment.worker(POSTE_RETENTION_DAYS="3650")
    await deployment.drained()
    letters = await deployment.consumed(f"{deployment.topic}.dead-letters", len(bad))

    assert await deployment.bodies("bob") == [b"before", b"after"]
    letters.sort(key=lambda letter: letter.timestamp)
    for letter, record, (_, reason) in zip(letters, records, bad, strict=True):
        own = len(letter.headers) - 5
        tail = dict(letter.headers[own:])
        assert tail["dead-letter-reason"] == reason.encode()
        assert tail["dead-letter-topic"] == deployment.topic.encode()
        assert tail["dead-letter-partition"] == b"0"
        assert len(tail["dead-letter-detail"]) <= 1024
        assert list(letter.headers[:own]) == record["headers"]
        key = record["key"]
        assert letter.key == (key.encode() if isinstance(key, str) else key)
        assert (letter.value, letter.timestamp) == (record["value"], record["timestamp_ms"])


async def test_a_record_without_key_and_value_is_a_dead_letter_too(deployment: Deployment) -> None:
    """aiokafka's producer refuses such a record, other clients send it; it must not stop the
    partition (G9)."""
    deployment.init(partitions=1)
    producer = Producer(
        {"bootstrap.servers": deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"]}
    )
    producer.produce(deployment.topic, value=None, key=None, headers=[("a", b"b")])
    producer.flush(30)
    await deployment.produce([("bob", b"after")])
    deployment.worker()
    await deployment.drained()
    (letter,) = await deployment.consumed(f"{deployment.topic}.dead-letters", 1)

    assert (letter.key, letter.value) == (None, None)
    assert letter.headers[0] == ("a", b"b")
    assert await deployment.bodies("bob") == [b"after"]


async def test_too_many_dead_letters_in_a_row_stop_the_worker(deployment: Deployment) -> None:
    """A bad deploy does not drain the topic: the worker says so and exits with 1, and nothing of
    the batch is produced or committed (G9)."""
    deployment.init(partitions=1)
    await deployment.produce([(None, b"x")] * 12)
    worker = deployment.worker(POSTE_DEAD_LETTERS_CONSECUTIVE_MAX="10")

    assert await deployment.exited(worker) == 1
    assert "11 records in a row cannot become messages" in deployment.log()
    assert "Traceback" not in deployment.log()
    assert deployment.progress()[0]["next"] == 0

    deployment.worker(POSTE_DEAD_LETTERS_CONSECUTIVE_MAX="12")
    await deployment.drained()
    assert len(await deployment.consumed(f"{deployment.topic}.dead-letters", 12)) == 12


async def test_json_that_python_cannot_carry_is_fetched_as_json(deployment: Deployment) -> None:
    """A structured event that is too deep is a dead letter; everything else that JSON allows is
    shown by `poste fetch --json`, which prints JSON (G9)."""
    deployment.init(partitions=1)
    structured = [("content-type", b"application/cloudevents+json")]
    event = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data":%s}'
    plain = [("content-type", b"application/json")]
    deep, huge = b"[" * 970 + b"]" * 970, b"9" * 5000
    bodies = [(event % deep, structured), (event % b"1e400", structured),
              (event % huge, structured), (deep, plain), (b'{"n":1e400}', plain),
              (b'{"n":1.5}', plain)]  # fmt: skip
    await deployment.produce(
        {"key": "bob", "value": body, "headers": headers} for body, headers in bodies
    )
    deployment.worker()
    await deployment.drained()
    (letter,) = await deployment.consumed(f"{deployment.topic}.dead-letters", 1)
    printed = deployment.poste("fetch", "bob", "--json").stdout

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    page = json.loads(printed, parse_constant=refuse)
    assert dict(letter.headers)["dead-letter-reason"] == b"malformed_cloudevent"
    assert letter.value == event % deep
    assert [message["event"]["data"] for message in page["messages"]] == [
        "1e400", huge.decode(), deep.decode(), '{"n":1e400}', {"n": 1.5},
    ]  # fmt: skip
    assert deployment.poste("fetch", "bob").stderr == ""  # for a person, too


@pytest.mark.parametrize("mode", [to_binary_event, to_structured_event])
async def test_the_cloudevents_sdk_is_understood(
    deployment: Deployment, mode: Callable[[CloudEvent], Any]
) -> None:
    """Both modes of the SDK's Kafka binding: attributes, extensions and data arrive (G1)."""
    deployment.init(partitions=1)
    event = CloudEvent(
        attributes={
            "type": "chat.message", "source": "/chat/7", "id": "m-1", "subject": "hi",
            "time": datetime(2026, 11, 24, 9, 0, 0, 123456, tzinfo=UTC), "partitionkey": "bob",
            "datacontenttype": "application/json",
        },
        data={"text": "grüß dich"},
    )  # fmt: skip
    message = mode(event)
    await deployment.produce(
        [{"key": message.key, "value": message.value, "headers": list(message.headers.items())}]
    )
    deployment.worker()
    await deployment.drained()
    (found,) = await deployment.read("bob")

    assert (found.id, found.source, found.type) == ("m-1", "/chat/7", "chat.message")
    assert found.time is not None
    assert found.time.isoformat() == "2026-11-24T09:00:00.123456+00:00"
    assert found.body == message.value
    seen = found.to_cloudevent()
    assert (seen["id"], seen["source"], seen["subject"]) == ("m-1", "/chat/7", "hi")
    assert seen["data"] == {"text": "grüß dich"}
    again = from_structured_event(
        KafkaMessage({"content-type": b"application/cloudevents+json"}, None,
                     json.dumps(seen).encode())
    )  # fmt: skip
    assert again.get_data() == event.get_data()


async def test_kafkas_own_console_producer_is_understood(deployment: Deployment) -> None:
    """Plain keyed records of a client we did not write (G1)."""
    deployment.init(partitions=2)
    deployment.kafka_tool(
        "org.apache.kafka.tools.ConsoleProducer", "--topic", deployment.topic,
        "--property", "parse.key=true", "--property", "key.separator=:",
        text="bob:hello\nalice:hi\nbob:again\n",
    )  # fmt: skip
    deployment.worker()
    await deployment.drained()

    assert await deployment.bodies("bob") == [b"hello", b"again"]
    (message,) = await deployment.read("alice")
    assert message.id == message.position.id(deployment.topic)


async def test_librdkafka_compressed_batches_are_understood(deployment: Deployment) -> None:
    """Every compression, as kcat and the other clients of librdkafka send them; values that
    inflate a hundredfold are cut into bounded batches (G1, G8)."""
    deployment.init(partitions=1)
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        producer = Producer({
            "bootstrap.servers": deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"],
            "compression.type": codec, "linger.ms": 200,
        })  # fmt: skip
        for n in range(50):
            producer.produce(
                deployment.topic, key="bob", value=b"%s %d " % (codec.encode(), n) * 2000
            )
        producer.flush(30)
    deployment.worker(POSTE_BATCH__BYTES_MAX="100000")
    await deployment.drained()

    bodies = await deployment.bodies("bob")
    assert [body.split()[:2] for body in bodies] == [
        [codec, b"%d" % n] for codec in (b"gzip", b"snappy", b"lz4", b"zstd") for n in range(50)
    ]


async def _produce_unreadable(deployment: Deployment) -> None:
    """A record of bob whose header name is not UTF-8, as a client of another language might send:
    a batch of version 2, with two bytes and its checksum replaced."""
    batch = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1,
        base_sequence=-1, batch_size=4096,
    )  # fmt: skip
    batch.append(0, STARTED_MS, b"bob", b"bad", [("zz", b"v")])
    raw = bytearray(batch.build())
    name = raw.index(b"zz")
    raw[name : name + 2] = b"\xff\xfe"
    raw[17:21] = calc_crc32c(memoryview(raw)[21:]).to_bytes(4, "big")
    client = AIOKafkaClient(
        bootstrap_servers=deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"]
    )
    await client.bootstrap()
    try:
        await client.set_topics([deployment.topic])
        leader = client.cluster.leader_for_partition(TopicPartition(deployment.topic, 0))
        request = ProduceRequest(
            transactional_id=None, required_acks=-1, timeout=30_000,
            topics=[(deployment.topic, [(0, bytes(raw))])],
        )  # fmt: skip
        ((_, ((_, error, *_),)),) = (await client.send(leader, request)).topics
        assert error == 0
    finally:
        await client.close()


async def test_a_header_name_that_the_client_cannot_read_stops_its_partition_alone(
    deployment: Deployment,
) -> None:
    """aiokafka raises on it and forgets what it had unpacked; what stands before it is delivered,
    the other partitions go on, and the reason names the way past it; in the next worker, which
    looks at the record before it, as in the first (G1, G9)."""
    deployment.init(partitions=2)
    await deployment.produce([{"key": "bob", "value": b"%d" % n, "partition": 0} for n in range(5)])
    await _produce_unreadable(deployment)
    await deployment.produce([{"key": "bob", "value": b"behind", "partition": 0}])
    await deployment.produce(
        [{"key": "alice", "value": b"%d" % n, "partition": 1} for n in range(5)]
    )
    worker = deployment.worker()
    await deployment.said("--partition 0 --to 6`")
    alices = [b"%d" % n for n in range(5)]
    for times in (1, 2):
        await deployment.produce([{"key": "alice", "value": b"more", "partition": 1}])
        alices.append(b"more")
        await deployment.until(
            lambda: _mailbox_is(deployment, "alice", alices), "the other partition goes on"
        )
        await deployment.until(
            lambda: deployment.progress()[0]["group_offset"] == 5, "what is before is committed"
        )

        assert worker.alive
        assert await deployment.bodies("bob") == [b"%d" % n for n in range(5)]
        worker.signal(signal.SIGTERM)
        assert await deployment.exited(worker) == 0
        if times == 1:
            worker = deployment.worker()
            await deployment.until(
                lambda: deployment.log().count("--partition 0 --to 6`") == 2, "it says it again"
            )
    deployment.poste("skip", "--partition", "0", "--to", "6", "--yes")
    deployment.worker()
    await deployment.drained()

    assert await deployment.bodies("bob") == [*(b"%d" % n for n in range(5)), b"behind"]
    assert await deployment.bodies("alice") == alices


async def _mailbox_is(deployment: Deployment, user: str, wanted: list[bytes]) -> bool:
    return await deployment.bodies(user) == wanted


async def test_aborted_transactions_are_not_delivered(deployment: Deployment) -> None:
    """Only committed records are read, and the markers hold up neither progress nor the group
    (G1)."""
    deployment.init(partitions=1)
    producer = Producer({
        "bootstrap.servers": deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"],
        "transactional.id": deployment.topic,
    })  # fmt: skip
    producer.init_transactions(30)
    worker = deployment.worker()
    for n in range(6):
        producer.begin_transaction()
        producer.produce(deployment.topic, key="bob", value=b"%d" % n)
        producer.flush(30)
        if n % 2:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    await deployment.until(
        lambda: _mailbox_is(deployment, "bob", [b"0", b"2", b"4"]), "three are there"
    )

    assert worker.alive

    deployment.worker()  # a rebalance resumes behind the markers
    await deployment.until(
        lambda: deployment.log().count("reading from offset") >= 2, "one of them is assigned again"
    )
    await deployment.produce([("bob", b"plain")])
    await deployment.until(
        lambda: _mailbox_is(deployment, "bob", [b"0", b"2", b"4", b"plain"]), "and the next"
    )
