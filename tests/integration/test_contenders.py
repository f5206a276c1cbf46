"""The contenders of `make bench`, on few messages: each of them is run, ends, and is judged."""

from benchmarks.contenders.arrived import CountingArrivals
from benchmarks.contenders.part import all_rounds, least
from benchmarks.contenders.scenarios import WRITERS, Scenario
from benchmarks.contenders.stores import Instant
from benchmarks.instant import instant_endpoint
from tests.services import Services


def test_each_contender_writes_what_it_commits(services: Services, dynamodb: object) -> None:
    """On the same topic, and bundles cost no more than items."""
    scenario = Scenario(load="a day of few", records=400, contenders=WRITERS)
    with instant_endpoint(CountingArrivals, services.endpoint) as address:
        rounds = all_rounds(scenario, services, Instant(address, services.endpoint, {}))
    found = {name: least(runs) for name, runs in rounds.items()}

    assert {name: run.written.messages for name, run in found.items()} == dict.fromkeys(
        WRITERS, 400
    )
    assert found["worker"].written.write_units < found["plain"].written.write_units
    assert all(run.cpu_s > 0 and run.resident_mb > 0 for run in found.values())
