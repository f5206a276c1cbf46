"""Queries the broker about the topic's log, through connections of its own.

The consumer's own connection would answer too, but behind its long poll. Implements `opening.Log`.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from worker.kafka.admin import coordinated
from worker.record import Fingerprint, fingerprint
from worker.resume import LogState

#: Seconds that one request may take before the partitions stay closed and are asked again.
ANSWER_S_MAX = 10.0
#: Bytes that one fetch takes of a partition to read one record; the broker always sends the first
#: batch whole.
PEEK_BYTES = 64 * 1024
#: Fingerprint of a record that aiokafka cannot unpack: the worker has not read it, so it equals
#: none.
UNREADABLE = Fingerprint(None, -1)


class KafkaLogClient:
    """Opened with `start`, closed with `stop`; the methods are those of `opening.Log`."""

    def __init__(self, *, topic: str, group: str, client_options: Mapping[str, Any]) -> None:
        self.topic = topic
        self.group = group
        self._options = dict(client_options)
        self._consumer: AIOKafkaConsumer | None = None
        self._uncommitted: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._peeking = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises KafkaConnectionError if no broker answers."""
        self._consumer = self._new_consumer("read_committed")
        self._uncommitted = self._new_consumer("read_uncommitted")
        self._admin = AIOKafkaAdminClient(**self._options)
        await self._consumer.start()
        await self._uncommitted.start()
        await self._admin.start()

    def _new_consumer(self, isolation_level: str) -> AIOKafkaConsumer:
        """Return a consumer. Its isolation level determines which end it reports, so there is one
        per level."""
        return AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level=isolation_level,
            max_partition_fetch_bytes=PEEK_BYTES,
        )

    async def stop(self) -> None:
        for consumer in (self._consumer, self._uncommitted):
            if consumer is not None:
                await consumer.stop()
        if self._admin is not None:
            await self._admin.close()

    def _tps(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self.topic, partition) for partition in partitions]

    def _reader(self) -> AIOKafkaConsumer:
        assert self._consumer is not None, "start() first"
        return self._consumer

    async def states(self, partitions: Iterable[int]) -> dict[int, LogState]:
        tps = self._tps(partitions)
        assert self._uncommitted is not None, "start() first"
        async with asyncio.timeout(ANSWER_S_MAX):
            starts = await self._reader().beginning_offsets(tps)
            stable_ends = await self._reader().end_offsets(tps)
            ends = await self._uncommitted.end_offsets(tps)  # last: it is not below the other
        return {tp.partition: LogState(starts[tp], ends[tp], stable_ends[tp]) for tp in tps}

    async def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the end of each partition's log, as its leader says, including what no transaction
        has committed. Raises KafkaError or TimeoutError if one of them gets no answer."""
        assert self._uncommitted is not None, "start() first"
        async with asyncio.timeout(ANSWER_S_MAX):
            found = await self._uncommitted.end_offsets(self._tps(partitions))
        return {tp.partition: offset for tp, offset in found.items()}

    async def group_offsets(self, partitions: Iterable[int]) -> dict[int, int | None]:
        assert self._admin is not None, "start() first"
        admin = self._admin
        committed = await coordinated(lambda: admin.list_consumer_group_offsets(self.group))
        offsets = {tp: found.offset for tp, found in committed.items() if found.offset >= 0}
        return {tp.partition: offsets.get(tp) for tp in self._tps(partitions)}

    async def offsets_at(self, partitions: Iterable[int], time_ms: int) -> dict[int, int]:
        tps = self._tps(partitions)
        async with asyncio.timeout(ANSWER_S_MAX):
            found = await self._reader().offsets_for_times(dict.fromkeys(tps, time_ms))
            ends = await self._reader().end_offsets(tps)
        return {tp.partition: ends[tp] if found[tp] is None else found[tp].offset for tp in tps}

    async def retention_s(self) -> float | None:
        """Return the topic's `retention.ms` in seconds; infinity: unlimited; None: this user may
        not read it. Raises KafkaError or TimeoutError if the broker does not answer."""
        assert self._admin is not None, "start() first"
        admin = self._admin
        topic = ConfigResource(ConfigResourceType.TOPIC, self.topic)
        for answer in await coordinated(lambda: admin.describe_configs([topic])):
            for _, _, _, _, entries in answer.resources:
                for name, value, *_ in entries:
                    if name == "retention.ms":
                        return math.inf if int(value) < 0 else int(value) / 1000
        return None

    async def fingerprints(self, offsets: Mapping[int, int]) -> dict[int, Fingerprint | None]:
        if not offsets:
            return {}
        async with self._peeking, asyncio.timeout(ANSWER_S_MAX):
            try:
                return await self._peek(offsets)
            except UnicodeDecodeError:  # of an unknown one of them
                return {p: await self._peek_alone(p, offset) for p, offset in offsets.items()}

    async def _peek_alone(self, partition: int, offset: int) -> Fingerprint | None:
        try:
            return (await self._peek({partition: offset}))[partition]
        except UnicodeDecodeError:
            return UNREADABLE

    async def _peek(self, offsets: Mapping[int, int]) -> dict[int, Fingerprint | None]:
        """Fetch the records. Raises UnicodeDecodeError like aiokafka for a header name that is not
        UTF-8, of a requested record or of one before it in its batch."""
        reader = self._reader()
        found: dict[int, Fingerprint | None] = {}
        reader.assign(self._tps(offsets))
        for tp in self._tps(offsets):
            reader.seek(tp, offsets[tp.partition])
        try:
            while len(found) < len(offsets):
                # One record in all: the one behind it may be unreadable.
                for tp, (record,) in (await reader.getmany(timeout_ms=1000, max_records=1)).items():
                    reader.pause(tp)
                    there = record.offset == offsets[tp.partition]
                    found[tp.partition] = fingerprint(record) if there else None
        finally:
            reader.unsubscribe()
        return found
