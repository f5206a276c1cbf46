"""Reads the topic and its dead letters from their starts, and goes on as they grow."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from tests.audit.asking import REQUEST_MS_MAX, Questions
from tests.audit.journal import Journal
from tests.audit.log import LogRecord, Truth, dead_letter, log_record

#: Seconds of one poll; how soon a closing tail ends, too.
_POLL_S = 0.25
#: Records of one poll: a slice of work that does not hold up the other tasks for long.
_POLL_RECORDS_MAX = 500
#: Seconds until a topic's partitions must be known: a broker may be restarting.
_FIND_S_MAX = 60.0
#: Seconds that closing may take while the broker is away.
_STOP_S_MAX = 10.0
#: Seconds between two looks at how far it has come.
_LOOK_S = 0.05


class Tail:
    """Every committed record of one topic, in the order of each partition.

    asking: a client for questions alone.
    """

    def __init__(self, consumer: Any, topic: str, asking: Any, questions: Questions) -> None:
        self._consumer = consumer
        self._asking = asking
        self._questions = questions
        self._topic = topic
        self.partitions: list[int] = []
        #: Per partition, the offset behind the last record that was taken; polls that are over.
        self._taken: dict[int, int] = {}
        self._polls = 0

    async def start(self) -> None:
        """Assigns every partition that the topic has now, at its start."""
        found = None
        for _ in range(int(_FIND_S_MAX / _POLL_S)):
            found = self._consumer.partitions_for_topic(self._topic)
            if found:
                break
            # A consumer learns of a topic when it is assigned a partition of it.
            self._consumer.assign([TopicPartition(self._topic, 0)])
            await asyncio.sleep(_POLL_S)
        if not found:
            raise TimeoutError(f"no topic {self._topic} within {_FIND_S_MAX:.0f} s")
        self.partitions = sorted(found)
        self._consumer.assign(self._tps())
        await self._consumer.seek_to_beginning(*self._tps())

    def _tps(self) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in self.partitions]

    async def run(self, take: Any) -> None:
        """Until cancelled, which loses nothing that anybody relies on: it is the end."""
        while True:
            found = await self._consumer.getmany(
                timeout_ms=int(1000 * _POLL_S), max_records=_POLL_RECORDS_MAX
            )
            for tp, records in found.items():
                for record in records:
                    take(tp.partition, record)
                self._taken[tp.partition] = records[-1].offset + 1
            self._polls += 1
            await asyncio.sleep(0)  # what is at hand is returned without one turn for the others

    async def ends(self) -> dict[int, int]:
        """The log's ends now, as readers of committed records see them."""
        ends = await self._questions.ask(self._asking.end_offsets(self._tps()))
        return {tp.partition: offset for tp, offset in ends.items()}

    def has_come_to(self, partition: int, end: int) -> bool:
        return self._taken.get(partition, 0) >= end

    async def take_to(self, ends: dict[int, int], job: "asyncio.Task[None]") -> None:
        """Returns when everything below has been taken. The caller limits the time.

        job: of `run`, whose failure is raised here.
        """
        for partition, end in ends.items():
            while not self.has_come_to(partition, end):
                if job.done():
                    job.result()
                # A log may end with what is no record, a transaction's marker: its position says.
                polls = self._polls
                if await self._consumer.position(TopicPartition(self._topic, partition)) >= end:
                    while self._polls == polls and not job.done():  # noqa: ASYNC110 - a poll away
                        await asyncio.sleep(_LOOK_S)
                    break
                await asyncio.sleep(_LOOK_S)


class LogTail:
    """A Truth that grows: both topics, followed."""

    def __init__(self, truth: Truth, journal: Journal, records: Tail, dead: Tail) -> None:
        self.truth = truth
        self._journal = journal
        self._records = records
        self._dead = dead
        self._jobs = [
            asyncio.create_task(records.run(self.take_record)),
            asyncio.create_task(dead.run(self.take_dead)),
        ]

    async def close(self) -> None:
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    @property
    def partitions(self) -> list[int]:
        return self._records.partitions

    def take_record(self, partition: int, record: Any) -> None:
        taken: LogRecord = log_record(
            record.key, record.value, record.headers, record.timestamp, self._journal.produced
        )
        self.truth.records.setdefault(partition, {})[record.offset] = taken

    def take_dead(self, partition: int, record: Any) -> None:
        place, letter = dead_letter(record.key, record.value, record.headers, record.timestamp)
        if place is None:
            place = (-1 - partition, record.offset)  # of no record: the judge finds it
        self.truth.dead.setdefault(place, []).append(letter)

    async def catch_up(self) -> None:
        """Returns when all is known that stood in both topics at the call."""
        tails = (self._records, self._dead)
        ends = [await tail.ends() for tail in tails]
        for tail, until, job in zip(tails, ends, self._jobs, strict=True):
            await tail.take_to(until, job)

    def last_records(self) -> dict[int, int]:
        """The highest offset with a record in each partition, -1 where there is none."""
        records = self.truth.records
        return {p: max(records.get(p, {}), default=-1) for p in self.partitions}


@asynccontextmanager
async def log_tail(
    truth: Truth, journal: Journal, bootstrap: str, topic: str, dead_letters_topic: str
) -> AsyncIterator[LogTail]:
    """Follows both topics while it is open."""
    questions = Questions()
    async with AsyncExitStack() as stack:
        # A client only to ask: a question behind a fetch that waits for records waits with it.
        asking = await _started(stack, bootstrap)
        stack.push_async_callback(questions.end)
        tails = []
        for name in (topic, dead_letters_topic):
            tails.append(Tail(await _started(stack, bootstrap), name, asking, questions))
            await tails[-1].start()
        both = LogTail(truth, journal, *tails)
        stack.push_async_callback(both.close)
        yield both


async def _started(stack: AsyncExitStack, bootstrap: str) -> AIOKafkaConsumer:
    """A consumer, stopped with the stack. Waits for a broker that is away, as `Tail.start`."""
    deadline_s = time.monotonic() + _FIND_S_MAX
    while True:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False,
            auto_offset_reset="earliest", isolation_level="read_committed",
            metadata_max_age_ms=5_000, request_timeout_ms=REQUEST_MS_MAX,
        )  # fmt: skip
        try:
            await consumer.start()
        except (KafkaError, OSError, TimeoutError):
            await _stop(consumer)
            if time.monotonic() > deadline_s:
                raise
            await asyncio.sleep(_POLL_S)
        except BaseException:
            await _stop(consumer)
            raise
        else:
            stack.push_async_callback(_stop, consumer)
            return consumer


async def _stop(consumer: AIOKafkaConsumer) -> None:
    with suppress(KafkaError, TimeoutError):  # the broker may be away
        await asyncio.wait_for(consumer.stop(), _STOP_S_MAX)
