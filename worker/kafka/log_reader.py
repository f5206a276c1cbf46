"""Reads ranges of a topic for commands: one partition at a time, committed records, no group."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from worker.record import Record

#: Seconds without a further record, or a further offset, until a command gives up.
ANSWER_S_MAX = 10.0
#: Records of one slice, which bounds memory together with PARTITION_FETCH_BYTES.
RECORDS_MAX = 500
#: Bytes, compressed, that one fetch takes; the broker always sends the first batch whole.
PARTITION_FETCH_BYTES = 1024 * 1024
_POLL_MS = 500


class LogRange(NamedTuple):
    """Offsets of one partition, from `first` up to and without `end`."""

    first: int
    end: int

    @property
    def size(self) -> int:
        return max(0, self.end - self.first)


@dataclass(frozen=True, slots=True)
class LogSlice:
    """What was read from one offset up to and without `next`.

    records: in order; offsets without a record are markers, aborted or compacted. gone: retention
    removed all of it while it was being read. unreadable: the client cannot decode it.
    """

    first: int
    next: int
    records: Sequence[Record] = ()
    gone: bool = False
    unreadable: bool = False


class LogReader:
    """Reads a topic through a consumer of its own. Opened with `open_log_reader`.

    Methods raise KafkaError, and TimeoutError where the broker does not answer.
    """

    def __init__(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self._consumer = consumer
        self.topic = topic

    async def ranges(self, partitions: Iterable[int]) -> dict[int, LogRange]:
        """Return what the log holds now, up to the stable end."""
        tps = [TopicPartition(self.topic, partition) for partition in partitions]
        async with asyncio.timeout(ANSWER_S_MAX):
            starts = await self._consumer.beginning_offsets(tps)
            ends = await self._consumer.end_offsets(tps)
        return {tp.partition: LogRange(starts[tp], ends[tp]) for tp in tps}

    async def offsets_at(self, partitions: Iterable[int], time_ms: int) -> dict[int, int | None]:
        """Return the first offset with a timestamp at or after a time. None: there is none."""
        tps = [TopicPartition(self.topic, partition) for partition in partitions]
        async with asyncio.timeout(ANSWER_S_MAX):
            found = await self._consumer.offsets_for_times(dict.fromkeys(tps, time_ms))
        return {tp.partition: None if found[tp] is None else found[tp].offset for tp in tps}

    async def read(self, partition: int, wanted: LogRange) -> AsyncIterator[LogSlice]:
        """Read a range, slice by slice, to its end. One range is read at a time."""
        tp = TopicPartition(self.topic, partition)
        self._consumer.assign([tp])
        self._consumer.seek(tp, wanted.first)
        position, moved_at, alone = wanted.first, time.monotonic(), False
        while position < wanted.end:
            begin = position
            try:
                found = await self._consumer.getmany(
                    tp, timeout_ms=_POLL_MS, max_records=1 if alone else RECORDS_MAX
                )
            except OffsetOutOfRangeError:
                start = (await self.ranges([partition]))[partition].first
                if start <= begin:
                    raise
                position = min(start, wanted.end)
                self._consumer.seek(tp, position)
                yield LogSlice(begin, position, gone=True)
            except UnicodeDecodeError:
                # A header name that is not UTF-8, somewhere in the slice: look at each alone.
                self._consumer.seek(tp, begin)
                if alone:
                    position = begin + 1
                    self._consumer.seek(tp, position)
                    yield LogSlice(begin, position, unreadable=True)
                alone = not alone
            else:
                position = min(await self._consumer.position(tp), wanted.end)
                records = [r for r in found.get(tp, ()) if r.offset < wanted.end]
                if position > begin or records:
                    yield LogSlice(begin, position, records)
            if position > begin:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > ANSWER_S_MAX:
                raise TimeoutError


@asynccontextmanager
async def open_log_reader(
    client_options: Mapping[str, Any], topic: str
) -> AsyncIterator[LogReader]:
    """Open a LogReader. Raises KafkaError if no broker answers."""
    consumer = AIOKafkaConsumer(
        **client_options,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
    )
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            await consumer.start()
        await asyncio.sleep(0)  # its task begins: one that is cancelled before fails its `stop`
        yield LogReader(consumer, topic)
    finally:
        await consumer.stop()
