"""Small calls of several partitions go as one, and each caller learns what became of his items."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.bundles import bundle_of
from tests.records import message
from worker.dynamodb.coalescing import CoalescingPuts
from worker.dynamodb.errors import MalformedAnswerError
from worker.dynamodb.puts import (
    CALL_BYTES_MAX,
    CALL_ITEMS_MAX,
    EncodedPut,
    PutResult,
    encode_put,
)

TABLE = "mailboxes"


Write = tuple[str, list[EncodedPut]]
#: Nothing is left over.
DONE = PutResult(frozenset())


def write_of(user_id: str, items: int = 1, body: bytes = b"hello", table: str = TABLE) -> Write:
    """The arguments of a put of so many bundles of one user."""
    return table, [encode_put(bundle_of(message(n, user_id, body))) for n in range(items)]


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "BatchWriteItem")


class Client:
    """Keeps the users of each call, and whether it counts its units. Answers what is ordered for a
    user, else that nothing is left over."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.counting: list[bool] = []
        self.refuses: dict[str, Exception] = {}
        self.leaves: set[str] = set()
        self.held: asyncio.Event | None = None
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def put(
        self, table: str, puts: Sequence[EncodedPut], *, count_units: bool = False
    ) -> PutResult:
        users = [put.key[0] for put in puts]
        self.calls.append(users)
        self.counting.append(count_units)
        self.begun.set()
        try:
            await (asyncio.sleep(0) if self.held is None else self.held.wait())
        finally:
            self.ended.set()
        for user in users:
            if user in self.refuses:
                raise self.refuses[user]
        return PutResult(frozenset(put.key for put in puts if put.key[0] in self.leaves))


@pytest.fixture
def client() -> Client:
    return Client()


async def together(client: Client, *writes: Write) -> Sequence[Any]:
    """The results, or what was raised, of puts that begin in one turn."""
    coalescing = CoalescingPuts(client, coalesce_s=0.001)
    calls = (coalescing.put(*write) for write in writes)
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_small_calls_go_as_one(client: Client) -> None:
    """Each is told that nothing of his is left (G1)."""
    answers = await together(client, write_of("ann"), write_of("bob", 2), write_of("cem"))

    assert client.calls == [["ann", "bob", "bob", "cem"]]
    assert answers == [DONE] * 3


async def test_what_was_not_taken_is_told_to_its_owner_alone(client: Client) -> None:
    """Nobody takes another's item for durable, or his own for left over (G1)."""
    client.leaves = {"bob"}
    ann, bob = await together(client, write_of("ann"), write_of("bob", 2))

    assert ann == DONE
    assert bob.left_over == {put.key for put in write_of("bob", 2)[1]}


async def test_an_item_that_refuses_the_call_refuses_its_own_alone(client: Client) -> None:
    """Or another partition's message would be taken for bad input (G9)."""
    client.refuses = {"bob": refusal("ValidationException")}
    ann, bob, cem = await together(client, write_of("ann"), write_of("bob"), write_of("cem"))

    assert bob is client.refuses["bob"]
    assert ann == cem == DONE
    assert client.calls == [["ann", "bob", "cem"], ["ann"], ["bob"], ["cem"]]


@pytest.mark.parametrize(
    "error",
    [
        refusal("ThrottlingException"), refusal("AccessDeniedException"), OSError("away"),
        MalformedAnswerError(), TypeError("ours"),
    ],
)  # fmt: skip
async def test_any_other_failure_is_told_to_all(client: Client, error: Exception) -> None:
    """Each waits, or ends, by himself: one attempt is shared, not its repetition (G1)."""
    client.refuses = {"bob": error}

    assert await together(client, write_of("ann"), write_of("bob")) == [error, error]
    assert len(client.calls) == 1


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
    coalescing = CoalescingPuts(client, coalesce_s=3_600)
    half = b"x" * (CALL_BYTES_MAX // 2)
    for write in (write_of("ann", CALL_ITEMS_MAX), write_of("bob", body=half)):
        await asyncio.wait_for(coalescing.put(*write), 30)

    assert [len(call) for call in client.calls] == [CALL_ITEMS_MAX, 1]


async def test_a_call_that_asks_what_it_consumed_goes_alone(client: Client) -> None:
    """The answer tells only the sum. Other operations are the client's own (G8)."""
    coalescing = CoalescingPuts(client, coalesce_s=3_600)
    await asyncio.wait_for(coalescing.put(*write_of("ann"), count_units=True), 30)

    assert client.counting == [True]


async def test_who_is_cancelled_leaves_the_others_alone(client: Client) -> None:
    """A partition that is revoked takes no other's write with it; the last ends the call (G1)."""
    client.held = asyncio.Event()
    coalescing = CoalescingPuts(client, coalesce_s=0)
    ann, bob = (asyncio.create_task(coalescing.put(*write_of(user))) for user in ("ann", "bob"))
    await client.begun.wait()
    ann.cancel()
    await asyncio.sleep(0.01)
    assert not client.ended.is_set()
    client.held.set()
    assert await bob == DONE

    for event in (client.held, client.begun, client.ended):
        event.clear()
    cem = asyncio.create_task(coalescing.put(*write_of("cem")))
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
    coalescing = CoalescingPuts(client, coalesce_s=0)
    ann, bob, cem = (
        asyncio.create_task(coalescing.put(*write_of(user))) for user in ("ann", "bob", "cem")
    )
    await client.begun.wait()
    ann.cancel()
    client.held.set()
    ended = await asyncio.gather(ann, bob, cem, return_exceptions=True)

    assert ended[1] is client.refuses["bob"]
    alone = code == "ValidationException"
    assert ended[2] == (DONE if alone else client.refuses["bob"])


class Apart(Client):
    """Calls of one user, after one of all, end when that is ordered."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = {user: asyncio.Event() for user in ("ann", "bob", "cem")}
        self.apart = asyncio.Event()

    async def put(
        self, table: str, puts: Sequence[EncodedPut], *, count_units: bool = False
    ) -> PutResult:
        user, *others = (put.key[0] for put in puts)
        if not others:
            self.apart.set()
            await self.ends[user].wait()
        return await super().put(table, puts, count_units=count_units)


async def test_who_leaves_while_each_goes_alone_is_no_hindrance() -> None:
    """His answer is nobody's, and the others wait for theirs (G1)."""
    client = Apart()
    client.refuses = {"bob": refusal("ValidationException")}
    coalescing = CoalescingPuts(client, coalesce_s=0)
    ann, bob, cem = (asyncio.create_task(coalescing.put(*write_of(user))) for user in client.ends)
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
    assert ended[2] == DONE


async def test_who_left_before_the_call_is_not_in_it(client: Client) -> None:
    """What nobody waits for is not written (G8)."""
    coalescing = CoalescingPuts(client, coalesce_s=0.001)
    ann, bob = (asyncio.create_task(coalescing.put(*write_of(user))) for user in ("ann", "bob"))
    await asyncio.sleep(0)
    ann.cancel()
    await bob

    assert client.calls == [["bob"]]


async def test_a_call_that_is_ended_from_outside_keeps_nobody_waiting(client: Client) -> None:
    """Its flushes end with it: one that is cancelled is never taken for done (G1)."""
    client.held = asyncio.Event()
    coalescing = CoalescingPuts(client, coalesce_s=0)
    calls = [asyncio.create_task(coalescing.put(*write_of(user))) for user in ("ann", "bob")]
    await client.begun.wait()
    for call in coalescing.calls:
        call.cancel()

    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in ended] == [asyncio.CancelledError] * 2
