"""Sends dead letters to their topic again, as new records."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from worker.cli.bar import ProgressBar
from worker.cli.dead_letter_topic import open_dead_letter_topic
from worker.cli.stored_letter import DeadLetterSelection, RecordPlace, StoredDeadLetter
from worker.errors import OperatorError
from worker.kafka.admin import ANSWER_S_MAX, missing_topic, open_kafka_admin
from worker.kafka.errors import connections_watched, fault_of
from worker.kafka.options import client_options
from worker.settings import KafkaSettings

#: Dead letters under way at a time, which an interruption leaves in doubt.
IN_FLIGHT_MAX = 100
#: Different dead letters of one replay, to limit memory.
DISTINCT_MAX = 1_000_000
#: Bytes of a request: unlimited, because the topic's `max.message.bytes` limits it.
_REQUEST_BYTES_MAX = 2**31 - 1


class ReplaySource(Protocol):
    """A dead-letter topic. name: its own; source: the source topic's."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    def letters(
        self, selection: DeadLetterSelection, bar: ProgressBar
    ) -> AsyncIterator[StoredDeadLetter]:
        """Read a selection."""
        ...


async def letters_to_replay(
    topic: ReplaySource, selection: DeadLetterSelection
) -> AsyncIterator[StoredDeadLetter]:
    """Read each record of the selection once, as a replay of the topic repeats its dead letters.

    Foreign records are included. Raises OperatorError for a foreign record at a named place, before
    later ones.
    """
    seen: set[object] = set()
    async for letter in topic.letters(selection, ProgressBar()):
        if letter.foreign:
            if selection.places:
                raise OperatorError(
                    f"the record at {letter.place} of {topic.name!r} is no dead letter of"
                    f" {topic.source!r} and is not sent again: {letter.foreign}"
                )
            yield letter
            continue
        identity = letter.identity()
        if identity in seen:
            continue
        if len(seen) >= DISTINCT_MAX:
            raise OperatorError(
                f"more than {DISTINCT_MAX} dead letters: replay them a part at a time, with"
                " --partition and --reason"
            )
        seen.add(identity)
        yield letter


class ReplayProducer:
    """Produces dead letters again. A context manager. partitions: of the source topic."""

    def __init__(self, kafka: KafkaSettings, partitions: int) -> None:
        self._kafka = kafka
        self._partitions = partitions
        self._producer = AIOKafkaProducer(
            **client_options(kafka), acks="all", enable_idempotence=True,
            max_request_size=_REQUEST_BYTES_MAX,
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                await self._producer.start()
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    def partition_of(self, letter: StoredDeadLetter) -> int | None:
        """Return the partition of the record, which its producer chose. None: it no longer exists,
        and the key decides."""
        assert letter.source is not None
        partition = letter.source.partition
        return partition if partition < self._partitions else None

    async def send(
        self, letters: Sequence[StoredDeadLetter]
    ) -> AsyncIterator[tuple[StoredDeadLetter, RecordPlace]]:
        """Produce letters; yield each with its new place, once all in-sync replicas have it.

        Raises OperatorError at the first one without acknowledgement. Later ones may be sent.
        """
        with connections_watched() as connections:
            posted: list[asyncio.Future[Any]] = []
            at = letters[0]
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    for letter in letters:
                        at = letter
                        posted.append(await self._produce(letter))
                    for letter, future in zip(letters, posted, strict=True):
                        at = letter
                        sent = await future
                        yield letter, RecordPlace(sent.partition, sent.offset)
            except (KafkaError, TimeoutError) as error:
                fault = fault_of(error, connections.failed, self._kafka)
                raise OperatorError(
                    f"the replay stopped at {at.place}: {fault.text}; what is listed is sent, and"
                    f" up to {IN_FLIGHT_MAX} behind it may be"
                ) from None
            finally:
                for future in posted:
                    future.cancel()
                await asyncio.gather(*posted, return_exceptions=True)

    async def _produce(self, letter: StoredDeadLetter) -> "asyncio.Future[Any]":
        record = letter.record
        assert record is not None
        posted: asyncio.Future[Any] = await self._producer.send(
            self._kafka.topic,
            key=record.key,
            value=record.value,
            headers=letter.original_headers(),
            partition=self.partition_of(letter),
        )
        return posted


async def replay(
    kafka: KafkaSettings, selection: DeadLetterSelection, *, yes: bool
) -> AsyncIterator[tuple[StoredDeadLetter, RecordPlace | None]]:
    """Send the selection again, and yield each letter with its new place.

    None: the letter is foreign and left out, or `yes` is not set. Raises OperatorError, for named
    places before the first is sent.
    """
    async with open_kafka_admin(kafka) as admin:
        source = await admin.topic(kafka.topic)
    if source is None:
        raise missing_topic(kafka.topic)
    async with (
        open_dead_letter_topic(kafka) as topic,
        ReplayProducer(kafka, source.partitions) as sending,
    ):
        if selection.places:
            async for _ in letters_to_replay(topic, selection):
                pass
        chunk: list[StoredDeadLetter] = []
        async for letter in letters_to_replay(topic, selection):
            if letter.foreign or not yes:
                yield letter, None
                continue
            chunk.append(letter)
            if len(chunk) == IN_FLIGHT_MAX:
                async for sent in sending.send(chunk):
                    yield sent
                chunk.clear()
        if chunk:
            async for sent in sending.send(chunk):
                yield sent
