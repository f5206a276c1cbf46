"""Option B: shared partitions. A gateway reads its user's partition and keeps what is theirs.

Kafka at its best: one partition with the records of many users, in large compressed batches and in
the broker's page cache; librdkafka reads it in fetches of 50 MB, beginning at the record that was
written when the user left, which the broker finds by its timestamp.
"""

import json
import random
import statistics
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.process import cpu_s

USER = b"bob"
#: Messages of USER among those that he has missed, whatever their number.
MISSED = 20
BODY_BYTES = 200
#: Milliseconds between two records: of 1,000 a second in this partition.
_EVERY_MS = 1
#: 2026-01-01T00:00:00Z, epoch milliseconds.
_BEGIN_MS = 1_767_225_600_000
TOPIC = "shared"
#: Seconds until all is written, or one scan is done.
PRODUCE_S_MAX, SCAN_S_MAX = 900.0, 600.0
#: Records that are taken from the client at once: more than that make no scan quicker.
TAKE = 10_000
#: Of one fetch: large, so that a scan is few requests.
FETCH_BYTES = 50_000_000
#: Scans of each size, of which the median is reported: fewer from so many records on.
RUNS, RUNS_MIN, RUNS_RECORDS_MAX = 5, 3, 2_000_000
#: The client at its quickest: few and large fetches, the next one begun while there is room for it,
#: and no checksums.
QUICK_READER: Mapping[str, Any] = {
    "enable.auto.commit": False, "check.crcs": False, "log_level": 0,
    "fetch.max.bytes": FETCH_BYTES, "max.partition.fetch.bytes": FETCH_BYTES,
    "receive.message.max.bytes": 2 * FETCH_BYTES,
    "queued.min.messages": 1_000_000, "queued.max.messages.kbytes": 1_000_000,
    # A queue that was full is looked at again soon, and not after a second.
    "fetch.queue.backoff.ms": 10,
    # A fetch at the end of the log would hold up the next scan's first one.
    "fetch.wait.max.ms": 10,
}  # fmt: skip


def fill(bootstrap: str, sizes: list[int], topic: str = TOPIC) -> None:
    """Write the largest size; a smaller one is its end."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    # A record of long ago would be gone at once.
    made = NewTopic(topic, 1, 1, config={"retention.ms": "-1", "max.message.bytes": "2000000"})
    admin.create_topics([made])[topic].result(PRODUCE_S_MAX)
    producer = Producer({
        "bootstrap.servers": bootstrap, "compression.type": "zstd", "linger.ms": 50,
        "batch.size": 1_000_000, "message.max.bytes": 2_000_000,
        "queue.buffering.max.messages": 500_000,
    })  # fmt: skip
    total = max(sizes)
    places = users_places(sizes)
    random_ = random.Random(7)
    # Text compresses to about a half of itself, and so does this; encrypted bodies do not.
    rest = bytes(BODY_BYTES // 2)
    for n in range(total):
        key = USER if n in places else b"user-%d" % (n * 7919 % 1_000_003)
        body = random_.randbytes(BODY_BYTES - len(rest)) + rest
        while True:
            try:
                producer.produce(topic, key=key, value=body, timestamp=_BEGIN_MS + n * _EVERY_MS)
                break
            except BufferError:  # the client's queue is full: it is the bound
                producer.poll(0.1)
    if producer.flush(PRODUCE_S_MAX):
        raise RuntimeError(f"not written within {PRODUCE_S_MAX:.0f} s")


def users_places(sizes: list[int]) -> set[int]:
    """Where USER's messages stand: spread over the end that all sizes have in common."""
    total, least = max(sizes), min(sizes)
    return {total - least + n * (least // MISSED) for n in range(MISSED)}


def measure(
    bootstrap: str, broker: int, sizes: list[int], topic: str = TOPIC
) -> list[dict[str, float]]:
    """A point per size: the median of its scans. broker: its process id."""
    points = []
    with_gateway = _Gateway(bootstrap, broker, topic)
    try:
        for size in sizes:
            runs = max(min(RUNS, RUNS_RECORDS_MAX // size), RUNS_MIN)
            found = [with_gateway.scan(since=max(sizes) - size) for _ in range(runs)]
            for scan in found:
                if (scan["found"], scan["records"]) != (MISSED, size):
                    raise RuntimeError(f"a scan of {size:,} records found {scan}")
            point = {name: statistics.median(s[name] for s in found) for name in found[0]}
            points.append(
                {**{name: round(value, 6) for name, value in point.items()}, "runs": runs}
            )
    finally:
        with_gateway.consumer.close()
    return points


class _Gateway:
    """A consumer that is connected already, as one of a gateway's pool would be."""

    def __init__(self, bootstrap: str, broker: int, topic: str) -> None:
        self._broker, self._topic = broker, topic
        self._told = 0
        self._received_bytes = 0
        self.consumer = Consumer({
            **QUICK_READER, "bootstrap.servers": bootstrap, "group.id": "gateway",
            "statistics.interval.ms": 100, "stats_cb": self._statistics,
        })  # fmt: skip
        self.consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=SCAN_S_MAX)

    def _statistics(self, text: str) -> None:
        self._told += 1
        self._received_bytes = json.loads(text)["rx_bytes"]

    def _received(self) -> int:
        """Bytes received so far; waits for figures that are newer than this call."""
        told = self._told
        deadline = time.monotonic() + SCAN_S_MAX
        while self._told < told + 2:
            self.consumer.poll(0.05)
            if time.monotonic() > deadline:
                raise RuntimeError("the client tells no statistics")
        return self._received_bytes

    def scan(self, since: int) -> dict[str, float]:
        """One reconnect: from the record that was written when the user left, to the end."""
        received = self._received()
        begin, used, broker_used = time.perf_counter(), time.process_time(), cpu_s(self._broker)
        asked = TopicPartition(self._topic, 0, _BEGIN_MS + since * _EVERY_MS)
        (start,) = self.consumer.offsets_for_times([asked], timeout=SCAN_S_MAX)
        _, end = self.consumer.get_watermark_offsets(start, timeout=SCAN_S_MAX)
        self.consumer.assign([start])
        records, found, position = 0, 0, start.offset
        while position < end:
            # No more than there are: it would be waited for.
            taken = self.consumer.consume(min(TAKE, end - position), timeout=1.0)
            if time.perf_counter() - begin > SCAN_S_MAX:
                raise RuntimeError(f"not at the end within {SCAN_S_MAX:.0f} s")
            for message in taken:
                if message.error() is not None:
                    raise RuntimeError(str(message.error()))
                found += message.key() == USER
            if taken:
                records += len(taken)
                position = taken[-1].offset() + 1
        seconds, cpu = time.perf_counter() - begin, time.process_time() - used
        broker_cpu = cpu_s(self._broker) - broker_used
        self.consumer.unassign()
        return {
            "records": records, "found": found, "seconds": seconds, "cpu_s": cpu,
            "broker_cpu_s": broker_cpu, "bytes": self._received() - received,
        }  # fmt: skip
