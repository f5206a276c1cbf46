"""A short storm; long ones are run by `make storm SECONDS=600 SEED=7`."""

import logging
from pathlib import Path

import pytest

from local.choose import LOCAL_AWS
from tests.storm.run import Settings, storm
from tests.storm.services import own_services

#: Its first minute has kills, zombies, rewinds, and outages of both services; any other must do.
SEED = 138
#: Seconds of events; services, drain and verdict come on top.
SECONDS = 60.0
#: Seconds in all, on a busy machine; the drain's own limit is the longest part.
WHOLE_S_MAX = 480
#: Events that such a storm makes at least.
EVENTS_MIN = 6


@pytest.mark.timeout(WHOLE_S_MAX)
async def test_a_storm_loses_nothing_and_brings_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that join, leave, are killed and wake up as zombies, a broker and a store that go
    away, rewinds while readers acknowledge, a fifth of all batches unprocessed: when it is over
    nothing is lost, and at no time was anything wrong (G1 to G6, G9)."""
    for name, value in LOCAL_AWS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(logging.getLogger("aiokafka"), "level", logging.CRITICAL)
    print(f"seed {SEED}")
    with own_services(tmp_path) as services:
        report = await storm(Settings(seed=SEED, seconds=SECONDS), tmp_path, print, services)

    assert report.ok, report.line()
    assert sum(report.events.values()) >= EVENTS_MIN, report.line()
    assert report.acknowledged > 0, report.line()
