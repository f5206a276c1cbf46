"""From produce to readable: how long messages wait at a steady rate, without a linger.

One worker, a Kafka, and a producer in a process of its own, all on this machine, against an
endpoint that answers at once: every message counts, and what is waited for is Kafka's and the
worker's share.
"""

from contextlib import ExitStack

from benchmarks.endpoint import recording_endpoint
from benchmarks.md_tables import number
from benchmarks.process import cpu_s
from benchmarks.report import Found, Table
from benchmarks.sending import Load, waits
from benchmarks.workers import new_deployment, running_worker
from local import start_services

SOFTWARE = ("Kafka", "aiokafka", "aiobotocore", "confluent-kafka", "faust-streaming")
PARTITIONS = 8
#: Messages a second, and whether few users have most of them.
RATES = ((1_000, False), (3_000, False), (1_000, True))
#: Seconds of a rate: so that p99.9 has ten messages above it.
SECONDS = 20.0
#: Both JVMs compile what they do often, and are slow until then.
WARM = Load(15.0, 1_000)


def measure(*, small: bool) -> Found:
    """See `report.Part`."""
    rows: list[list[str]] = []
    figures: dict[str, float] = {}
    with start_services() as services, ExitStack() as stack:
        deployment = new_deployment(services, PARTITIONS, {"POSTE_BATCH__LINGER_S": "0"})
        endpoint = stack.enter_context(recording_endpoint(deployment.topic, PARTITIONS))
        worker = stack.enter_context(running_worker(deployment, endpoint))
        waits(deployment, endpoint, Load(2.0, 1_000) if small else WARM)
        for per_s, chatty in RATES:
            load = Load(2.0 if small else SECONDS, per_s, chatty=chatty)
            begin_s = cpu_s(worker.pid)
            found = waits(deployment, endpoint, load)
            cpu_us = (cpu_s(worker.pid) - begin_s) * 1e6 / load.messages
            name = f"{per_s:,}{', chatty' if chatty else ''}"
            measured = (found.p50, found.p99, found.p999, found.longest, cpu_us,
                        found.broker_p99, found.late_p99)  # fmt: skip
            cells = ["" if value is None else number(value) for value in measured]
            rows.append([name, *cells])
            if per_s == 1_000 and found.p99 is not None:
                figures[f"p99 ms/{name}"] = round(found.p99, 1)
    header = ("messages a second", "p50 ms", "p99 ms", "p99.9 ms", "longest ms",
              "CPU µs a message", "broker's answer, p99 ms", "producer late, p99 ms")  # fmt: skip
    return Found({"latency": Table(header, rows)}, figures)
