"""`poste init`: create what is missing, verify what is there. Safe to run again, and side by side.

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
#: and five headers more.
DEAD_LETTER_BYTES = 64 * 1024
#: Kafka's own default of max.message.bytes (broker configuration reference).
MESSAGE_BYTES = 1_048_588
#: A dead letter keeps its record's timestamp. Kafka's retention counts from that, and would
#: remove an old one unseen; and a broker refuses timestamps an hour ahead of its clock, which an
#: older source topic may have taken. LogAppendTime would overwrite the timestamp.
_DEAD_LETTERS_CONFIG = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str(2**63 - 1),
}
#: Seconds that a table may take to become active; on demand it takes about ten.
ACTIVE_S_MAX = 120.0
#: Seconds until the broker tells of a topic it has made; a single node takes a few milliseconds.
SETTLED_S_MAX = 10.0
POLL_S = 0.5
#: What no look at the topic can verify, and a mailbox's order rests on.
PRODUCERS_NOTE = (
    "all producers must compute a record's partition alike: murmur2 is the default of Java and"
    " aiokafka, librdkafka needs partitioner=murmur2_random; else a user has two partitions"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. made: created now; missing: it is not there (--check);
    unverified: it could not be looked at."""

    what: str
    made: bool = False
    missing: bool = False
    unverified: bool = False


class Topics(Protocol):
    """What is asked of the broker."""

    async def topic(self, name: str) -> TopicState | None:
        """Return a topic, without creating it. None: it is missing, or we may not see it."""
        ...

    async def create_topic(
        self, name: str, *, partitions: int, replication: int, config: Mapping[str, str]
    ) -> bool:
        """Create a topic; return False where it exists. Raises OperatorError on a refusal."""
        ...


async def init(
    settings: Settings,
    topics: Topics,
    store: RetryingStore,
    *,
    check: bool,
    partitions: int | None,
    replication: int | None,
) -> AsyncIterator[Finding]:
    """Findings as they are made. Raises OperatorError for what is there and unusable.

    partitions, replication: of topics that are made now. They have no default: neither can be
    taken back. The dead-letter topic gets what the source topic has.
    """
    finding, source = await _source_topic(
        settings, topics, check=check, partitions=partitions, replication=replication
    )
    yield finding
    if source is not None and source.unread:
        yield _unread(settings.kafka.topic, source, "cleanup.policy must be delete")
    async for finding in _dead_letter_topic(
        settings, topics, source, check=check, replication=replication
    ):
        yield finding
    async for finding in _table(settings, store, source, check=check):
        yield finding


async def _source_topic(
    settings: Settings,
    topics: Topics,
    *,
    check: bool,
    partitions: int | None,
    replication: int | None,
) -> tuple[Finding, TopicState | None]:
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
        state = await _settled(topics, name)
    if state is None:
        return Finding(f"topic {name}", missing=True), None
    _insist_on_delete(name, state)
    if state.partitions > PARTITION_MAX + 1:
        raise OperatorError(
            f"the topic {name!r} has {state.partitions} partitions, more than the"
            f" {PARTITION_MAX + 1} that a position can hold: name another one in kafka.topic"
        )
    what = f"topic {name}: {state.partitions} partitions, replication factor {state.replicas}"
    return Finding(what, made=made), state


async def _settled(topics: Topics, name: str) -> TopicState:
    """Wait until the broker reports a topic that was just created; return the topic."""
    for _ in range(int(SETTLED_S_MAX / POLL_S)):
        state = await topics.topic(name)
        if state is not None:
            return state
        await asyncio.sleep(POLL_S)
    raise OperatorError(
        f"the topic {name!r} was created but is not visible yet: run `poste init` again"
    )


async def _dead_letter_topic(
    settings: Settings,
    topics: Topics,
    source: TopicState | None,
    *,
    check: bool,
    replication: int | None,
) -> AsyncIterator[Finding]:
    name = settings.kafka.dead_letters_topic
    needed = _largest(source) + DEAD_LETTER_BYTES
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
        state = await _settled(topics, name)
    if state is None:
        yield Finding(f"dead-letter topic {name}", missing=True)
        return
    _insist_on_delete(name, state)
    if state.config.get("retention.ms", "-1") != "-1":
        raise OperatorError(
            f"the dead-letter topic {name!r} has retention.ms={state.config['retention.ms']}: a"
            " dead letter keeps its record's timestamp, so an old one would be removed at once;"
            " set retention.ms=-1"
        )
    if not state.unread and _largest(state) < needed:
        raise OperatorError(
            f"the dead-letter topic {name!r} accepts {_largest(state)} bytes, a dead letter may"
            f" have {needed}: set its max.message.bytes to {needed} or more"
        )
    if not state.unread:
        yield Finding(f"dead-letter topic {name}: records up to {_largest(state)} bytes", made=made)
        return
    yield Finding(f"dead-letter topic {name}", made=made)
    yield _unread(
        name, state,
        "cleanup.policy must be delete, retention.ms -1, and max.message.bytes at least 65536 more"
        " than the topic's",
    )  # fmt: skip


def _unread(name: str, state: TopicState, wanted: str) -> Finding:
    """Return the finding for a topic whose configuration we may not read: it is unverified."""
    what = f"configuration of {name} ({state.unread}): {wanted}"
    return Finding(what, unverified=True)


def _insist_on_delete(name: str, state: TopicState) -> None:
    policy = state.config.get("cleanup.policy", "delete")
    if policy != "delete":
        raise OperatorError(
            f"the topic {name!r} has cleanup.policy={policy}: compaction removes all but a user's"
            " last record; set its cleanup.policy to delete"
        )


def _largest(state: TopicState | None) -> int:
    return int((state.config if state else {}).get("max.message.bytes", MESSAGE_BYTES))


async def _table(
    settings: Settings, store: RetryingStore, source: TopicState | None, *, check: bool
) -> AsyncIterator[Finding]:
    name = settings.dynamodb.table
    described = await _described(store, name)
    if described is None:
        if check:
            yield Finding(f"table {name}", missing=True)
            return
        await _create(store, name)
    table = await _active(store, name)
    if table["KeySchema"] != TABLE_SCHEMA["KeySchema"] or any(
        attribute not in table["AttributeDefinitions"]
        for attribute in TABLE_SCHEMA["AttributeDefinitions"]
    ):
        raise OperatorError(
            f"the table {name!r} does not have the key schema user_id (S), position (S): name"
            " another table in dynamodb.table"
        )
    yield Finding(f"table {name}: keys user_id, position", made=described is None)
    yield await _time_to_live(store, name, check=check)
    yield await _record(settings, store, source, check=check)


async def _create(store: RetryingStore, name: str) -> None:
    """Create the table, unless another init, or a lost attempt of ours, has done so."""
    try:
        await store.create_table(TableName=name, **TABLE_SCHEMA)
    except OperatorError as error:
        if _cause(error) != "ResourceInUseException":
            raise


def _cause(error: OperatorError) -> str | None:
    """Return DynamoDB's name of the error behind one of ours."""
    cause = error.__cause__
    return code_of(cause) if isinstance(cause, ClientError) else None


async def _described(store: RetryingStore, name: str) -> dict[str, Any] | None:
    """Return the description of the table, or None where there is none.

    ListTables would need one more permission.
    """
    try:
        answer = await store.describe_table(TableName=name)
    except OperatorError as error:
        if _cause(error) == "ResourceNotFoundException":
            return None
        raise
    table: dict[str, Any] = answer["Table"]
    return table


async def _active(store: RetryingStore, name: str) -> dict[str, Any]:
    for _ in range(int(ACTIVE_S_MAX / POLL_S)):
        table = await _described(store, name)
        if table is not None and table["TableStatus"] in {"ACTIVE", "UPDATING"}:
            return table
        await asyncio.sleep(POLL_S)
    raise OperatorError(
        f"the table {name!r} is not active after {ACTIVE_S_MAX:.0f} s: check its status"
    )


async def _time_to_live(store: RetryingStore, name: str, *, check: bool) -> Finding:
    what = f"time to live on {TTL_ATTRIBUTE}"
    if await _expires(store, name):
        return Finding(what)
    if check:
        return Finding(what, missing=True)
    try:
        await store.update_time_to_live(
            TableName=name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE},
        )
    except ItemRefused:
        # Enabled already, by another init or an attempt of our own whose answer was lost?
        if not await _expires(store, name):
            raise
    return Finding(what, made=True)


async def _expires(store: RetryingStore, name: str) -> bool:
    """Return whether the table expires items by our attribute. Raises OperatorError for another."""
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


async def _record(
    settings: Settings, store: RetryingStore, source: TopicState | None, *, check: bool
) -> Finding:
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
            pass  # another init was faster, or our own attempt whose answer was lost
        item = await _read_record(store, table)
    if item is None:
        return Finding("table record", missing=True)
    try:
        record = TableRecord.decode(item)
    except ValueError as error:
        raise OperatorError(f"cannot use the table {table!r}: {error}") from None
    if record.topic != settings.kafka.topic:
        raise OperatorError(
            f"the table {table!r} serves the topic {record.topic!r}, not"
            f" {settings.kafka.topic!r}: one table per topic; name another one in dynamodb.table"
        )
    return Finding(f"table record: id {record.table_id}, epoch {record.epoch}", made=made)


async def _read_record(store: RetryingStore, table: str) -> Item | None:
    key = {"user_id": {"S": TABLE_RECORD_KEY}, "position": {"S": CURSOR_KEY}}
    return await store.get_item(table, key)
