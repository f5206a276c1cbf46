"""Dead letters: what they carry, and how they are sent, on a producer made for tests."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, errors

from tests.records import MadeRecord
from worker.backoff import WaitTracker
from worker.dead_letters import DETAIL_BYTES_MAX, DeadLetter, dead_letter_headers
from worker.errors import DeadLetterReason, OperatorError
from worker.kafka import dead_letter_producer
from worker.kafka.dead_letter_producer import KafkaDeadLetters, make_producer


def letter(detail: str = "wrong", **fields: Any) -> DeadLetter:
    return DeadLetter(MadeRecord(**fields), DeadLetterReason.NO_BODY, detail)


def test_the_records_own_headers_stay_and_the_reason_follows() -> None:
    """Byte for byte, repeated names and null values too (G9)."""
    own = (("a", b"\xff"), ("a", None), ("dead-letter-reason", b"older"))
    headers = dead_letter_headers(letter(headers=own, offset=42))

    assert headers == [
        *own,
        ("dead-letter-reason", b"no_body"),
        ("dead-letter-detail", b"wrong"),
        ("dead-letter-topic", b"undelivered-messages"),
        ("dead-letter-partition", b"3"),
        ("dead-letter-offset", b"42"),
    ]


@pytest.mark.parametrize(
    "detail", ["x" * 1024, "x" * 1025, "é" * 600, "x" + "é" * 600, "😀" * 300, "\ud800" * 2000]
)
def test_a_detail_is_cut_at_a_whole_character(detail: str) -> None:
    """At most 1 KiB, and still UTF-8 (G8)."""
    found = dict(dead_letter_headers(letter(detail)))["dead-letter-detail"]
    assert found is not None

    assert DETAIL_BYTES_MAX - 4 < len(found) <= DETAIL_BYTES_MAX
    assert detail.encode(errors="replace").decode().startswith(found.decode())


@dataclass
class Sent:
    """What one producer was given; `fate` says, per letter, what becomes of it."""

    fate: list[Exception | None] = field(default_factory=list)
    start_fails: Exception | None = None
    started: bool = False
    stopped: bool = False
    sent: list[dict[str, Any]] = field(default_factory=list)
    unanswered: bool = False
    #: Set: `send` does not return, as aiokafka's while it does not know the topic's partitions.
    asked: asyncio.Event | None = None

    async def start(self) -> None:
        if self.start_fails is not None:
            raise self.start_fails
        self.started = True

    async def stop(self) -> None:
        self.stopped = True

    async def send(self, topic: str, **fields: Any) -> "asyncio.Future[None]":
        assert fields["value"] is not None or fields["key"] is not None, "aiokafka refuses it"
        if self.asked is not None and not self.asked.is_set():
            self.asked.set()
            await asyncio.Event().wait()
        return self._take(fields)

    def _take(self, fields: dict[str, Any]) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent.append(fields)
        fate = self.fate.pop(0) if self.fate else None
        if fate is not None:
            future.set_exception(fate)
        elif not self.unanswered:
            future.set_result(None)
        return future

    def create_batch(self) -> "SentBatch":
        return SentBatch()

    async def partitions_for(self, topic: str) -> set[int]:
        return {0, 1}

    async def send_batch(
        self, batch: "SentBatch", topic: str, *, partition: int
    ) -> "asyncio.Future[None]":
        assert partition in {0, 1}
        return self._take(batch.fields)


@dataclass
class SentBatch:
    """A batch of one record."""

    fields: dict[str, Any] = field(default_factory=dict)

    def append(self, **fields: Any) -> None:
        assert not self.fields
        self.fields = fields

    def close(self) -> None:
        assert self.fields


async def until(condition: Callable[[], bool]) -> None:
    """Lets other tasks run until a condition holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)


class Broker:
    """Hands out producers, one after the other; `waits` counts the backoffs."""

    def __init__(self, *producers: Sent) -> None:
        self.left = list(producers)
        self.waits = 0
        self.dead_letters = KafkaDeadLetters(
            "chat.dead-letters",
            {"bootstrap_servers": "nowhere"},
            producer=self._next,
            sleep=self._sleep,
            random=lambda: 0.5,
        )

    def _next(self, options: Mapping[str, Any]) -> Sent:
        assert options == {"bootstrap_servers": "nowhere"}
        return self.left.pop(0)

    async def _sleep(self, delay_s: float) -> None:
        self.waits += 1
        await asyncio.sleep(0)


async def test_a_letter_is_the_record_byte_for_byte() -> None:
    """Key, value, headers and timestamp, under the same key (G9)."""
    producer = Sent()
    one = letter(key=b"\xff", value=b"\x00", timestamp=5)
    await Broker(producer).dead_letters.send([one])

    assert producer.sent == [
        {"key": b"\xff", "value": b"\x00", "timestamp_ms": 5, "headers": dead_letter_headers(one)}
    ]


@pytest.mark.parametrize(
    "fields", [{"key": None, "value": None}, {"timestamp": -1}, {"timestamp": None}]
)
async def test_what_send_cannot_carry_goes_in_a_batch_of_its_own(fields: dict[str, Any]) -> None:
    """No key and no value, or no timestamp: still byte for byte (G9)."""
    producer = Sent()
    one = letter(**fields)
    await Broker(producer).dead_letters.send([one])

    timestamp = fields.get("timestamp", one.record.timestamp)
    assert producer.sent == [
        {
            "key": one.record.key,
            "value": one.record.value,
            "timestamp": -1 if timestamp is None else timestamp,
            "headers": dead_letter_headers(one),
        }
    ]


async def test_only_what_is_not_acknowledged_is_sent_again() -> None:
    """By a new producer: the old one's sequence has a gap (G1, G9)."""
    one, two = Sent(fate=[None, errors.NotLeaderForPartitionError(), None]), Sent()
    broker = Broker(one, two)
    await broker.dead_letters.send([letter(offset=n) for n in range(3)])

    assert [dict(each["headers"])["dead-letter-offset"] for each in two.sent] == [b"1"]
    assert one.stopped
    assert not two.stopped
    assert broker.waits == 1


async def test_a_broker_that_is_away_is_waited_for() -> None:
    """Without end, with backoff (G1, G9)."""
    away = [Sent(start_fails=errors.KafkaConnectionError("nobody")) for _ in range(20)]
    there = Sent()
    broker = Broker(*away, there)
    await broker.dead_letters.send([letter()])

    assert len(there.sent) == 1
    assert broker.waits == 20
    assert all(producer.stopped for producer in away)


@pytest.mark.parametrize(
    "refusal",
    [
        errors.MessageSizeTooLargeError(),
        errors.TopicAuthorizationFailedError("chat.dead-letters"),
        errors.InvalidTimestampError(),
        errors.UnknownError(),
    ],
)
async def test_what_the_broker_refuses_for_good_ends_the_process(refusal: Exception) -> None:
    """With one line for the operator; nothing is swallowed (G1)."""
    with pytest.raises(OperatorError, match=r"chat\.dead-letters") as caught:
        await Broker(Sent(fate=[None, refusal])).dead_letters.send([letter(), letter()])
    assert "\n" not in str(caught.value)


async def test_a_broken_producer_is_broken_for_all() -> None:
    """A flush that waits on a producer another one gave up sends again by the new one (G1)."""
    one, two = Sent(unanswered=True), Sent()
    broker = Broker(one, two)
    waiting = asyncio.create_task(broker.dead_letters.send([letter(offset=1)]))
    async with asyncio.timeout(10):
        await until(lambda: bool(one.sent))
        one.fate = [errors.OutOfOrderSequenceNumber()]
        await broker.dead_letters.send([letter(offset=2)])
        await waiting

    sent = sorted(dict(each["headers"])["dead-letter-offset"] for each in two.sent)
    assert sent == [b"1", b"2"]


async def test_a_producer_that_was_stopped_holds_up_nobody_who_is_sending() -> None:
    """A flush inside `send`, which a stopped producer never ends, when another one gives the
    producer up: it sends by the new one (G1, G8)."""
    one, two = Sent(asked=asyncio.Event()), Sent()
    broker = Broker(one, two)
    waiting = asyncio.create_task(broker.dead_letters.send([letter(offset=1)]))
    async with asyncio.timeout(10):
        assert one.asked is not None
        await one.asked.wait()
        one.fate = [errors.OutOfOrderSequenceNumber()]
        await broker.dead_letters.send([letter(offset=2)])
        await waiting

    sent = sorted(dict(each["headers"])["dead-letter-offset"] for each in two.sent)
    assert sent == [b"1", b"2"]


async def test_a_silent_broker_is_spoken_of(caplog: pytest.LogCaptureFixture) -> None:
    """aiokafka retries by itself, so we say that we wait, and say it again (G9)."""
    wait_tracker = WaitTracker()
    dead_letters = KafkaDeadLetters(
        "chat.dead-letters", {}, producer=lambda _: Sent(unanswered=True), log_every_s=0.001,
        wait_tracker=wait_tracker,
    )  # fmt: skip
    sending = asyncio.create_task(dead_letters.send([letter(value=b"secret", key=None)]))
    await until(lambda: len(caplog.records) >= 2)
    seen = [wait_tracker.count]
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    seen.append(wait_tracker.count)

    assert seen == [1, 0]  # no stall of ours

    assert "chat.dead-letters" in caplog.text
    assert "secret" not in caplog.text


async def test_stop_closes_the_producer() -> None:
    """And a second stop has nothing to do (G8)."""
    producer = Sent()
    dead_letters = Broker(producer).dead_letters
    await dead_letters.start()
    assert producer.started
    await dead_letters.stop()
    await dead_letters.stop()

    assert producer.stopped


def test_the_producer_waits_for_all_replicas_and_compresses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """aiokafka takes our options by these names, and knows no other (G1, G9)."""
    options = {"bootstrap_servers": "127.0.0.1:1", "client_id": "dead-letters"}
    monkeypatch.setattr(
        dead_letter_producer, "AIOKafkaProducer", inspect.signature(AIOKafkaProducer).bind
    )
    bound: Any = make_producer(options)
    bound.apply_defaults()

    assert bound.arguments.items() >= {**options, "acks": "all"}.items()
    assert bound.arguments["enable_idempotence"] is True
    assert bound.arguments["compression_type"] is None
