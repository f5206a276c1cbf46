"""Arguments of aiokafka's clients, derived from the settings."""

from typing import Any

from worker.kafka.sasl import sasl_options
from worker.kafka.tls import RotatingContext
from worker.memory_limits import MemoryLimits
from worker.settings import KafkaSettings, Settings

#: Seconds that a request may take; not below the session time-out, for which a join may wait.
REQUEST_S = 40.0
#: Seconds, added to the drain limit, that a rebalance waits for a member to drain and commit.
REBALANCE_SPARE_S = 40.0
#: Seconds without a poll after which the member leaves: Faust's default. The consumer polls every
#: second.
POLL_INTERVAL_S = 1000.0
#: Seconds that an empty fetch waits at the broker; other requests to it queue behind.
FETCH_WAIT_S = 0.5
#: Seconds until a topic's new partitions are seen (aiokafka's default is 300).
METADATA_S = 30.0


def rebalance_s(settings: Settings) -> float:
    """Return the seconds that a rebalance may take: the others wait for the member that drains."""
    return settings.drain_s + REBALANCE_SPARE_S


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the arguments of any aiokafka client. Raises ConfigurationError for certificates,
    secrets and token providers that cannot be used."""
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers.split(","),
        "client_id": kafka.client_id,
        "security_protocol": kafka.security_protocol,
        "request_timeout_ms": int(REQUEST_S * 1000),
    }
    if kafka.security_protocol.startswith("SASL"):
        options |= sasl_options(kafka)
    if kafka.security_protocol.endswith("SSL"):
        options["ssl_context"] = RotatingContext.of(kafka)
    return options


def consumer_options(settings: Settings, memory: MemoryLimits) -> dict[str, Any]:
    """Return the arguments of the worker's consumer, except those fixed for its correctness.

    Each assignment sets anew what a fetch takes of a partition, by the number of partitions.
    """
    kafka = settings.kafka
    return {
        **client_options(kafka),
        "group_id": kafka.group,
        "group_instance_id": kafka.instance_id or None,
        "session_timeout_ms": int(kafka.session_timeout_s * 1000),
        "heartbeat_interval_ms": int(kafka.heartbeat_s * 1000),
        "request_timeout_ms": int(max(REQUEST_S, kafka.session_timeout_s) * 1000),
        "rebalance_timeout_ms": int(rebalance_s(settings) * 1000),
        "max_poll_interval_ms": int(POLL_INTERVAL_S * 1000),
        "max_poll_records": settings.batch.records_max,
        "fetch_max_bytes": memory.response_bytes,
        "max_partition_fetch_bytes": memory.partition_fetch_bytes(1),
        "fetch_max_wait_ms": int(FETCH_WAIT_S * 1000),
        "metadata_max_age_ms": int(METADATA_S * 1000),
        "check_crcs": True,
        "client_rack": kafka.client_rack or None,
    }
