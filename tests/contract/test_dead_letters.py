"""The contract of DeadLetters, on the real Kafka: what is read back is the record."""

from collections.abc import AsyncIterator, Sequence

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.conftest import Address
from tests.records import NEW_YEAR_MS, MadeRecord
from worker.dead_letters import DeadLetter, dead_letter_headers
from worker.errors import DeadLetterReason, OperatorError
from worker.kafka.dead_letter_producer import KafkaDeadLetters
from worker.record import Record, RecordHeader

pytestmark = pytest.mark.services

PARTITIONS = 2


@pytest.fixture
async def topic(kafka: Address, topic_name: str) -> AsyncIterator[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    # Retention goes by the records' own timestamps, which a dead letter keeps.
    settings = {"max.message.bytes": "200000", "retention.ms": "-1"}
    try:
        new = NewTopic(topic_name, PARTITIONS, 1, topic_configs=settings)
        await admin.create_topics([new])
        yield topic_name
    finally:
        await admin.close()


@pytest.fixture
async def dead_letters(kafka: Address, topic: str) -> AsyncIterator[KafkaDeadLetters]:
    letters = KafkaDeadLetters(topic, {"bootstrap_servers": kafka.bootstrap})
    yield letters
    await letters.stop()


async def read(kafka: Address, topic: str, count: int) -> list[MadeRecord]:
    """The first records of all partitions, in partition order."""
    reader = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest", group_id=None
    )
    reader.assign([TopicPartition(topic, n) for n in range(PARTITIONS)])
    await reader.start()
    found: list[MadeRecord] = []
    try:
        for _ in range(count):
            record = await reader.getone()
            found.append(
                MadeRecord(
                    key=record.key,
                    value=record.value,
                    headers=record.headers,
                    timestamp=record.timestamp,
                    partition=record.partition,
                )
            )
    finally:
        await reader.stop()
    return found


def facts(record: Record, headers: Sequence[RecordHeader]) -> str:
    """What must be the same, so that it can be sorted."""
    return repr((record.key, record.value, record.timestamp, tuple(headers)))


async def test_a_dead_letter_is_the_record_byte_for_byte(
    kafka: Address, topic: str, dead_letters: KafkaDeadLetters
) -> None:
    """Null, empty and arbitrary keys and values, no timestamp, odd headers, in one go (G9)."""
    odd = (("", b""), ("a", None), ("a", b"\xff\x00"), ("é", b"x"))
    records = [
        MadeRecord(key=key, value=value, timestamp=timestamp, headers=odd, offset=n)
        for n, (key, value, timestamp) in enumerate(
            (key, value, timestamp)
            for key in (None, b"", b"\xff", b"bob")
            for value in (None, b"", b"\x00\xff")
            for timestamp in (-1, 0, NEW_YEAR_MS)
        )
    ]
    letters = [DeadLetter(record, DeadLetterReason.NO_BODY, "wrong") for record in records]
    await dead_letters.send(letters)

    found = await read(kafka, topic, len(records))
    assert sorted(facts(record, record.headers) for record in found) == sorted(
        facts(each.record, dead_letter_headers(each)) for each in letters
    )
    for key in (b"", b"\xff", b"bob"):
        assert len({record.partition for record in found if record.key == key}) == 1


async def test_letters_of_one_key_stay_in_order(
    kafka: Address, topic: str, dead_letters: KafkaDeadLetters
) -> None:
    """Through many batches of the producer (G3)."""
    letters = [
        DeadLetter(MadeRecord(value=b"%d" % n, offset=n), DeadLetterReason.NO_BODY, "x" * 900)
        for n in range(300)
    ]
    await dead_letters.send(letters)

    found = await read(kafka, topic, len(letters))
    assert [record.value for record in found] == [each.record.value for each in letters]


async def test_a_record_above_the_topics_limit_is_refused_for_good(
    dead_letters: KafkaDeadLetters,
) -> None:
    """The operator must raise the limit: the record is neither lost nor passed (G1, G9)."""
    huge = DeadLetter(MadeRecord(value=b"x" * 300_000), DeadLetterReason.TOO_LARGE, "huge")
    with pytest.raises(OperatorError, match=r"max\.message\.bytes"):
        await dead_letters.send([huge])
