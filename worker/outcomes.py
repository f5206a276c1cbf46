"""How calls, commits and waits end: the closed lists that metrics count by. Pure."""

from enum import StrEnum


class AttemptOutcome(StrEnum):
    """How one attempt of a call to DynamoDB ended."""

    OK = "ok"
    #: DynamoDB stored only a part of a BatchWriteItem.
    PARTIAL = "partial"
    THROTTLED = "throttled"
    #: A fault of the service or of a proxy, no connection, no answer, or a malformed one.
    UNAVAILABLE = "unavailable"
    #: Access, credentials, signature, configuration, the table or its schema.
    REFUSED = "refused"
    CONDITION_FAILED = "condition_failed"
    #: An item that no table accepts.
    REJECTED = "rejected"


class CommitOutcome(StrEnum):
    """How one commit of the group's offsets ended."""

    COMMITTED = "committed"
    #: The group has moved on, or the broker does not answer or refuses. The next owner reads again.
    NOT_COMMITTED = "not_committed"


class ClaimOutcome(StrEnum):
    """How one attempt to store the claims of freshness ended."""

    STORED = "stored"
    FAILED = "failed"


class Service(StrEnum):
    """What a caller in the worker can wait for."""

    DYNAMODB = "dynamodb"
    #: The broker, for the acknowledgement of dead letters.
    KAFKA = "kafka"
    #: `dynamodb.write_units_per_s_max`.
    WRITE_BUDGET = "write_budget"


class Stage(StrEnum):
    """Where records take memory, as `worker.memory_limits` divides it."""

    FETCHED = "fetched"
    WAITING = "waiting"
    IN_WORK = "in_work"
