"""Producers of both kinds write to one topic: what they give a user, and what the user reads."""

from confluent_kafka import Producer

from tests.deployment import Deployment
from tests.pages import code, page, table

ROWS = table(page("format"), "key", "murmur2", "CRC-32")
KEYS = [code(row[0]) for row in ROWS]
PARTITIONS = 12


def _partitions(deployment: Deployment, bodies: list[bytes], **options: str) -> dict[str, int]:
    """Where librdkafka puts each key's records, one after the other."""
    found: dict[str, int] = {}
    servers = deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"]
    producer = Producer({"bootstrap.servers": servers, "acks": "all", **options})
    for body in bodies:
        for key in KEYS:
            producer.produce(
                deployment.topic, key=key, value=body,
                on_delivery=lambda _, sent, key=key: found.update({key: sent.partition()}),
            )  # fmt: skip
    assert producer.flush(30) == 0
    return found


async def test_what_librdkafka_and_aiokafka_choose_is_what_the_page_says(
    deployment: Deployment,
) -> None:
    """With the option that the documents name, all producers agree (G3)."""
    deployment.init(partitions=PARTITIONS)
    by_default = _partitions(deployment, [b"x"])
    as_said = _partitions(deployment, [b"x"], partitioner="murmur2_random")
    sent = await deployment.produce([(key, b"x") for key in KEYS])

    assert as_said == {code(row[0]): int(row[1]) for row in ROWS}
    assert by_default == {code(row[0]): int(row[2]) for row in ROWS}
    assert dict(zip(KEYS, (partition for partition, _ in sent), strict=True)) == as_said


async def test_mail_of_both_kinds_of_producers_is_read_run_by_run(deployment: Deployment) -> None:
    """None is lost or comes twice; each run is in order (G1, G3, G5)."""
    deployment.init(partitions=PARTITIONS)
    deployment.worker()
    first = [b"murmur2 %d" % n for n in range(5)]
    second = [b"crc32 %d" % n for n in range(5)]
    for one, other in zip(first, second, strict=True):
        await deployment.produce([(key, one) for key in KEYS])
        _partitions(deployment, [other])
    await deployment.drained()

    for key in KEYS:
        bodies = await deployment.bodies(key)
        assert sorted(bodies) == sorted(first + second)
        assert [body for body in bodies if body in first] == first
        assert [body for body in bodies if body in second] == second
