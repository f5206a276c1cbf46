"""Whether fetched records follow those before them: markers, compaction, or a gap of retention."""

import logging
from collections.abc import Sequence

from aiokafka.errors import KafkaError

from worker.assignment import PartitionTask
from worker.errors import OperatorError
from worker.logging_config import event
from worker.opening import Log
from worker.record import Record

logger = logging.getLogger(__name__)


async def follows(task: PartitionTask, records: Sequence[Record], log: Log) -> bool:
    """Return whether records begin where the task continues. False: fetch them again, because the
    broker does not say why offsets are missing.

    Transaction markers and compaction leave out offsets above the log's start, which is normal.
    Retention removes offsets from the start; only an opening may report and record such a gap.
    Raises OperatorError for a gap of retention, and RuntimeError for offsets that go back.
    """
    begin, expected = records[0].offset, task.fetched
    if begin == expected:
        return True
    if begin < expected:
        raise RuntimeError(
            f"partition {task.partition}: received offset {begin} instead of {expected}"
        )
    try:
        state = (await log.states([task.partition]))[task.partition]
    except (KafkaError, TimeoutError):
        return False
    if state.start > expected:
        raise OperatorError(
            f"partition {task.partition}: retention removed offsets {expected} to "
            f"{state.start - 1} before they were read; the restart reports the gap"
        )
    logger.info(
        "partition %d: no records from %d to %d (markers or compaction)",
        task.partition, expected, begin - 1,
        extra=event(
            "offsets_without_records", partition=task.partition, offset=expected,
            count=begin - expected,
        ),
    )  # fmt: skip
    return True
