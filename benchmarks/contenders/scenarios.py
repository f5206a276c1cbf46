"""What is run: the base, and one thing at a time that differs from it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.contenders.loads import LOADS

#: Those that write, the first being this worker; every ratio is to `plain`.
WRITERS = ("worker", "plain", "confluent", "stock")
#: Those that only fetch, and commit.
FETCHERS = ("fetch aiokafka", "fetch confluent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One topic, which every contender reads from its start. local: onto DynamoDB Local, and not
    onto the endpoint that answers at once. rounds: of which the least counts."""

    load: str = "each to another"
    records: int = 100_000
    body_bytes: int = 1_000
    partitions: int = 4
    processes: int = 1
    local: bool = False
    rounds: int = 1
    contenders: tuple[str, ...] = WRITERS


#: A message in each partition: what is left is the start of a process.
START = Scenario(load="one in each partition", records=4, rounds=2, contenders=WRITERS + FETCHERS)
BASE = Scenario(rounds=3, contenders=WRITERS + FETCHERS)
#: The base on DynamoDB Local, which bears some thousand items a second.
ON_LOCAL = replace(BASE, records=20_000, local=True, rounds=1, contenders=WRITERS)
GROWN = replace(BASE, records=1_000_000, rounds=1, contenders=WRITERS)


def full() -> Iterator[Scenario]:
    """All of them; three quarters of an hour."""
    yield START
    yield BASE
    one = replace(BASE, rounds=1, contenders=WRITERS)
    for load in LOADS:
        if load != BASE.load:
            yield replace(one, load=load, rounds=2)
    yield from (replace(one, body_bytes=n) for n in (100, 10_000))
    yield from (replace(one, partitions=n) for n in (1, 32))
    yield replace(one, processes=2)
    yield ON_LOCAL
    yield GROWN


def small() -> Iterator[Scenario]:
    """That it works: seconds of each contender, and figures that mean little."""
    yield replace(START, rounds=1, contenders=("worker", "plain"))
    yield replace(BASE, records=5_000, rounds=1, contenders=WRITERS)
