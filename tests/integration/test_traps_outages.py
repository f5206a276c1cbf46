"""What the client libraries do while a service is away, or hands over too much at once."""

import time

from aiokafka import AIOKafkaProducer

from tests.conftest import Address
from tests.deployment import Deployment, expected, signal
from tests.fault_proxy import FaultyEndpoint
from tests.integration.trapping import assigned, hold, last, peak_resident_bytes, trapped

#: Seconds that an outage lasts: longer than a deployment's session time-out.
OUTAGE_S = 8.0
#: Of the backlog that inflates: records of a value's length in each batch, batches.
VALUE_BYTES, BATCH_RECORDS, BATCHES = 20_000, 200, 50
#: Bytes that a worker may occupy: 80 MB without a record, 8 MB of records in work and waiting,
#: batches of 4 MB as they are unpacked. The backlog is 400 MB.
RESIDENT_BYTES_MAX = 200 * 1024 * 1024


async def test_a_rebalance_within_an_outage_of_the_store_is_survived(
    deployment: Deployment, dynamodb: Address
) -> None:
    """The store hangs for longer than a session while one of two workers is told to stop: its
    drain is bounded, the other is assigned everything, asks in vain where to begin, and stays a
    member; when the store is back it goes on by itself, though calls given up long ago are made
    now (G1, G2, G8).

    Before that the first rebalance of a new group, which has no offset: aiokafka says so to a
    fetch that straddles it, and that is nobody's end (G1)."""
    deployment.init(partitions=2)
    users = [f"user-{n}" for n in range(6)]
    records = [(users[n % 6], b"%d" % n) for n in range(300)]
    with FaultyEndpoint(dynamodb.endpoint) as endpoint:
        env = {
            "AWS_ENDPOINT_URL_DYNAMODB": endpoint.url,
            "POSTE_DYNAMODB__TIMEOUT_S": "1",
            "POSTE_DRAIN_S": "2",
        }
        staying = trapped(deployment, "straddle", **env)
        await deployment.said("reading from")
        leaving = deployment.worker(**env)
        both = (staying, leaving)
        await deployment.until(
            lambda: [len(last(w)) for w in both] == [1, 1], "each has a partition"
        )
        await deployment.produce(records[:150])
        await deployment.drained()
        before = len(assigned(staying))
        began_s = time.monotonic()
        endpoint.hang()
        await deployment.produce(records[150:])
        await deployment.until(lambda: "waiting for" in leaving.output(), "a flush hangs")
        leaving.signal(signal.SIGTERM)
        await deployment.exited(leaving, 30)
        await deployment.until(lambda: assigned(staying)[before:] == [[0, 1]], "all is the other's")
        await deployment.until(lambda: time.monotonic() > began_s + OUTAGE_S, "the outage lasts")
        endpoint.resume()
        await deployment.drained()

        assert staying.alive
        assert "trap: a fetch straddles" in staying.output()
        assert assigned(staying)[before:] == [[0, 1]]
        assert "drain ended: the flushes of partitions [" in deployment.log()
        for user in users:
            assert await deployment.bodies(user) == expected(records, user)


async def _produce_inflating(deployment: Deployment, partition: int) -> None:
    """Batches that are a hundred times as long when they are unpacked."""
    producer = AIOKafkaProducer(
        bootstrap_servers=deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"],
        compression_type="gzip",
        max_batch_size=VALUE_BYTES * (BATCH_RECORDS + 1),
    )
    await producer.start()
    try:
        sent = []
        for _ in range(BATCHES):
            batch = producer.create_batch()
            for _ in range(BATCH_RECORDS):
                batch.append(key=b"bob", value=bytes(VALUE_BYTES), timestamp=None)
            sent.append(await producer.send_batch(batch, deployment.topic, partition=partition))
        for each in sent:
            await each
    finally:
        await producer.stop()


async def test_batches_that_inflate_do_not_fill_the_memory(deployment: Deployment) -> None:
    """The fetch size of the protocol counts compressed bytes: 2 MB of it are 400 MB of records.
    While the store hangs, and when it is quick again, a worker holds a bounded part of them
    (G8)."""
    deployment.init(partitions=2)
    gates = []
    for partition in range(2):
        await _produce_inflating(deployment, partition)
        gates.append(hold(deployment, f"write-{partition}"))
    worker = trapped(deployment, "no_store")
    await deployment.until(
        lambda: worker.output().count("trap: held up by") == 2, "both partitions are in work"
    )
    peaks = [peak_resident_bytes(worker)]

    def at_rest() -> bool:
        peaks.append(peak_resident_bytes(worker))
        return len(peaks) > 10 and peaks[-1] == peaks[-10]

    await deployment.until(at_rest, "it has fetched what it may")
    for gate in gates:
        gate.unlink()
    await deployment.drained()

    assert peaks[-1] < RESIDENT_BYTES_MAX
    assert peak_resident_bytes(worker) < RESIDENT_BYTES_MAX
