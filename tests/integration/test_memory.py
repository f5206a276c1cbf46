"""Memory as a promise: a worker stays within `memory_mb`, and comes to the end of its backlog."""

from tests.conftest import Address
from tests.deployment import Deployment
from tests.fault_proxy import FaultyEndpoint
from tests.integration.trapping import peak_resident_bytes

MEMORY_MB = 160
PARTITIONS, RECORDS, USERS = 16, 96_000, 64


async def test_a_backlog_behind_a_store_that_is_away_stays_within_memory_mb(
    deployment: Deployment, dynamodb: Address
) -> None:
    """All that may be fetched, wait and be in work is there before the store takes anything: with
    what a worker would take of 512 MiB this is far above the limit (G1, G8)."""
    deployment.fresh = True  # a forked process has the server's memory
    deployment.init(partitions=PARTITIONS)
    body = bytes(300)
    users = [b"user-%d" % n for n in range(USERS)]
    await deployment.produce(
        {"key": users[n % USERS], "value": body, "partition": n % PARTITIONS}
        for n in range(RECORDS)
    )
    with FaultyEndpoint(dynamodb.endpoint) as endpoint:
        worker = deployment.worker(
            AWS_ENDPOINT_URL_DYNAMODB=endpoint.url, POSTE_MEMORY_MB=f"{MEMORY_MB}"
        )
        await deployment.until(
            lambda: worker.output().count("reading from offset") == PARTITIONS, "it reads"
        )
        endpoint.hang()
        await deployment.said("waiting for DynamoDB")
        peaks = [peak_resident_bytes(worker)]

        def at_rest() -> bool:
            peaks.append(peak_resident_bytes(worker))
            return len(peaks) > 20 and peaks[-1] == peaks[-20]

        await deployment.until(at_rest, "it has fetched what it may")
        endpoint.resume()
        await deployment.drained(120)

        assert worker.alive
        assert peak_resident_bytes(worker) < MEMORY_MB * 1024 * 1024
    assert len(await deployment.read("user-7")) == RECORDS // USERS
