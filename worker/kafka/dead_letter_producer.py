"""The producer of dead letters: all replicas acknowledge, however long the broker takes."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer, errors
from aiokafka.partitioner import DefaultPartitioner

from worker.backoff import WaitTracker, backoff_delays
from worker.dead_letters import DeadLetter, dead_letter_headers
from worker.errors import OperatorError
from worker.flush_waits import current_flush
from worker.logging_config import event

logger = logging.getLogger(__name__)

#: Seconds between two log lines during a wait for the broker.
_LOG_EVERY_S = 30.0
#: Seconds that closing may take: a producer would wait for ever for an unavailable broker.
_STOP_S_MAX = 5.0
#: Bytes of a request: unlimited here, because the topic's `max.message.bytes` limits it.
_REQUEST_BYTES_MAX = 2**31 - 1
#: The protocol's value of a missing timestamp.
_NO_TIMESTAMP = -1

#: Errors after which a new producer can succeed: the broker or the leader was unavailable, or the
#: broker has forgotten the producer's sequence, which no idempotent producer survives.
_PASSING = (
    errors.KafkaConnectionError, errors.KafkaTimeoutError, errors.NodeNotReadyError,
    errors.RequestTimedOutError, errors.LeaderNotAvailableError,
    errors.NotLeaderForPartitionError, errors.UnknownTopicOrPartitionError,
    errors.ReplicaNotAvailableError, errors.BrokerNotAvailableError, errors.NotEnoughReplicasError,
    errors.NotEnoughReplicasAfterAppendError, errors.KafkaStorageError,
    errors.CorruptRecordException, errors.ProducerClosed, errors.ProducerFenced,
    errors.OutOfOrderSequenceNumber, errors.InvalidProducerEpoch,
    errors.InvalidProducerIdMapping, errors.UnknownProducerId, errors.StaleMetadata, OSError,
    TimeoutError,
)  # fmt: skip


def make_producer(client_options: Mapping[str, Any]) -> AIOKafkaProducer:
    """Return the producer of dead letters, for a running loop; options have aiokafka's names."""
    return AIOKafkaProducer(
        **client_options,
        acks="all",
        enable_idempotence=True,  # retries neither repeat nor reorder
        max_request_size=_REQUEST_BYTES_MAX,
        compression_type=None,  # stores the bytes that were read
    )


@dataclass(eq=False)
class _Connection:
    """A producer, and whether a caller has found it broken: its sequence has a gap for all."""

    producer: Any
    broken: asyncio.Event = field(default_factory=asyncio.Event)


class KafkaDeadLetters:
    """The DeadLetters of a topic. Connects at the first letter; `stop` closes.

    In flight is at most what the callers pass: one batch per partition each.
    """

    def __init__(
        self,
        topic: str,
        client_options: Mapping[str, Any],
        *,
        producer: Callable[[Mapping[str, Any]], Any] = make_producer,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
        wait_tracker: WaitTracker | None = None,
        log_every_s: float = _LOG_EVERY_S,
    ) -> None:
        self._topic = topic
        self._options = dict(client_options)
        self._make_producer = producer
        self._sleep = sleep
        self._random = random
        self._wait_tracker = wait_tracker or WaitTracker()
        self._log_every_s = log_every_s
        self._starting = asyncio.Lock()
        self._connection: _Connection | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._partitioner = DefaultPartitioner()

    async def start(self) -> None:
        """Connect now. Waits for an unavailable broker."""
        await self.send(())

    async def stop(self) -> None:
        """Close what is open. Unacknowledged letters were not reported as sent."""
        if self._connection is not None:
            self._drop(self._connection)
        if self._closing:
            _, pending = await asyncio.wait(self._closing, timeout=_STOP_S_MAX)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        with self._wait_tracker.count_wait():  # aiokafka waits inside as well, silently
            await self._send_all(list(letters))

    async def _send_all(self, left: list[DeadLetter]) -> None:
        delays = backoff_delays(self._random)
        while True:
            attempt = asyncio.ensure_future(self._attempt(left))
            try:
                left, why = await self._watched(attempt)
            finally:
                attempt.cancel()
            if why is None:
                return
            self._say_waiting(repr(why))
            await self._sleep(next(delays))

    async def _watched(
        self, attempt: "asyncio.Future[tuple[list[DeadLetter], Exception | None]]"
    ) -> tuple[list[DeadLetter], Exception | None]:
        """Return the attempt's result, however long it takes, and log the wait: aiokafka retries by
        itself."""
        while True:
            done, _ = await asyncio.wait({attempt}, timeout=self._log_every_s)
            if done:
                return attempt.result()
            self._say_waiting("no acknowledgement yet")

    def _say_waiting(self, why: str) -> None:
        logger.warning(
            "waiting for the broker to take dead letters in %s: %s", self._topic, why,
            extra=event("dead_letters_waiting", topic=self._topic, reason=why),
        )  # fmt: skip

    async def _attempt(
        self, letters: list[DeadLetter]
    ) -> tuple[list[DeadLetter], Exception | None]:
        """Send with one producer. Return the letters not acknowledged, and why; none and None:
        done."""
        posted: list[asyncio.Future[Any]] = []
        connection: _Connection | None = None
        try:
            connection = await self._connected()
            await self._unless_broken(connection, self._acknowledged(connection, letters, posted))
        except _PASSING as error:
            if connection is not None:
                self._drop(connection)
            taken = {id(letter) for letter, f in zip(letters, posted, strict=False) if _taken(f)}
            return [letter for letter in letters if id(letter) not in taken], error
        except (errors.KafkaError, errors.IllegalOperation) as error:
            raise OperatorError(
                f"the broker refuses dead letters in {self._topic}: {error!r}: check the topic"
                " (`poste init --check`), its max.message.bytes, cleanup.policy and timestamp"
                " limits, and this worker's permission to write to it"
            ) from error
        finally:
            for future in posted:
                future.cancel()
            await asyncio.gather(*posted, return_exceptions=True)  # read, so that none is logged
        return [], None

    async def _acknowledged(
        self, connection: _Connection, letters: list[DeadLetter], posted: list[Any]
    ) -> None:
        """Post all letters, and wait for all. posted: collects what was posted, also if a later one
        fails."""
        waits = current_flush()
        for letter in letters:
            posted.append(await self._post(connection.producer, letter))
            posted[-1].add_done_callback(
                lambda done: waits.note_durable() if _taken(done) else None
            )
        await asyncio.gather(*posted)

    async def _unless_broken(self, connection: _Connection, work: Awaitable[None]) -> None:
        """Raise what the work raises; or ProducerClosed if another caller found the producer
        broken.

        A producer that another caller has stopped never answers, neither a wait for an
        acknowledgement nor a `send` that waits for the topic's partitions.
        """
        job = asyncio.ensure_future(work)
        broken = asyncio.ensure_future(connection.broken.wait())
        try:
            waited: set[asyncio.Future[Any]] = {job, broken}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not job.done():
                raise errors.ProducerClosed
            job.result()
        finally:
            broken.cancel()
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)

    async def _post(self, producer: Any, letter: DeadLetter) -> "asyncio.Future[Any]":
        """Pass one letter to the producer. The future is done when the letter is acknowledged."""
        record = letter.record
        headers = dead_letter_headers(letter)
        timestamp = _NO_TIMESTAMP if record.timestamp is None else record.timestamp
        if timestamp != _NO_TIMESTAMP and not (record.key is None and record.value is None):
            posted: asyncio.Future[Any] = await producer.send(
                self._topic,
                value=record.value,
                key=record.key,
                timestamp_ms=timestamp,
                headers=headers,
            )
            return posted
        # A batch of its own: `send` refuses a record without key and value, and gives a record
        # without a timestamp that of the next one in its batch.
        batch = producer.create_batch()
        batch.append(timestamp=timestamp, key=record.key, value=record.value, headers=headers)
        batch.close()
        partitions = sorted(await producer.partitions_for(self._topic))
        partition = self._partitioner(record.key, partitions, partitions)
        own: asyncio.Future[Any] = await producer.send_batch(
            batch, self._topic, partition=partition
        )
        return own

    async def _connected(self) -> _Connection:
        async with self._starting:
            if self._connection is None:
                connection = _Connection(self._make_producer(self._options))
                try:
                    await connection.producer.start()
                except BaseException:
                    self._close(connection)
                    raise
                self._connection = connection
            return self._connection

    def _drop(self, connection: _Connection) -> None:
        """Stop using this producer."""
        if self._connection is connection:
            self._connection = None
        if not connection.broken.is_set():
            connection.broken.set()
            self._close(connection)

    def _close(self, connection: _Connection) -> None:
        """Close in the background, which takes as long as the broker is unavailable."""
        task = asyncio.ensure_future(connection.producer.stop())
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: "asyncio.Task[None]") -> None:
        self._closing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.info(
                "the dead-letter producer did not close cleanly: %r", error,
                extra=event("dead_letter_producer_close_failed", reason=repr(error)),
            )  # fmt: skip


def _taken(posted: "asyncio.Future[Any]") -> bool:
    return posted.done() and not posted.cancelled() and posted.exception() is None
