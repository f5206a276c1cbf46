"""The contenders of `make bench`, on few messages: each is run, ends, and is judged."""

from benchmarks.contenders import CONTENDERS, Scenario, all_rounds, least
from benchmarks.loads import skewed
from local import Services


def test_each_contender_writes_what_it_commits(services: Services, dynamodb: object) -> None:
    """On the same topic, and bundles cost no more than items."""
    scenario = Scenario(name="few", load=skewed, records=400, body_bytes=300)
    found = {name: least(runs) for name, runs in all_rounds(scenario, services).items()}
    written = {name: run.recorded for name, run in found.items()}

    assert {name: len(one.readable_ns) for name, one in written.items()} == dict.fromkeys(
        CONTENDERS, 400
    )
    units = {name: one.calls["BatchWriteItem"].write_units for name, one in written.items()}
    assert units["worker"] < units["plain"]
    assert all(run.cpu_s > 0 and run.resident_mb > 0 for run in found.values())
