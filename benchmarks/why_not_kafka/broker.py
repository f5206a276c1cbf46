"""The experiment's Kafka: as it is shipped, with a heap that is large enough for what it is asked.

The suite's own is made to be small and soon there, which is no measure of Kafka. What is left of
that favours it: three partitions of offsets and not 50, and no wait before a group's first
rebalance.
"""

import os
import re
import signal
import subprocess
from pathlib import Path

from benchmarks.machine import pinned
from tests.services.jvm import Kafka
from tests.services.ready import wait_until

#: Four times what Kafka's own start script gives.
_HEAP_GB_MAX = 4
#: The options of Kafka's own bin/kafka-run-class.sh; the last one is for `live_mb` and does nothing
#: until it is asked.
_JVM = (
    f"-Xmx{_HEAP_GB_MAX}g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:+PrintClassHistogram",
)  # fmt: skip
#: Seconds that a full collection may take.
_COLLECT_S_MAX = 60.0


def new_broker(directory: Path) -> Kafka:
    """One node, broker and controller (KRaft), with the just-in-time compiler and the intervals
    that Kafka has by itself."""
    return Kafka(directory, jvm=_JVM, intervals={})


def live_mb(kafka: Kafka) -> float:
    """The heap that a full collection leaves. HotSpot makes one, and says what is left, on
    SIGQUIT."""
    log = kafka.directory / "kafka.log"
    seen = log.stat().st_size
    os.kill(kafka.pid, signal.SIGQUIT)
    wait_until(
        lambda: collected(log.read_bytes()[seen:]) is not None,
        what="a full collection", seconds=_COLLECT_S_MAX, child=kafka,
    )  # fmt: skip
    return (collected(log.read_bytes()[seen:]) or 0) / 2**20


def collected(said: bytes) -> int | None:
    """Bytes that HotSpot's class histogram counts in all; None before its last line."""
    found = re.search(rb"^Total +\d+ +(\d+)\s*\n", said, re.MULTILINE)
    return int(found[1]) if found else None


def about() -> str:
    """Version, mode, heap and Java, for the page."""
    java = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True)
    return (
        f"Kafka {pinned('kafka.pom.xml', 'kafka_2.13')}, one node that is broker and controller"
        f" (KRaft), with a heap of {_HEAP_GB_MAX} GB at most, on {java.stderr.splitlines()[0]}"
    )
