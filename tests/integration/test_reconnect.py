"""A short run of `make reconnect`."""

import logging

import pytest

from tests.deployment import Deployment
from tests.reconnect.run import NAIVE, PROVEN, Settings, reconnect

#: People and messages of the short run. It has a kill of a worker, of gateways, and of the other
#: worker.
SETTINGS = Settings(seed=7, users=12, messages=240, kills=3)


@pytest.mark.timeout(400)
async def test_a_reconnect_misses_nothing_while_workers_and_gateways_are_killed(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever is told that they are up to date has everything on the screen, in order, on both
    devices; beside it, a gateway that fetches once has not (G1, G3, G11, G12)."""
    caplog.set_level(logging.CRITICAL, logger="aiokafka")
    result = await reconnect(SETTINGS, deployment, print)

    assert result.figures[PROVEN].clean, result.table()
    assert result.figures[NAIVE].missing > 0, result.table()
    assert result.ok
