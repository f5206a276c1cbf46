"""`poste init`: what it makes, what it finds, what it refuses."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from click.testing import CliRunner

from poste_restante.table import TABLE_SCHEMA, TableRecord
from tests.fake_table import InMemoryTable
from tests.faults import refusal
from tests.store_client import store_on
from worker.cli import poste, provisioning, rendering
from worker.cli.provisioning import InitFinding, init
from worker.errors import OperatorError
from worker.kafka.admin import TopicState
from worker.settings import Settings

SETTINGS = Settings()
TOPIC, DEAD = SETTINGS.kafka.topic, SETTINGS.kafka.dead_letters_topic
RECORD = TableRecord(table_id="theirs", topic=TOPIC, partitions=4, epoch=3)


@dataclass
class Topics:
    """A broker; `unseen`: how often a topic that was just made is not told of yet."""

    states: dict[str, TopicState] = field(default_factory=dict)
    unseen: int = 0

    async def topic(self, name: str) -> TopicState | None:
        if self.unseen and name in self.states:
            self.unseen -= 1
            return None
        return self.states.get(name)

    async def create_topic(
        self, name: str, *, partitions: int, replication: int, config: Mapping[str, str]
    ) -> bool:
        if name in self.states:
            return False
        self.states[name] = TopicState(partitions, replication, config)
        return True


class Account:
    """A DynamoDB account with our table or without it."""

    def __init__(self, *, there: bool = False) -> None:
        self.items = InMemoryTable("mailboxes")
        self.description: dict[str, Any] | None = None
        self.expires_by: str | None = None
        self.creating = 0
        if there:
            self.description = {"TableStatus": "ACTIVE", **TABLE_SCHEMA}

    async def describe_table(self, **_: Any) -> dict[str, Any]:
        if self.description is None:
            raise refusal("ResourceNotFoundException", "not found")
        if self.creating:
            self.creating -= 1
            return {"Table": {**self.description, "TableStatus": "CREATING"}}
        return {"Table": self.description}

    async def create_table(self, *, TableName: str, **schema: Any) -> dict[str, Any]:  # noqa: N803 - AWS's
        assert (TableName, schema) == ("mailboxes", TABLE_SCHEMA)
        self.description = {"TableStatus": "ACTIVE", **schema}
        return {}

    async def describe_time_to_live(self, **_: Any) -> dict[str, Any]:
        found = {"TimeToLiveStatus": "DISABLED"}
        if self.expires_by:
            found = {"TimeToLiveStatus": "ENABLED", "AttributeName": self.expires_by}
        return {"TimeToLiveDescription": found}

    async def update_time_to_live(self, **arguments: Any) -> dict[str, Any]:
        assert arguments["TimeToLiveSpecification"]["Enabled"]
        self.expires_by = arguments["TimeToLiveSpecification"]["AttributeName"]
        return {}

    async def get_item(self, **arguments: Any) -> dict[str, Any]:
        return await self.items.get_item(**arguments)

    async def put_item(self, **arguments: Any) -> dict[str, Any]:
        return await self.items.put_item(**arguments)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provisioning, "POLL_S", 0.001)


async def findings(topics: Topics, account: Account, *, check: bool = False) -> list[InitFinding]:
    return [
        finding
        async for finding in init(
            SETTINGS, topics, store_on(account), check=check, partitions=4, replication=3
        )
    ]


async def refused(topics: Topics, account: Account) -> str:
    with pytest.raises(OperatorError) as caught:
        await findings(topics, account)
    return str(caught.value)


async def test_everything_that_is_missing_is_made_once() -> None:
    """Topics, table, time to live and table record; the second run finds them, and the record is
    the first one's (G6)."""
    topics, account = Topics(unseen=3), Account()
    made = await findings(topics, account)
    found = await findings(topics, account)

    assert [f.is_created for f in made] == [True] * 5
    assert [(f.is_created, f.is_missing) for f in found] == [(False, False)] * 5
    assert [f.what for f in found] == [f.what for f in made]
    assert account.expires_by == "expires_at"
    assert topics.states[TOPIC].config == {"cleanup.policy": "delete"}
    assert (topics.states[TOPIC].partitions, topics.states[TOPIC].replicas) == (4, 3)


async def test_the_dead_letter_topic_takes_what_the_topic_takes_and_the_reasons() -> None:
    """A record of the largest size, and 64 KiB of headers more, for good (G9)."""
    topics = Topics({TOPIC: TopicState(9, 3, {"max.message.bytes": "5000000"})})
    await findings(topics, Account())
    dead = topics.states[DEAD]

    assert dead.partitions == 9
    assert dead.config["max.message.bytes"] == str(5_000_000 + 65_536)
    assert dead.config["retention.ms"] == "-1"
    assert dead.config["cleanup.policy"] == "delete"


async def test_a_check_makes_nothing() -> None:
    """It says what is missing, and leaves it so."""
    topics, account = Topics(), Account()
    found = await findings(topics, account, check=True)

    assert [f.what.split(" ")[0] for f in found if f.is_missing] == [
        "topic",
        "dead-letter",
        "table",
    ]
    assert (topics.states, account.description) == ({}, None)


async def test_a_check_sees_what_the_table_lacks() -> None:
    """Time to live and table record, each."""
    account = Account(there=True)
    found = await findings(Topics(), account, check=True)

    missing = [f.what for f in found if f.is_missing]
    assert missing[-2:] == ["time to live on expires_at", "table record"]
    assert (account.expires_by, account.items.items) == (None, {})


async def test_two_at_a_time_agree_on_one_table_record() -> None:
    """The record that was there first stays, and is what both report (G6)."""
    account = Account(there=True)
    first_look = True

    def other_init_is_faster(operation: str, _: str) -> None:
        nonlocal first_look
        if operation == "PutItem" and first_look:
            first_look = False
            item = RECORD.encode()
            account.items.items[item["user_id"]["S"], item["position"]["S"]] = item

    account.items.before = other_init_is_faster
    found = await findings(Topics(), account)

    assert found[-1] == InitFinding("table record: id theirs, epoch 3", is_created=False)


async def test_a_table_that_is_being_made_is_waited_for() -> None:
    """On demand that takes a few seconds."""
    account = Account(there=True)
    account.creating = 5

    assert len(await findings(Topics(), account)) == 5


async def test_a_table_that_does_not_become_active_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The wait has a limit (G8)."""
    monkeypatch.setattr(provisioning, "ACTIVE_S_MAX", 0.005)
    account = Account(there=True)
    account.creating = 1_000

    assert "is not active" in await refused(Topics(), account)


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ({TOPIC: TopicState(4, 1, {"cleanup.policy": "compact,delete"})}, "compact,delete"),
        ({TOPIC: TopicState(100_001, 1, {})}, "more than the 100000"),
        ({DEAD: TopicState(4, 1, {"max.message.bytes": "1100000"})}, "to 1114124 or more"),
        ({DEAD: TopicState(4, 1, {})}, "accepts 1048588 bytes"),
        ({DEAD: TopicState(4, 1, {"cleanup.policy": "compact"})}, "cleanup.policy=compact"),
        ({DEAD: TopicState(4, 1, {"retention.ms": "604800000"})}, "set retention.ms=-1"),
    ],
)
async def test_a_topic_that_would_lose_something_is_refused(
    topic: dict[str, TopicState], said: str
) -> None:
    """Compaction and retention remove unread records; a dead letter must fit (G1, G9)."""
    assert said in await refused(Topics(topic), Account())


@pytest.mark.parametrize(
    "schema",
    [
        {"KeySchema": TABLE_SCHEMA["KeySchema"][:1]},
        {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]},
        {
            "AttributeDefinitions": [
                TABLE_SCHEMA["AttributeDefinitions"][0],
                {"AttributeName": "position", "AttributeType": "N"},
            ]
        },
    ],
)
async def test_a_table_with_other_keys_is_refused(schema: dict[str, Any]) -> None:
    """Positions are compared as text: numbers would sort otherwise (G3)."""
    account = Account(there=True)
    assert account.description is not None
    account.description |= schema

    assert "does not have the key schema" in await refused(Topics(), account)


async def test_a_table_that_expires_by_another_attribute_is_refused() -> None:
    """It could remove what has not expired (G1)."""
    account = Account(there=True)
    account.expires_by = "ttl"

    assert "expires items by 'ttl'" in await refused(Topics(), account)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (replace(RECORD, topic="other").encode(), "serves the topic 'other'"),
        (RECORD.encode() | {"v": {"N": "2"}}, "format version 2"),
        (RECORD.encode() | {"window_size": {"N": "500"}}, "windows of 500"),
        ({k: v for k, v in RECORD.encode().items() if k != "table_id"}, "damaged"),
    ],
)
async def test_a_table_of_another_kind_is_refused(record: dict[str, Any], said: str) -> None:
    """Another topic's mailboxes, or another format's, stay untouched (G1)."""
    account = Account(there=True)
    account.items.items[record["user_id"]["S"], record["position"]["S"]] = record

    assert said in await refused(Topics(), account)


async def test_a_configuration_that_cannot_be_read_is_said() -> None:
    """Without DescribeConfigs a compacted topic looked like any other (G1): nothing is vouched for
    that was not seen."""
    unread = TopicState(4, 3, {}, "TopicAuthorizationFailedError")
    topics = Topics({TOPIC: unread, DEAD: unread})
    found = await findings(topics, Account())

    said = [finding.what for finding in found if finding.is_unverified]
    assert len(said) == 2
    assert "cleanup.policy must be delete" in said[0]
    assert "retention.ms" in said[1]
    assert all("TopicAuthorizationFailedError" in line for line in said)
    assert [rendering.state_word(finding) for finding in found[:4]] == ["ok", "unknown"] * 2


@pytest.mark.parametrize(("check", "status"), [(True, 1), (False, 0)])
def test_what_could_not_be_verified_is_a_failure_of_a_check(
    monkeypatch: pytest.MonkeyPatch, check: bool, status: int
) -> None:
    """`init --check` vouches for all that it looks at; `init` says what it could not see."""

    @asynccontextmanager
    async def opened(_: Any) -> AsyncIterator[None]:
        yield

    async def found(*_: Any, **__: Any) -> AsyncIterator[InitFinding]:
        yield InitFinding("topic t")
        yield InitFinding("configuration of t (denied)", is_unverified=True)

    monkeypatch.setattr("worker.kafka.admin.open_kafka_admin", opened)
    monkeypatch.setattr("worker.cli.deadline_store.open_deadline_store", opened)
    monkeypatch.setattr("worker.cli.provisioning.init", found)
    done = CliRunner().invoke(poste, ["init", *(["--check"] if check else [])])

    assert "unknown configuration of t (denied)\n" in done.output
    if check:
        assert isinstance(done.exception, OperatorError)
        assert str(done.exception).startswith("something could not be verified: ")
    assert (done.exit_code, status) in {(1, 1), (0, 0)}
