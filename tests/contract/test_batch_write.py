"""The contract of MailboxWriter, on the fake table and on DynamoDB Local."""

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

import pytest

from poste_restante.item import ITEM_BYTES_MAX, decode_bundle
from poste_restante.message import Message
from poste_restante.position import mailbox_key
from tests.bundles import bundle_of, item_of, messages_of
from tests.faults import (
    Fault,
    FaultyClient,
    answer_broken_off,
    answer_empty,
    answer_lost,
    answer_misshapen,
    answers,
    not_reached,
    refuses,
    unprocessed,
    written,
)
from tests.records import TOPIC, message
from tests.store_client import store_on
from tests.tables import KINDS, open_table
from worker.bundles import Bundle
from worker.dynamodb.batch_write import DynamoDBWriter
from worker.dynamodb.budget import SAVED_S_MAX, WriteBudget
from worker.dynamodb.puts import CALL_BYTES_MAX, CALL_ITEMS_MAX
from worker.errors import Bug, OperatorError
from worker.mailbox_writer import Rejected


class Mailboxes:
    """A table, a client of it that can be made to fail, and a writer that does not really wait."""

    def __init__(self, client: Any, table: str) -> None:
        self.client = FaultyClient(client)
        self.table = table
        self.waits_s: list[float] = []
        self.store = store_on(self.client, sleep=self.sleep, random=lambda: 1.0)
        self.writer = DynamoDBWriter(self.store, table)

    async def sleep(self, delay_s: float) -> None:
        assert self.store.wait_tracker.count  # or a stall of the store would be taken for ours
        self.waits_s.append(delay_s)
        await asyncio.sleep(0)

    async def read(self, user_id: str) -> list[Message]:
        """What the table holds of a mailbox, in key order."""
        found: list[Message] = []
        arguments = {
            "TableName": self.table,
            "ConsistentRead": True,
            "KeyConditionExpression": "user_id = :user",
            "ExpressionAttributeValues": {":user": {"S": mailbox_key(user_id)}},
        }
        while True:
            answer = await self.client.client.query(**arguments)
            for item in answer["Items"]:
                found += decode_bundle(item, user_id, TOPIC)
            if "LastEvaluatedKey" not in answer:
                return found
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def batch_writes(self) -> list[dict[str, Any]]:
        return [made for operation, made in self.client.calls if operation == "batch_write_item"]


@pytest.fixture(params=KINDS)
async def mailboxes(request: pytest.FixtureRequest, table_name: str) -> AsyncIterator[Mailboxes]:
    async with open_table(request, table_name) as client:
        yield Mailboxes(client, table_name)


def bundle(*offsets: int, user_id: str = "bob", body: bytes = b"hello") -> Bundle:
    return bundle_of(*(message(offset, user_id, body) for offset in offsets))


def bundles(count: int) -> list[Bundle]:
    """One of each user."""
    return [bundle(n, user_id=f"user-{n}") for n in range(count)]


async def stored(mailboxes: Mailboxes, wanted: list[Bundle]) -> bool:
    return all([await mailboxes.read(each.user_id) == messages_of(each) for each in wanted])


async def test_all_bundles_are_durable_when_write_returns(mailboxes: Mailboxes) -> None:
    """Whatever their number, in calls of at most 25 items (G1, G8)."""
    wanted = bundles(60)
    assert await mailboxes.writer.write(wanted) == []

    assert await stored(mailboxes, wanted)
    assert [len(written(made)) for made in mailboxes.batch_writes()] == [25, 25, 10]


async def test_writing_nothing_calls_nobody(mailboxes: Mailboxes) -> None:
    """A flush of dead letters alone costs no call (G8)."""
    assert await mailboxes.writer.write([]) == []
    assert mailboxes.client.calls == []


async def test_writing_again_changes_nothing(mailboxes: Mailboxes) -> None:
    """A key holds the same content whoever writes it, and however often (G1)."""
    wanted = bundles(3)
    for _ in range(2):
        await mailboxes.writer.write(wanted)

    assert await stored(mailboxes, wanted)


async def test_everything_a_message_carries_is_written(mailboxes: Mailboxes) -> None:
    """Empty bodies, null header values, empty names, users with a "!" in front (G1)."""
    odd = Message(
        user_id="!é\x00",
        id="\x00\u2028",
        source="",
        body=b"",
        headers=(("", None), ("", b""), ("a", b"\xff"), ("a", None)),
        position=message(7).position,
    )
    assert await mailboxes.writer.write([bundle_of(odd)]) == []

    assert await mailboxes.read("!é\x00") == [odd]


async def test_only_what_was_left_is_sent_again(mailboxes: Mailboxes) -> None:
    """With backoff that grows from round to round (G1, G8)."""
    mailboxes.client.faults += [unprocessed(20), unprocessed(20), unprocessed(3)]
    wanted = bundles(25)
    await mailboxes.writer.write(wanted)

    assert await stored(mailboxes, wanted)
    assert [len(written(made)) for made in mailboxes.batch_writes()] == [25, 20, 20, 3]
    assert mailboxes.waits_s == [0.05, 0.1, 0.2]
    assert mailboxes.store.wait_tracker.count == 0


@pytest.mark.parametrize(
    "fault",
    [
        refuses("ProvisionedThroughputExceededException"),
        refuses("ThrottlingException"),
        refuses("InternalServerError", status=500),
        refuses("502", status=502),
        refuses("429", status=429),
        not_reached,
        answer_lost,
        answer_broken_off,
        answer_empty,
        answer_misshapen,
        answers({"UnprocessedItems": []}),
        answers({"UnprocessedItems": {"elsewhere": []}}),
        answers({"UnprocessedItems": {"elsewhere": None}}),
    ],
)
@pytest.mark.parametrize("times", [1, 12])
async def test_a_store_that_is_away_is_waited_for(
    mailboxes: Mailboxes, fault: Fault, times: int
) -> None:
    """Throttled, unreachable, unknown outcome, answers that are none: never bad input (G1, G9)."""
    mailboxes.client.faults += [fault] * times
    wanted = bundles(2)
    assert await mailboxes.writer.write(wanted) == []

    assert await stored(mailboxes, wanted)
    assert len(mailboxes.waits_s) == times
    assert max(mailboxes.waits_s) <= 5.0


async def test_items_that_were_never_sent_are_no_answer(mailboxes: Mailboxes) -> None:
    """An answer about somebody else's items says nothing about ours (G1)."""
    other = item_of(bundle(99))
    answer = {"UnprocessedItems": {mailboxes.table: [{"PutRequest": {"Item": other}}]}}
    mailboxes.client.faults.append(answers(answer))
    await mailboxes.writer.write(bundles(2))

    assert [len(written(made)) for made in mailboxes.batch_writes()] == [2, 2]


@pytest.mark.parametrize("bad", [{0}, {24}, {3, 4, 20}, set(range(25))])
async def test_a_refused_item_is_found_and_handed_back(mailboxes: Mailboxes, bad: set[int]) -> None:
    """It alone is not written; all others are (G1, G9)."""
    wanted = bundles(25)
    mailboxes.client.poison = {item_of(wanted[n])["position"]["S"] for n in bad}
    rejected = await mailboxes.writer.write(wanted)

    assert {each.bundle.user_id for each in rejected} == {f"user-{n}" for n in bad}
    assert all("Item size" in each.detail for each in rejected)
    assert await stored(mailboxes, [each for n, each in enumerate(wanted) if n not in bad])
    assert all([await mailboxes.read(f"user-{n}") == [] for n in bad])
    assert mailboxes.waits_s == []


async def test_an_item_that_is_really_too_large_is_handed_back(mailboxes: Mailboxes) -> None:
    """As the store itself judges (G9)."""
    huge, fits = bundle(1, body=b"x" * 410_000), bundle(2, user_id="ann")
    rejected = await mailboxes.writer.write([huge, fits])

    assert [each.bundle for each in rejected] == [huge]
    assert await stored(mailboxes, [fits])


async def test_the_largest_items_fit_their_calls(mailboxes: Mailboxes) -> None:
    """25 of them are more than one call may carry (G8)."""
    wanted = [bundle(n, user_id=f"u{n}", body=b"x" * (ITEM_BYTES_MAX - 400)) for n in range(6)]
    wanted += [bundle(n, user_id=f"u{n}", body=b"x" * 50_000) for n in range(6, 30)]
    assert await mailboxes.writer.write(wanted) == []

    assert await stored(mailboxes, wanted)
    sizes = [sum(len(each["PutRequest"]["Item"]["messages"]["L"][0]["M"]["b"]["B"])
                 for each in made["RequestItems"][mailboxes.table])
             for made in mailboxes.batch_writes()]  # fmt: skip
    assert max(sizes) <= CALL_BYTES_MAX


async def test_what_we_cannot_encode_is_handed_back(mailboxes: Mailboxes) -> None:
    """The others are written (G9)."""
    broken, fits = bundle(9_999, 10_000), bundle(1, user_id="ann")
    rejected = await mailboxes.writer.write([broken, fits])

    assert [each.bundle for each in rejected] == [broken]
    assert "not one bundle" in rejected[0].detail
    assert await stored(mailboxes, [fits])


@pytest.mark.parametrize(
    ("fault", "error", "word"),
    [
        (refuses("AccessDeniedException", "not you"), OperatorError, "permissions"),
        (refuses("ResourceNotFoundException"), OperatorError, "poste init"),
        (
            refuses("ValidationException", "The provided key element does not match the schema"),
            OperatorError,
            "key schema",
        ),
        (
            refuses("ValidationException", "Type mismatch for key position expected: S actual: N"),
            OperatorError,
            "key schema",
        ),
        (
            refuses("ValidationException", "Too many items requested for the BatchWriteItem call"),
            Bug,
            "Too many items",
        ),
        (
            refuses("ValidationException", "Provided list of item keys contains duplicates"),
            Bug,
            "duplicates",
        ),
    ],
)
async def test_any_other_refusal_ends_the_flush(
    mailboxes: Mailboxes, fault: Fault, error: type[Exception], word: str
) -> None:
    """It is the operator's error or ours, and never bad input (G1, G9)."""
    mailboxes.client.faults.append(fault)
    with pytest.raises(error, match=word):
        await mailboxes.writer.write(bundles(30))


async def test_a_missing_table_is_the_operators(mailboxes: Mailboxes) -> None:
    """As the store itself words it (G9)."""
    writer = DynamoDBWriter(mailboxes.store, "no-such-table")
    with pytest.raises(OperatorError, match="poste init"):
        await writer.write(bundles(1))


async def test_calls_in_flight_are_bounded(mailboxes: Mailboxes) -> None:
    """By the store, over all flushes of a worker together (G8)."""
    store = store_on(mailboxes.client, calls_in_flight_max=2, sleep=mailboxes.sleep)
    writer = DynamoDBWriter(store, mailboxes.table)
    wanted = bundles(CALL_ITEMS_MAX * 5)
    await asyncio.gather(writer.write(wanted[:70]), writer.write(wanted[70:]))

    assert mailboxes.client.in_flight_max == 2
    assert await stored(mailboxes, wanted)


async def test_a_waiting_call_leaves_its_place_to_others(mailboxes: Mailboxes) -> None:
    """One that backs off holds up no other (G8)."""
    asleep, wake = asyncio.Event(), asyncio.Event()

    async def sleep(delay_s: float) -> None:
        asleep.set()
        await wake.wait()

    store = store_on(mailboxes.client, calls_in_flight_max=1, sleep=sleep)
    writer = DynamoDBWriter(store, mailboxes.table)
    mailboxes.client.faults.append(not_reached)
    first, second = bundles(2)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        waiting = group.create_task(writer.write([first]))
        await asleep.wait()
        await writer.write([second])
        assert not waiting.done()
        wake.set()

    assert await stored(mailboxes, [first, second])


async def test_cancelled_writes_leave_nothing_running(mailboxes: Mailboxes) -> None:
    """No call of a flush outlives it (G2)."""
    asleep = asyncio.Event()

    async def sleep(delay_s: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    writer = DynamoDBWriter(store_on(mailboxes.client, sleep=sleep), mailboxes.table)
    mailboxes.client.faults.append(not_reached)
    before = asyncio.all_tasks()
    writing = asyncio.create_task(writer.write(bundles(100)))
    await asleep.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    assert asyncio.all_tasks() <= before
    assert mailboxes.client.in_flight == 0


async def test_a_refusal_ends_the_calls_that_wait(mailboxes: Mailboxes) -> None:
    """The flush ends at once, whoever is still waited for, and none of its calls outlives it
    (G2, G8)."""
    asleep = asyncio.Event()

    async def sleep(delay_s: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    async def refused(make: Any, arguments: Any) -> Any:
        await asleep.wait()
        return await refuses("AccessDeniedException")(make, arguments)

    writer = DynamoDBWriter(store_on(mailboxes.client, sleep=sleep), mailboxes.table)
    mailboxes.client.faults += [not_reached, refused]
    before = asyncio.all_tasks()
    with pytest.raises(OperatorError):
        async with asyncio.timeout(30):
            await writer.write(bundles(CALL_ITEMS_MAX * 2))

    assert asyncio.all_tasks() <= before
    assert mailboxes.client.in_flight == 0


async def test_waiting_is_said_once_in_a_while(
    mailboxes: Mailboxes, caplog: pytest.LogCaptureFixture
) -> None:
    """What it waits for and since when, without a flood and without a body (G8, G9)."""
    now_s = iter([float(n) for n in range(1000)])
    store = mailboxes.store = store_on(
        mailboxes.client, sleep=mailboxes.sleep, clock=lambda: next(now_s)
    )
    mailboxes.client.faults += [refuses("ThrottlingException")] * 20
    await DynamoDBWriter(store, mailboxes.table).write(bundles(1))

    said = [record.getMessage() for record in caplog.records]
    assert 2 <= len(said) <= 5
    assert all("waiting for DynamoDB: batch_write_item" in text for text in said)
    assert all("ThrottlingException" in text for text in said)
    assert "hello" not in caplog.text


async def test_any_mixture_of_faults_ends_with_everything_written(mailboxes: Mailboxes) -> None:
    """Or handed back, and nothing else (G1, G9)."""
    dice = random.Random(7)
    kinds: list[Fault] = [
        refuses("ThrottlingException"), not_reached, answer_lost, answer_empty, answer_misshapen,
        answer_broken_off, unprocessed(1), unprocessed(0),
    ]  # fmt: skip
    for turn in range(10):
        wanted = [bundle(100 * turn + n, user_id=f"user-{turn}-{n}") for n in range(40)]
        bad = {n for n in range(40) if dice.random() < 0.1}
        mailboxes.client.poison = {item_of(wanted[n])["position"]["S"] for n in bad}
        mailboxes.client.faults = list(islice(iter(lambda: dice.choice(kinds), None), 8))
        rejected: list[Rejected] = await mailboxes.writer.write(wanted)

        assert {id(each.bundle) for each in rejected} == {id(wanted[n]) for n in bad}
        assert await stored(mailboxes, [each for n, each in enumerate(wanted) if n not in bad])


async def test_a_budget_counts_what_the_store_consumed(mailboxes: Mailboxes) -> None:
    """Not what was estimated; a call that is refused as a whole costs nothing (G8)."""
    now_s = 0.0

    async def sleep(delay_s: float) -> None:
        nonlocal now_s
        now_s += delay_s

    budget = WriteBudget(1, clock=lambda: now_s, sleep=sleep)
    writer = DynamoDBWriter(mailboxes.store, mailboxes.table, budget)
    mailboxes.client.poison = {item_of(bundle(1))["position"]["S"]}
    (rejected,) = await writer.write([bundle(1)])
    assert rejected.bundle == bundle(1)
    await writer.write([bundle(2, body=b"x" * 900)])
    assert now_s == 0

    await budget.reserve(0)
    assert bundle(2, body=b"x" * 900).bytes_max > 1024  # two units by its upper bound, in fact one
    assert now_s == pytest.approx(1 - SAVED_S_MAX)
