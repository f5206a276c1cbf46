"""The first line of a worker's log: version, environment and limits."""

import logging
from importlib.metadata import version

from worker.logging_config import event
from worker.settings import Settings

logger = logging.getLogger(__name__)


def log_start(settings: Settings) -> None:
    """Log one INFO line that identifies this worker, before it waits for anything."""
    kafka, batch = settings.kafka, settings.batch
    logger.info(
        "poste-restante %s starts: topic %s, group %s, brokers %s, table %s; at most %d partitions,"
        " %d records and %d bytes per flush",
        version("poste-restante-worker"), kafka.topic, kafka.group, kafka.bootstrap_servers,
        settings.dynamodb.table, kafka.partitions_max, batch.records_max, batch.bytes_max,
        extra=event(
            "worker_started", version=version("poste-restante-worker"), topic=kafka.topic,
            group=kafka.group, brokers=kafka.bootstrap_servers, table=settings.dynamodb.table,
            partitions_max=kafka.partitions_max, records_max=batch.records_max,
            bytes_max=batch.bytes_max,
        ),
    )  # fmt: skip
