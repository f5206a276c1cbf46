"""What is asked of the broker about the log: the record before progress, readable or not."""

from collections.abc import Iterable, Mapping

import pytest
from aiokafka import TopicPartition

from tests.records import MadeRecord
from worker.kafka import log_client
from worker.kafka.log_client import UNREADABLE, KafkaLogClient
from worker.record import fingerprint


class Peeked:
    """An aiokafka consumer of a few records, which fails on those named, as it does on a header
    name that is not UTF-8: on the first that it unpacks, whatever else the fetch would bring."""

    def __init__(self, records: Mapping[int, range], unreadable: set[tuple[int, int]]) -> None:
        self._records = records
        self._unreadable = unreadable
        self._positions: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """There is nothing to connect to."""

    def assign(self, tps: Iterable[TopicPartition]) -> None:
        self._positions = dict.fromkeys(tps, 0)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._positions[tp] = offset

    def pause(self, tp: TopicPartition) -> None:
        del self._positions[tp]

    def unsubscribe(self) -> None:
        self._positions = {}

    async def getmany(
        self, *, timeout_ms: int, max_records: int | None = None
    ) -> dict[TopicPartition, list[MadeRecord]]:
        found: dict[TopicPartition, list[MadeRecord]] = {}
        for tp, position in self._positions.items():
            for offset in self._records[tp.partition][position:]:
                if (tp.partition, offset) in self._unreadable:
                    raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a header name")
                found.setdefault(tp, []).append(MadeRecord(partition=tp.partition, offset=offset))
                if max_records is not None and sum(map(len, found.values())) == max_records:
                    return found
        return found


async def log(monkeypatch: pytest.MonkeyPatch, *unreadable: tuple[int, int]) -> KafkaLogClient:
    reader = Peeked({0: range(10), 1: range(10)}, set(unreadable))
    monkeypatch.setattr(log_client, "AIOKafkaConsumer", lambda **_: reader)
    monkeypatch.setattr(log_client, "AIOKafkaAdminClient", lambda **_: reader)
    made = KafkaLogClient(topic="undelivered", group="g", client_options={})
    await made.start()
    return made


async def test_only_the_record_that_is_asked_for_is_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one behind progress may be such as stopped the partition: it must not stop the opening
    of any, again and again (G9)."""
    found = await (await log(monkeypatch, (0, 5))).fingerprints({0: 4, 1: 8})

    assert found == {
        0: fingerprint(MadeRecord(partition=0, offset=4)),
        1: fingerprint(MadeRecord(partition=1, offset=8)),
    }


async def test_a_record_that_cannot_be_read_is_none_that_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It equals no stored fingerprint, so its partition stays closed, and no other does (G9)."""
    found = await (await log(monkeypatch, (0, 4))).fingerprints({0: 4, 1: 8})

    assert found == {0: UNREADABLE, 1: fingerprint(MadeRecord(partition=1, offset=8))}
