"""The dead-letter topic for an operator.

A record is foreign if it is no dead letter of this topic. It is shown, and never sent again.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from worker.cli.bar import ProgressBar
from worker.cli.stored_letter import (
    DeadLetterSelection,
    RecordPlace,
    StoredDeadLetter,
    parse_dead_letter,
)
from worker.errors import OperatorError
from worker.kafka.admin import missing_topic, open_kafka_admin
from worker.kafka.log_reader import LogRange, LogReader, open_log_reader
from worker.kafka.options import client_options
from worker.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class DeadLetterTopic:
    """The dead-letter topic. `open_dead_letter_topic` opens it. source: the source topic."""

    reader: LogReader
    partitions: int
    source: str

    @property
    def name(self) -> str:
        return self.reader.topic

    async def ranges(self, selection: DeadLetterSelection) -> dict[int, LogRange]:
        """Return the ranges of the selection. Raises OperatorError for a partition or a place that
        the topic does not have."""
        if selection.places:
            return await self._places(selection.places)
        wanted = selection.partitions or range(self.partitions)
        self._require(wanted)
        found = await self.reader.ranges(wanted)
        if selection.since_ms is not None:
            at = await self.reader.offsets_at(wanted, selection.since_ms)
            for partition, offset in at.items():
                end = found[partition].end
                found[partition] = LogRange(end if offset is None else offset, end)
        if selection.offset is not None:
            for partition, (first, end) in found.items():
                found[partition] = LogRange(max(first, selection.offset), end)
        return found

    async def _places(self, places: Sequence[RecordPlace]) -> dict[int, LogRange]:
        self._require(place.partition for place in places)
        there = await self.reader.ranges({place.partition for place in places})
        found: dict[int, LogRange] = {}
        for place in places:
            held = there[place.partition]
            if not held.first <= place.offset < held.end:
                raise _no_record(self.name, place, held)
            before = found.get(place.partition, LogRange(place.offset, place.offset))
            found[place.partition] = LogRange(
                min(before.first, place.offset), max(before.end, place.offset + 1)
            )
        return found

    def _require(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            if partition >= self.partitions:
                raise OperatorError(
                    f"the topic {self.name!r} has no partition {partition}: it has 0 to"
                    f" {self.partitions - 1}"
                )

    async def letters(
        self, selection: DeadLetterSelection, bar: ProgressBar
    ) -> AsyncIterator[StoredDeadLetter]:
        """Read the selection, partition by partition. bar: advances by offsets.

        Raises OperatorError as `ranges`, and for a place without a record.
        """
        left = set(selection.places)
        ranges = await self.ranges(selection)
        bar.begin(sum(wanted.size for wanted in ranges.values()))
        for partition, wanted in ranges.items():
            async for part in self.reader.read(partition, wanted):
                bar.advance(part.next - part.first)
                letters = [parse_dead_letter(record, self.source) for record in part.records]
                if part.unreadable:
                    place = RecordPlace(partition, part.first)
                    letters = [StoredDeadLetter(place, None, foreign="the client cannot decode it")]
                for letter in letters:
                    if selection.places and letter.place not in left:
                        continue
                    left.discard(letter.place)
                    if selection.matches(letter):
                        yield letter
        if left:
            place = min(left)
            raise _no_record(self.name, place, ranges[place.partition])


def _no_record(topic: str, place: RecordPlace, held: LogRange) -> OperatorError:
    return OperatorError(
        f"the topic {topic!r} has no record at {place}: partition {place.partition} holds"
        f" {held.first} to {held.end - 1}"
        if held.size
        else f"the topic {topic!r} has no record at {place}: partition {place.partition} is empty"
    )


@asynccontextmanager
async def open_dead_letter_topic(kafka: KafkaSettings) -> AsyncIterator[DeadLetterTopic]:
    """Open the dead-letter topic. Raises OperatorError, in one line, if it is missing."""
    async with open_kafka_admin(kafka) as admin:
        topic = await admin.topic(kafka.dead_letters_topic)
        if topic is None:
            raise missing_topic(kafka.dead_letters_topic)
        options = client_options(kafka)
        async with open_log_reader(options, kafka.dead_letters_topic) as reader:
            yield DeadLetterTopic(reader, topic.partitions, kafka.topic)
