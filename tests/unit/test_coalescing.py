"""Small calls of several partitions go as one, and each caller learns what became of his items."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.bundles import bundle_of
from tests.records import message
from worker.dynamodb.coalescing import CALL_BYTES_MAX, CALL_ITEMS_MAX, CoalescingClient
from worker.dynamodb.encoding import PreparedWrite, encode_put

TABLE = "mailboxes"


def write_of(user_id: str, items: int = 1, body: bytes = b"hello", table: str = TABLE) -> Any:
    """A call that puts so many bundles of one user."""
    return PreparedWrite(
        table, [encode_put(bundle_of(message(n, user_id, body))) for n in range(items)]
    )


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "BatchWriteItem")


class Client:
    """Keeps the users of each call; answers what is ordered for a user, else that all is done."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.consumed: list[dict[str, str]] = []
        self.refuses: dict[str, Exception] = {}
        self.leaves: set[str] = set()
        self.raw: Any = None
        self.held: asyncio.Event | None = None
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def batch_write_item(self, *, RequestItems: Any, **consumed: str) -> Any:  # noqa: N803
        requests = RequestItems[RequestItems.table]
        users = [request["PutRequest"]["Item"]["user_id"]["S"] for request in requests]
        self.calls.append(users)
        self.consumed.append(consumed)
        self.begun.set()
        try:
            await (asyncio.sleep(0) if self.held is None else self.held.wait())
        finally:
            self.ended.set()
        for user in users:
            if user in self.refuses:
                raise self.refuses[user]
        if self.raw is not None:
            return self.raw
        left = [r for r, user in zip(requests, users, strict=True) if user in self.leaves]
        return {"UnprocessedItems": {RequestItems.table: left} if left else {}}

    async def update_item(self, **arguments: Any) -> Any:
        return arguments


@pytest.fixture
def client() -> Client:
    return Client()


async def together(client: Client, *writes: Any) -> Sequence[Any]:
    """The answers, or what was raised, of calls that begin in one turn."""
    gathering = CoalescingClient(client, coalesce_s=0.001)
    calls = (gathering.batch_write_item(RequestItems=write) for write in writes)
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_small_calls_go_as_one(client: Client) -> None:
    """Each is told that nothing of his is left (G1)."""
    answers = await together(client, write_of("ann"), write_of("bob", 2), write_of("cem"))

    assert client.calls == [["ann", "bob", "bob", "cem"]]
    assert answers == [{"UnprocessedItems": {}}] * 3


async def test_what_was_not_taken_is_told_to_its_owner_alone(client: Client) -> None:
    """Nobody takes another's item for durable, or his own for left over (G1)."""
    client.leaves = {"bob"}
    ann, bob = await together(client, write_of("ann"), write_of("bob", 2))

    assert ann == {"UnprocessedItems": {}}
    left = bob["UnprocessedItems"][TABLE]
    assert [r["PutRequest"]["Item"]["user_id"]["S"] for r in left] == ["bob", "bob"]


async def test_an_item_that_refuses_the_call_refuses_its_own_alone(client: Client) -> None:
    """Or another partition's message would be taken for bad input (G9)."""
    client.refuses = {"bob": refusal("ValidationException")}
    ann, bob, cem = await together(client, write_of("ann"), write_of("bob"), write_of("cem"))

    assert bob is client.refuses["bob"]
    assert ann == cem == {"UnprocessedItems": {}}
    assert client.calls == [["ann", "bob", "cem"], ["ann"], ["bob"], ["cem"]]


@pytest.mark.parametrize(
    "error", [refusal("ThrottlingException"), refusal("AccessDeniedException"), OSError("away")]
)
async def test_any_other_failure_is_told_to_all(client: Client, error: Exception) -> None:
    """Each waits, or ends, by himself: one attempt is shared, not its repetition (G1)."""
    client.refuses = {"bob": error}

    assert await together(client, write_of("ann"), write_of("bob")) == [error, error]
    assert len(client.calls) == 1


@pytest.mark.parametrize(
    "raw",
    [
        {}, None, [], {"UnprocessedItems": [1]}, {"UnprocessedItems": {"another": []}},
        {"UnprocessedItems": {TABLE: [{"PutRequest": {"Item": {"b": {"B": b""}}}}]}},
        {"UnprocessedItems": {TABLE: [{"PutRequest": {"Item": {
            "user_id": {"S": "eve"}, "position": {"S": "?"}}}}]}},
    ],
)  # fmt: skip
async def test_an_answer_that_is_none_is_told_to_all(client: Client, raw: Any) -> None:
    """Nobody takes his items for durable by an answer cut off, or of another's (G1)."""
    client.raw = raw if raw is not None else "null"

    assert await together(client, write_of("ann"), write_of("bob")) == [client.raw] * 2


async def test_calls_stay_within_their_limits(client: Client) -> None:
    """25 items, and the bytes of a call; a table of its own (G8)."""
    large = b"x" * (CALL_BYTES_MAX // 3)
    await together(client, write_of("ann", 20), write_of("bob", 6), write_of("cem", 19))
    assert [len(call) for call in client.calls] == [20, 25]

    client.calls.clear()
    await together(client, *(write_of(user, body=large) for user in ("ann", "bob", "cem")))
    assert client.calls == [["ann", "bob"], ["cem"]]

    client.calls.clear()
    await together(client, write_of("ann"), write_of("bob", table="another"))
    assert client.calls == [["ann"], ["bob"]]


async def test_a_full_call_waits_for_nobody(client: Client) -> None:
    """A backlog is not held up: full in items, or more than half full in bytes (G8)."""
    gathering = CoalescingClient(client, coalesce_s=3_600)
    half = b"x" * (CALL_BYTES_MAX // 2)
    for write in (write_of("ann", CALL_ITEMS_MAX), write_of("bob", body=half)):
        await asyncio.wait_for(gathering.batch_write_item(RequestItems=write), 30)

    assert [len(call) for call in client.calls] == [CALL_ITEMS_MAX, 1]


async def test_a_call_that_asks_what_it_consumed_goes_alone(client: Client) -> None:
    """The answer tells only the sum. Other operations are the client's own (G8)."""
    gathering = CoalescingClient(client, coalesce_s=3_600)
    call = gathering.batch_write_item(
        RequestItems=write_of("ann"), ReturnConsumedCapacity="TOTAL"
    )  # fmt: skip
    await asyncio.wait_for(call, 30)

    assert client.consumed == [{"ReturnConsumedCapacity": "TOTAL"}]
    assert await gathering.update_item(Key=1) == {"Key": 1}


async def test_who_is_cancelled_leaves_the_others_alone(client: Client) -> None:
    """A partition that is revoked takes no other's write with it; the last ends the call (G1)."""
    client.held = asyncio.Event()
    gathering = CoalescingClient(client, coalesce_s=0)
    ann, bob = (
        asyncio.create_task(gathering.batch_write_item(RequestItems=write_of(user)))
        for user in ("ann", "bob")
    )
    await client.begun.wait()
    ann.cancel()
    await asyncio.sleep(0.01)
    assert not client.ended.is_set()
    client.held.set()
    assert await bob == {"UnprocessedItems": {}}

    for event in (client.held, client.begun, client.ended):
        event.clear()
    cem = asyncio.create_task(gathering.batch_write_item(RequestItems=write_of("cem")))
    await client.begun.wait()
    cem.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cem
    await client.ended.wait()  # or the test's own limit ends it


@pytest.mark.parametrize("code", ["ValidationException", "ThrottlingException"])
async def test_who_left_is_no_hindrance_when_the_call_fails(client: Client, code: str) -> None:
    """The others learn of it as if he had never been there (G1)."""
    client.held = asyncio.Event()
    client.refuses = {"bob": refusal(code)}
    gathering = CoalescingClient(client, coalesce_s=0)
    ann, bob, cem = (
        asyncio.create_task(gathering.batch_write_item(RequestItems=write_of(user)))
        for user in ("ann", "bob", "cem")
    )
    await client.begun.wait()
    ann.cancel()
    client.held.set()
    ended = await asyncio.gather(ann, bob, cem, return_exceptions=True)

    assert ended[1] is client.refuses["bob"]
    alone = code == "ValidationException"
    assert ended[2] == ({"UnprocessedItems": {}} if alone else client.refuses["bob"])


class Apart(Client):
    """Calls of one user, after one of all, end when that is ordered."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = {user: asyncio.Event() for user in ("ann", "bob", "cem")}
        self.apart = asyncio.Event()

    async def batch_write_item(self, *, RequestItems: Any, **consumed: str) -> Any:  # noqa: N803
        user, *others = (put.key[0] for put in RequestItems.puts)
        if not others:
            self.apart.set()
            await self.ends[user].wait()
        return await super().batch_write_item(RequestItems=RequestItems, **consumed)


async def test_who_leaves_while_each_goes_alone_is_no_hindrance() -> None:
    """His answer is nobody's, and the others wait for theirs (G1)."""
    client = Apart()
    client.refuses = {"bob": refusal("ValidationException")}
    gathering = CoalescingClient(client, coalesce_s=0)
    ann, bob, cem = (
        asyncio.create_task(gathering.batch_write_item(RequestItems=write_of(user)))
        for user in client.ends
    )
    await client.apart.wait()
    client.ended.clear()
    ann.cancel()
    client.ends["ann"].set()
    await client.ended.wait()
    await asyncio.sleep(0.01)
    for user in ("bob", "cem"):
        client.ends[user].set()
    ended = await asyncio.gather(ann, bob, cem, return_exceptions=True)

    assert ended[1] is client.refuses["bob"]
    assert ended[2] == {"UnprocessedItems": {}}


async def test_who_left_before_the_call_is_not_in_it(client: Client) -> None:
    """What nobody waits for is not written (G8)."""
    gathering = CoalescingClient(client, coalesce_s=0.001)
    ann, bob = (
        asyncio.create_task(gathering.batch_write_item(RequestItems=write_of(user)))
        for user in ("ann", "bob")
    )
    await asyncio.sleep(0)
    ann.cancel()
    await bob

    assert client.calls == [["bob"]]


async def test_a_call_that_is_ended_from_outside_keeps_nobody_waiting(client: Client) -> None:
    """Its flushes end with it: one that is cancelled is never taken for done (G1)."""
    client.held = asyncio.Event()
    gathering = CoalescingClient(client, coalesce_s=0)
    calls = [
        asyncio.create_task(gathering.batch_write_item(RequestItems=write_of(user)))
        for user in ("ann", "bob")
    ]
    await client.begun.wait()
    for call in gathering._calls:
        call.cancel()

    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in ended] == [asyncio.CancelledError] * 2
