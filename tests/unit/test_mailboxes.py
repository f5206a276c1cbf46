"""Mailboxes: arguments, the look at the table record, and how a client of their own is made."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    NoCredentialsError,
    ParamValidationError,
    ProfileNotFound,
)
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.errors import InvalidReceipt, MailboxError, StoreUnavailable, TableMismatch
from poste_restante.item import encode_bundle
from poste_restante.mailbox_store import QUERY_ITEMS_MAX
from poste_restante.mailboxes import Mailboxes, open_mailboxes
from poste_restante.position import TABLE_RECORD_KEY, BundleKey, LogId
from poste_restante.scan import FIRST_ITEMS
from poste_restante.store import translate_errors
from poste_restante.table import TableRecord
from poste_restante.table_check import TABLE_RECORD_TRUSTED_S
from tests.fake_table import InMemoryTable
from tests.faults import Answer, Fault, not_reached, refusal
from tests.mailbox_table import MailboxTable, offsets
from tests.records import TOPIC, message


@pytest.fixture
async def mailbox_table() -> MailboxTable:
    mailbox_table = MailboxTable(InMemoryTable(), "mailboxes")
    await mailbox_table.open()
    return mailbox_table


def looks(mailbox_table: MailboxTable) -> int:
    """How often the table record was asked for."""
    return sum(
        arguments["ExpressionAttributeValues"][":user"] == {"S": "!table"}
        for operation, arguments in mailbox_table.client.calls
        if operation == "query"
    )


@pytest.mark.parametrize("arguments", [{"limit": 0}, {"limit": -1}, {"max_bytes": 0}])
async def test_a_limit_below_one_is_refused(
    mailbox_table: MailboxTable, arguments: dict[str, Any]
) -> None:
    """A page has at least one message, if one waits (G8)."""
    with pytest.raises(ValueError, match="at least 1"):
        await mailbox_table.mailboxes.fetch("bob", **arguments)
    assert mailbox_table.client.calls == []


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda m: m.fetch(None), TypeError, "user_id must be a str, not None"),
        (lambda m: m.fetch(7), TypeError, "user_id must be a str, not int"),
        (lambda m: m.fetch(b"bob"), TypeError, "user_id must be a str, not bytes: decode it first"),
        (lambda m: anext(m.pages(None)), TypeError, "user_id must be a str, not None"),
        (lambda m: m.ack(None, "a"), TypeError, "user_id must be a str, not None"),
        (lambda m: m.ack(b"bob", None), TypeError, "user_id must be a str, not bytes"),
        (lambda m: m.fetch("bob", limit="7"), TypeError, "limit must be an int, not str"),
        (lambda m: m.fetch("bob", limit=7.0), TypeError, "limit must be an int, not float"),
        (lambda m: m.fetch("bob", limit=True), TypeError, "limit must be an int, not bool"),
        (lambda m: m.fetch("bob", max_bytes=b"7"), TypeError, "max_bytes must be an int"),
        (lambda m: anext(m.pages("bob", limit=0)), ValueError, "limit must be at least 1, not 0"),
    ],
)
async def test_a_wrong_argument_is_named_before_anything_is_called(
    mailbox_table: MailboxTable,
    call: Callable[[Any], Awaitable[object]],
    error: type[Exception],
    says: str,
) -> None:
    """In one line, not as whatever breaks behind it (G9)."""
    with pytest.raises(error, match=says):
        await call(mailbox_table.mailboxes)
    assert mailbox_table.client.calls == []


@pytest.mark.parametrize("receipt", [7, b"bytes", ["list"], 1.5])
async def test_a_receipt_that_is_no_text_is_no_receipt(
    mailbox_table: MailboxTable, receipt: Any
) -> None:
    """It comes from a client, as JSON says: no error of the gateway's code (G6)."""
    with pytest.raises(InvalidReceipt, match="must be a str"):
        await mailbox_table.mailboxes.fetch("bob", after=receipt)
    with pytest.raises(InvalidReceipt, match="must be a str"):
        await mailbox_table.mailboxes.fetch("bob", since=receipt)
    with pytest.raises(InvalidReceipt, match="must be a str"):
        await mailbox_table.mailboxes.ack("bob", receipt)


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"table": ""}, ValueError, "table must not be empty"),
        ({"table": None}, TypeError, "table must be a str, not None"),
        ({"receipt_keys": "secret"}, TypeError, "receipt_keys must be a list of keys, not one key"),
        ({"receipt_keys": None}, TypeError, "receipt_keys must be a list of keys, not None"),
        ({"receipt_keys": [7]}, TypeError, "a key of receipt_keys must be bytes, not int"),
        ({"receipt_keys": [""]}, ValueError, "a key of receipt_keys must not be empty"),
        ({"timeout_s": 0}, ValueError, "timeout_s must be above 0, not 0"),
        ({"timeout_s": float("nan")}, ValueError, "timeout_s must be above 0, not nan"),
        ({"timeout_s": "2"}, TypeError, "timeout_s must be a number of seconds, not str"),
        ({"attempts": 0}, ValueError, "attempts must be at least 1, not 0"),
        ({"connections": 0}, ValueError, "connections must be at least 1, not 0"),
    ],
)
async def test_a_wrong_setting_is_named_at_opening(
    monkeypatch: pytest.MonkeyPatch, settings: Any, error: type[Exception], says: str
) -> None:
    """Before the first call; a receipt key of [7] would be seven zero bytes (G6, G9)."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")
    with pytest.raises(error, match=says):
        async with open_mailboxes(**settings):
            pass


@pytest.mark.parametrize("user_id", ["", "x" * 1025, "\ud800"])
async def test_an_id_that_has_no_mailbox_is_refused(
    mailbox_table: MailboxTable, user_id: str
) -> None:
    """Before anything is called (G9)."""
    for work in (
        mailbox_table.mailboxes.fetch(user_id),
        mailbox_table.mailboxes.ack(user_id, None),
    ):
        with pytest.raises(ValueError, match=r"user id|surrogates"):
            await work
    assert mailbox_table.client.calls == []


async def test_any_limit_is_within_what_a_query_takes(mailbox_table: MailboxTable) -> None:
    """DynamoDB's own is a 32-bit number (G8)."""
    await mailbox_table.deliver_offsets(1)

    assert offsets(await mailbox_table.mailboxes.fetch("bob", limit=10**12)) == [1]
    asked = [
        arguments["Limit"] for _, arguments in mailbox_table.client.calls if "Limit" in arguments
    ]
    assert asked == [FIRST_ITEMS]
    await mailbox_table.deliver_offsets(2)
    await mailbox_table.deliver_offsets(3)
    mailbox_table.client.calls.clear()

    assert offsets(await mailbox_table.mailboxes.fetch("bob", limit=10**12)) == [1, 2, 3]
    asked = [
        arguments["Limit"] for _, arguments in mailbox_table.client.calls if "Limit" in arguments
    ]
    assert asked == [FIRST_ITEMS, QUERY_ITEMS_MAX]


async def test_a_limit_is_the_querys(mailbox_table: MailboxTable) -> None:
    """And one, which says whether there is more: beyond it nothing is read (G7, G8)."""
    await mailbox_table.put(*(encode_bundle([message(n)], TOPIC) for n in range(100)))
    await mailbox_table.mailboxes.ack("bob", await mailbox_table.receipt(limit=1))
    reader = mailbox_table.reader()  # another gateway, which has read nothing ahead
    await reader.fetch("ann")
    mailbox_table.client.calls.clear()
    page = await reader.fetch("bob", limit=10)

    assert (offsets(page), page.more) == (list(range(1, 11)), True)
    assert [arguments["Limit"] for _, arguments in mailbox_table.client.calls] == [FIRST_ITEMS, 11]


async def test_unread_mail_that_the_first_query_brought_is_not_read_again(
    mailbox_table: MailboxTable,
) -> None:
    """The second one goes on behind it; where the cursor hides the last, above the cursor (G7)."""
    await mailbox_table.put(*(encode_bundle([message(n)], TOPIC) for n in range(10)))
    await mailbox_table.mailboxes.fetch("ann")
    mailbox_table.client.calls.clear()
    first, second = (arguments for _, arguments in await calls_of_a_fetch(mailbox_table))
    assert first["Limit"] == FIRST_ITEMS
    assert (
        second["ExclusiveStartKey"]["position"]["S"]
        == BundleKey(1, 3, FIRST_ITEMS - 1, FIRST_ITEMS - 1).encode()
    )
    assert "Limit" not in second

    await mailbox_table.mailboxes.ack("bob", await mailbox_table.receipt(limit=5))
    first, second = (arguments for _, arguments in await calls_of_a_fetch(mailbox_table))
    assert "ExclusiveStartKey" not in second
    assert second["ExpressionAttributeValues"][":key"] == {"S": LogId(1, 3).after(4)}


@pytest.mark.parametrize("limit", [None, 1, 10])
async def test_a_device_reads_past_the_cursors_of_two_others_in_two_queries(
    mailbox_table: MailboxTable, limit: int | None
) -> None:
    """They stand between its own and the bundles (G7)."""
    await mailbox_table.put(*(encode_bundle([message(n)], TOPIC) for n in range(10)))
    receipt = (await mailbox_table.mailboxes.fetch("bob")).receipt
    await mailbox_table.mailboxes.ack("bob", receipt)
    for device in ("desk", "pad", "phone"):
        await mailbox_table.mailboxes.add_device("bob", device)
    await mailbox_table.deliver_offsets(10)
    mailbox_table.client.calls.clear()
    page = await mailbox_table.mailboxes.fetch("bob", device="desk", limit=limit)

    assert offsets(page) == [10]
    assert [name for name, _ in mailbox_table.client.calls] == ["query", "query"]


async def calls_of_a_fetch(mailbox_table: MailboxTable) -> list[tuple[str, Answer]]:
    """By a gateway that has read nothing ahead."""
    reader = mailbox_table.reader()
    await reader.fetch("ann")
    mailbox_table.client.calls.clear()
    assert not (await reader.fetch("bob")).more
    return list(mailbox_table.client.calls)


async def test_many_fetches_at_a_time_look_at_the_table_record_once(
    mailbox_table: MailboxTable,
) -> None:
    """It is one item, which all of a gateway's users share (G7)."""
    await mailbox_table.deliver_offsets(1)
    for wanted in (1, 2):
        pages = await asyncio.gather(*(mailbox_table.mailboxes.fetch("bob") for _ in range(50)))
        assert [offsets(page) for page in pages] == [[1]] * 50
        assert looks(mailbox_table) == wanted
        mailbox_table.now_s += TABLE_RECORD_TRUSTED_S
    mailbox_table.now_s -= 1000  # a clock that was set back

    await mailbox_table.mailboxes.fetch("bob")
    assert looks(mailbox_table) == 3


class Gate:
    """Holds a call back until it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def __call__(self, make: Callable[..., Awaitable[Answer]], arguments: Answer) -> Answer:
        self.reached.set()
        await self.opened.wait()
        return await make(**arguments)


async def test_who_knows_the_table_does_not_wait_for_anothers_look(
    mailbox_table: MailboxTable,
) -> None:
    """A slow look holds up one fetch, not all users of a gateway (G7)."""
    await mailbox_table.deliver_offsets(1)
    await mailbox_table.mailboxes.fetch("bob")
    mailbox_table.now_s += TABLE_RECORD_TRUSTED_S
    gate = Gate()
    mailbox_table.client.on[TABLE_RECORD_KEY] = [gate]
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        first = group.create_task(mailbox_table.mailboxes.fetch("bob"))
        await gate.reached.wait()
        assert offsets(await mailbox_table.mailboxes.fetch("bob")) == [1]
        assert not first.done()
        gate.opened.set()
    assert looks(mailbox_table) == 2


async def test_one_who_is_cancelled_leaves_the_look_to_the_others(
    mailbox_table: MailboxTable,
) -> None:
    """And the last one ends it: nothing is left running (G1)."""
    await mailbox_table.deliver_offsets(1)
    gate = Gate()
    mailbox_table.client.on[TABLE_RECORD_KEY] = [gate]
    before = asyncio.all_tasks()
    async with asyncio.timeout(30):
        one, two = (asyncio.create_task(mailbox_table.mailboxes.fetch("bob")) for _ in range(2))
        await gate.reached.wait()
        one.cancel()
        await asyncio.wait({one})
        gate.opened.set()
        assert offsets(await two) == [1]
    assert one.cancelled()

    mailbox_table.now_s += TABLE_RECORD_TRUSTED_S
    shut = Gate()
    mailbox_table.client.on[TABLE_RECORD_KEY] = [shut]
    last = asyncio.create_task(mailbox_table.mailboxes.fetch("bob"))
    async with asyncio.timeout(30):
        await shut.reached.wait()
        last.cancel()
        await asyncio.wait({last})
        await asyncio.gather(*(asyncio.all_tasks() - before), return_exceptions=True)
    assert mailbox_table.client.in_flight == 0
    assert offsets(await mailbox_table.mailboxes.fetch("bob")) == [1]


async def test_a_look_that_fails_is_everybodys_error(mailbox_table: MailboxTable) -> None:
    """And the next one looks again (G6)."""
    mailbox_table.client.on[TABLE_RECORD_KEY] = [not_reached]
    fetches = [mailbox_table.mailboxes.fetch("bob") for _ in range(5)]
    results = await asyncio.gather(*fetches, return_exceptions=True)

    assert [type(result) for result in results] == [StoreUnavailable] * 5
    assert looks(mailbox_table) == 1
    await mailbox_table.mailboxes.fetch("bob")
    assert looks(mailbox_table) == 2


async def test_once_a_table_is_known_to_be_replaced_nobody_reads_it(
    mailbox_table: MailboxTable,
) -> None:
    """Not even beside another look (G6)."""
    await mailbox_table.mailboxes.fetch("bob")
    await mailbox_table.open(TableRecord(table_id="other", topic=TOPIC, partitions=1, epoch=1))
    mailbox_table.now_s += TABLE_RECORD_TRUSTED_S
    for _ in range(2):
        with pytest.raises(TableMismatch):
            await mailbox_table.mailboxes.fetch("bob")
    fetches = [mailbox_table.mailboxes.fetch("bob") for _ in range(5)]
    results = await asyncio.gather(*fetches, return_exceptions=True)

    assert [type(result) for result in results] == [TableMismatch] * 5


@given(
    st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=4), max_size=12),
    st.integers(-1, 30),
    st.none() | st.integers(1, 5),
    st.none() | st.integers(1, 20),
    st.integers(1, 600),
)
def test_wherever_queries_end_pages_are_the_mailbox(
    bundles: list[set[int]],
    cursor: int,
    limit: int | None,
    max_bytes: int | None,
    page_bytes: int,
) -> None:
    """Nothing lost or twice, `more` exact, no empty page with more (G2, G3, G5, G8)."""

    async def read() -> list[list[int]]:
        mailbox_table = MailboxTable(InMemoryTable(page_bytes=page_bytes), "mailboxes")
        await mailbox_table.open()
        await mailbox_table.put(
            {"user_id": {"S": "bob"}, "position": {"S": "!"}, "0001.00003": {"N": str(cursor)}}
        )
        for each in runs:
            await mailbox_table.deliver_offsets(*each)
        pages = [
            page
            async for page in mailbox_table.mailboxes.pages("bob", limit=limit, max_bytes=max_bytes)
        ]
        assert [page.more for page in pages] == [True] * (len(pages) - 1) + [False]
        await mailbox_table.mailboxes.ack("bob", pages[-1].receipt)
        assert (await mailbox_table.mailboxes.fetch("bob")).messages == ()
        assert await mailbox_table.cursor() == {(1, 3): max([cursor, *held])}
        return [offsets(page) for page in pages]

    held = sorted(set().union(*bundles))
    # What a bundle's key says: all of the mailbox's messages from its first to its last.
    runs = [[n for n in held if min(each) <= n <= max(each)] for each in bundles]
    runs += [[n] for n in held]  # the life that wrote the whole log
    pages = asyncio.run(read())

    assert [n for page in pages for n in page] == [n for n in held if n > cursor]
    assert all(pages) or pages == [[]]
    if limit is not None:
        assert max(map(len, pages)) <= limit


async def test_time_is_the_clocks() -> None:
    """The system's, where none is given (G2)."""
    table = InMemoryTable()
    mailbox_table = MailboxTable(table, "mailboxes")
    await mailbox_table.open()
    sent = message(1)
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    await mailbox_table.deliver(type(sent)(user_id="bob", id="a", body=b"", expires_at=long_ago,
                                    position=sent.position))  # fmt: skip

    assert (await Mailboxes(table).fetch("bob")).messages == ()


def failing(error: Exception) -> Fault:
    async def fault(make: Callable[..., Awaitable[Answer]], arguments: Answer) -> Answer:
        raise error

    return fault


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (ConnectTimeoutError(endpoint_url="http://nowhere"), StoreUnavailable),
        (ConnectionResetError(), StoreUnavailable),
        (TimeoutError(), StoreUnavailable),
        (refusal("504", status=504), StoreUnavailable),
        (refusal("ResourceNotFoundException"), TableMismatch),
        (
            refusal("ValidationException", "Query condition missed key schema element"),
            TableMismatch,
        ),
        (refusal("ValidationException", "Invalid UpdateExpression"), MailboxError),
        (refusal("ExpiredTokenException"), MailboxError),
        (NoCredentialsError(), MailboxError),
        (ParamValidationError(report="Limit"), MailboxError),
    ],
)
async def test_an_error_of_the_client_has_one_meaning(
    mailbox_table: MailboxTable, error: Exception, meaning: type[MailboxError]
) -> None:
    """A gateway catches one family, and the cause is kept (G9)."""
    mailbox_table.client.on["query"] = [failing(error)] * 2
    with pytest.raises(MailboxError) as caught:
        await mailbox_table.mailboxes.fetch("bob")

    assert type(caught.value) is meaning
    assert caught.value.__cause__ is error


async def test_an_error_of_ours_is_not_the_stores(mailbox_table: MailboxTable) -> None:
    """What nobody foresaw is not hidden in an outage (G9)."""

    async def bug() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await translate_errors(bug(), "mailboxes")


@pytest.fixture
def nowhere() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def test_a_store_that_is_away_at_opening_is_said(
    monkeypatch: pytest.MonkeyPatch, nowhere: str
) -> None:
    """After the attempts that were given (G8, G9)."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", nowhere)
    with pytest.raises(StoreUnavailable, match="no answer from the store"):
        async with open_mailboxes(attempts=1):
            pass


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"AWS_ENDPOINT_URL_DYNAMODB": "no address"}, "Invalid endpoint"),
        ({"AWS_PROFILE": "nobody"}, "could not be found"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, "region"),
    ],
)
async def test_an_incomplete_environment_is_the_operators(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], why: str
) -> None:
    """One error, before the first call (G9)."""
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    with pytest.raises(MailboxError, match=why) as caught:
        async with open_mailboxes():
            pass
    assert type(caught.value) is MailboxError


async def test_a_client_of_its_own_has_a_gateways_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Time-outs, attempts and pool, by default and as they are given (G8)."""
    seen: list[Any] = []

    class Session:
        async def get_credentials(self) -> Any:
            return self

        async def get_frozen_credentials(self) -> Any:
            return None

        def client(self, service: str, *, config: Any) -> Any:
            seen.append((service, config))
            raise ProfileNotFound(profile="seen enough")

    monkeypatch.setattr("aioboto3.Session", Session)
    for arguments in ({}, {"timeout_s": 0.5, "attempts": 3, "connections": 7}):
        with pytest.raises(MailboxError):
            async with open_mailboxes(**arguments):  # type: ignore[arg-type]
                pass
    found = [
        (service, config.connect_timeout, config.read_timeout,
         config.retries["total_max_attempts"], config.max_pool_connections)
        for service, config in seen
    ]  # fmt: skip

    assert found == [("dynamodb", 2.0, 2.0, 2, 200), ("dynamodb", 0.5, 0.5, 3, 7)]
