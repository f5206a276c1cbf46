"""Traps of Faust and aiokafka that need no broker to be set."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from tests.unit.test_consumer import Stage
from tests.unit.test_opening import progress


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    made = Stage(monkeypatch, progress(40), progress(50))
    yield made
    made.consumer._thread.thread_loop.close()


@pytest.mark.parametrize("error", [NoOffsetForPartitionError, OffsetOutOfRangeError])
async def test_a_fetch_that_fails_over_a_rebalance_is_nobodys_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: type[KafkaError]
) -> None:
    """It met a position that aiokafka chose itself, before the partition was held: what it may
    have moved is set back, and that is all; of the assignment that it began in it is an error
    (G1)."""
    stage.assign(40, 50)
    rebalance = True

    async def failing(tps: Any, timeout: float) -> Any:
        if rebalance:
            stage.assign(45, 50)
        raise error

    monkeypatch.setattr(stage.consumer, "_getmany", failing)
    await stage.consumer._fetch_next()
    assert stage.moved == [{stage.consumer._tp(0): 45, stage.consumer._tp(1): 50}]

    rebalance = False
    with pytest.raises(error):
        await stage.consumer._fetch_next()
