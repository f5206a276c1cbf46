"""`poste init`: create and verify topics and table. May be repeated, and run concurrently.

topic, cleanup.policy=delete -> dead-letter topic, larger records -> table, key schema, TTL
-> table record, on condition of absence
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from botocore.exceptions import ClientError

from poste_restante.item import Item
from poste_restante.position import CURSOR_KEY, PARTITION_MAX, TABLE_RECORD_KEY
from poste_restante.retryable_errors import code_of
from poste_restante.table import TABLE_SCHEMA, TTL_ATTRIBUTE, TableRecord
from worker.dynamodb.retrying_store import RetryingStore
from worker.errors import ConditionFailed, ConfigurationError, ItemRefused, OperatorError
from worker.kafka.admin import TopicState
from worker.settings import Settings

#: Bytes by which the dead-letter topic accepts more than the source: a dead letter is the record
#: with five more headers.
DEAD_LETTER_BYTES = 64 * 1024
#: Kafka's own default of max.message.bytes (broker configuration reference).
MESSAGE_BYTES = 1_048_588
#: A dead letter keeps its record's timestamp. Kafka's retention counts from it, and would remove an
#: old one unseen. A broker refuses timestamps an hour ahead of its clock, which an older source
#: topic may have accepted. LogAppendTime would overwrite the timestamp.
_DEAD_LETTERS_CONFIG = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str(2**63 - 1),
}
#: Seconds until a table must be active. On demand it takes about ten.
ACTIVE_S_MAX = 120.0
#: Seconds until the broker must report a new topic. A single node takes a few milliseconds.
SETTLED_S_MAX = 10.0
POLL_S = 0.5
#: Not verifiable, but the order of a mailbox depends on it.
PRODUCERS_NOTE = (
    "all producers must compute a record's partition alike: murmur2 is the default of Java and"
    " aiokafka, librdkafka needs partitioner=murmur2_random; else a user has two partitions"
)


@dataclass(frozen=True, slots=True)
class InitFinding:
    """The state of one resource. is_created: now. is_missing: with --check. is_unverified: not
    readable."""

    what: str
    is_created: bool = False
    is_missing: bool = False
    is_unverified: bool = False


class Topics(Protocol):
    """The calls of `init` to the broker."""

    async def topic(self, name: str) -> TopicState | None:
        """Return a topic, without creating it. None: it is missing, or not visible to our user."""
        ...

    async def create_topic(
        self, name: str, *, partitions: int, replication: int, config: Mapping[str, str]
    ) -> bool:
        """Create a topic; return False if it exists. Raises OperatorError on a refusal."""
        ...


async def init(
    settings: Settings,
    topics: Topics,
    store: RetryingStore,
    *,
    check: bool,
    partitions: int | None,
    replication: int | None,
) -> AsyncIterator[InitFinding]:
    """Yield findings. Raises OperatorError for an unusable resource.

    partitions, replication: of topics that are created. Neither has a default, because neither can
    be reverted. The dead-letter topic gets those of the source topic.
    """
    finding, source = await _ensure_source_topic(
        settings, topics, check=check, partitions=partitions, replication=replication
    )
    yield finding
    if source is not None and source.unread:
        yield _unverified_finding(settings.kafka.topic, source, "cleanup.policy must be delete")
    async for finding in _ensure_dead_letter_topic(
        settings, topics, source, check=check, replication=replication
    ):
        yield finding
    async for finding in _ensure_table(settings, store, source, check=check):
        yield finding


async def _ensure_source_topic(
    settings: Settings,
    topics: Topics,
    *,
    check: bool,
    partitions: int | None,
    replication: int | None,
) -> tuple[InitFinding, TopicState | None]:
    name = settings.kafka.topic
    state, made = await topics.topic(name), False
    if state is None and not check:
        if partitions is None or replication is None:
            raise ConfigurationError(
                f"there is no topic {name!r}: create it with `poste init"
                " --partitions 64 --replication-factor 3`, or create it yourself"
            )
        made = await topics.create_topic(
            name,
            partitions=partitions,
            replication=replication,
            config={"cleanup.policy": "delete"},
        )
        state = await _wait_for_topic(topics, name)
    if state is None:
        return InitFinding(f"topic {name}", is_missing=True), None
    _require_delete_policy(name, state)
    if state.partitions > PARTITION_MAX + 1:
        raise OperatorError(
            f"the topic {name!r} has {state.partitions} partitions, more than the"
            f" {PARTITION_MAX + 1} that a position can hold: name another one in kafka.topic"
        )
    what = f"topic {name}: {state.partitions} partitions, replication factor {state.replicas}"
    return InitFinding(what, is_created=made), state


async def _wait_for_topic(topics: Topics, name: str) -> TopicState:
    """Wait until the broker reports a new topic; return it."""
    for _ in range(int(SETTLED_S_MAX / POLL_S)):
        state = await topics.topic(name)
        if state is not None:
            return state
        await asyncio.sleep(POLL_S)
    raise OperatorError(
        f"the topic {name!r} was created but is not visible yet: run `poste init` again"
    )


async def _ensure_dead_letter_topic(
    settings: Settings,
    topics: Topics,
    source: TopicState | None,
    *,
    check: bool,
    replication: int | None,
) -> AsyncIterator[InitFinding]:
    name = settings.kafka.dead_letters_topic
    needed = _message_bytes_max(source) + DEAD_LETTER_BYTES
    state = await topics.topic(name)
    made = False
    if state is None and not check:
        assert source is not None, "made just before"
        made = await topics.create_topic(
            name,
            partitions=source.partitions,
            replication=source.replicas if replication is None else replication,
            config={**_DEAD_LETTERS_CONFIG, "max.message.bytes": str(needed)},
        )
        state = await _wait_for_topic(topics, name)
    if state is None:
        yield InitFinding(f"dead-letter topic {name}", is_missing=True)
        return
    _require_delete_policy(name, state)
    if state.config.get("retention.ms", "-1") != "-1":
        raise OperatorError(
            f"the dead-letter topic {name!r} has retention.ms={state.config['retention.ms']}: a"
            " dead letter keeps its record's timestamp, so an old one would be removed at once;"
            " set retention.ms=-1"
        )
    if not state.unread and _message_bytes_max(state) < needed:
        raise OperatorError(
            f"the dead-letter topic {name!r} accepts {_message_bytes_max(state)} bytes, a dead"
            f" letter may have {needed}: set its max.message.bytes to {needed} or more"
        )
    if not state.unread:
        yield InitFinding(
            f"dead-letter topic {name}: records up to {_message_bytes_max(state)} bytes",
            is_created=made,
        )
        return
    yield InitFinding(f"dead-letter topic {name}", is_created=made)
    yield _unverified_finding(
        name, state,
        "cleanup.policy must be delete, retention.ms -1, and max.message.bytes at least 65536 more"
        " than the topic's",
    )  # fmt: skip


def _unverified_finding(name: str, state: TopicState, wanted: str) -> InitFinding:
    """Return the finding for a topic whose configuration our user may not read."""
    what = f"configuration of {name} ({state.unread}): {wanted}"
    return InitFinding(what, is_unverified=True)


def _require_delete_policy(name: str, state: TopicState) -> None:
    policy = state.config.get("cleanup.policy", "delete")
    if policy != "delete":
        raise OperatorError(
            f"the topic {name!r} has cleanup.policy={policy}: compaction removes all but a user's"
            " last record; set its cleanup.policy to delete"
        )


def _message_bytes_max(state: TopicState | None) -> int:
    return int((state.config if state else {}).get("max.message.bytes", MESSAGE_BYTES))


async def _ensure_table(
    settings: Settings, store: RetryingStore, source: TopicState | None, *, check: bool
) -> AsyncIterator[InitFinding]:
    name = settings.dynamodb.table
    described = await _describe_table(store, name)
    if described is None:
        if check:
            yield InitFinding(f"table {name}", is_missing=True)
            return
        await _create_table(store, name)
    table = await _wait_until_active(store, name)
    if table["KeySchema"] != TABLE_SCHEMA["KeySchema"] or any(
        attribute not in table["AttributeDefinitions"]
        for attribute in TABLE_SCHEMA["AttributeDefinitions"]
    ):
        raise OperatorError(
            f"the table {name!r} does not have the key schema user_id (S), position (S): name"
            " another table in dynamodb.table"
        )
    yield InitFinding(f"table {name}: keys user_id, position", is_created=described is None)
    yield await _ensure_time_to_live(store, name, check=check)
    yield await _ensure_record(settings, store, source, check=check)


async def _create_table(store: RetryingStore, name: str) -> None:
    """Create the table. Another init, or a lost attempt, may have done so."""
    try:
        await store.create_table(TableName=name, **TABLE_SCHEMA)
    except OperatorError as error:
        if _error_code(error) != "ResourceInUseException":
            raise


def _error_code(error: OperatorError) -> str | None:
    """Return DynamoDB's name of the underlying error."""
    cause = error.__cause__
    return code_of(cause) if isinstance(cause, ClientError) else None


async def _describe_table(store: RetryingStore, name: str) -> dict[str, Any] | None:
    """Return the description of the table, or None.

    ListTables would need one more permission.
    """
    try:
        answer = await store.describe_table(TableName=name)
    except OperatorError as error:
        if _error_code(error) == "ResourceNotFoundException":
            return None
        raise
    table: dict[str, Any] = answer["Table"]
    return table


async def _wait_until_active(store: RetryingStore, name: str) -> dict[str, Any]:
    for _ in range(int(ACTIVE_S_MAX / POLL_S)):
        table = await _describe_table(store, name)
        if table is not None and table["TableStatus"] in {"ACTIVE", "UPDATING"}:
            return table
        await asyncio.sleep(POLL_S)
    raise OperatorError(
        f"the table {name!r} is not active after {ACTIVE_S_MAX:.0f} s: check its status"
    )


async def _ensure_time_to_live(store: RetryingStore, name: str, *, check: bool) -> InitFinding:
    what = f"time to live on {TTL_ATTRIBUTE}"
    if await _is_ttl_enabled(store, name):
        return InitFinding(what)
    if check:
        return InitFinding(what, is_missing=True)
    try:
        await store.update_time_to_live(
            TableName=name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE},
        )
    except ItemRefused:
        # Another init, or an attempt whose answer was lost, may have enabled it.
        if not await _is_ttl_enabled(store, name):
            raise
    return InitFinding(what, is_created=True)


async def _is_ttl_enabled(store: RetryingStore, name: str) -> bool:
    """Return whether TTL uses our attribute. Raises OperatorError for another attribute."""
    answer = await store.describe_time_to_live(TableName=name)
    found = answer["TimeToLiveDescription"]
    if found["TimeToLiveStatus"] not in {"ENABLED", "ENABLING"}:
        return False
    if found["AttributeName"] != TTL_ATTRIBUTE:
        raise OperatorError(
            f"the table {name!r} expires items by {found['AttributeName']!r}, not by"
            f" {TTL_ATTRIBUTE!r}: disable that, and run `poste init` again"
        )
    return True


async def _ensure_record(
    settings: Settings, store: RetryingStore, source: TopicState | None, *, check: bool
) -> InitFinding:
    table, made = settings.dynamodb.table, False
    item = await _read_record(store, table)
    if item is None and not check:
        assert source is not None, "made just before"
        record = TableRecord(
            table_id=uuid.uuid4().hex, topic=settings.kafka.topic,
            partitions=source.partitions, epoch=1,
        )  # fmt: skip
        try:
            await store.put_item(
                TableName=table,
                Item=record.encode(),
                ConditionExpression="attribute_not_exists(user_id)",
            )
            made = True
        except ConditionFailed:
            pass  # another init, or an attempt whose answer was lost, was first
        item = await _read_record(store, table)
    if item is None:
        return InitFinding("table record", is_missing=True)
    try:
        record = TableRecord.decode(item)
    except ValueError as error:
        raise OperatorError(f"cannot use the table {table!r}: {error}") from None
    if record.topic != settings.kafka.topic:
        raise OperatorError(
            f"the table {table!r} serves the topic {record.topic!r}, not"
            f" {settings.kafka.topic!r}: one table per topic; name another one in dynamodb.table"
        )
    return InitFinding(f"table record: id {record.table_id}, epoch {record.epoch}", is_created=made)


async def _read_record(store: RetryingStore, table: str) -> Item | None:
    key = {"user_id": {"S": TABLE_RECORD_KEY}, "position": {"S": CURSOR_KEY}}
    return await store.get_item(table, key)
