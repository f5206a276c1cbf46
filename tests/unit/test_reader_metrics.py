"""What mailboxes report, and that it cannot break them."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from poste_restante import Mailboxes, open_mailboxes
from poste_restante.errors import (
    InvalidReceipt,
    MailboxError,
    StoreUnavailable,
    TableMismatch,
    UnreadableItem,
)
from poste_restante.meter import Meter
from poste_restante.metric_list import METRICS
from poste_restante.metric_types import Kind, Metric
from poste_restante.metrics import (
    METHODS,
    NO_METRICS,
    Metrics,
    NoMetrics,
    Operation,
    Outcome,
    PageRead,
    StoreOperation,
    StoreOutcome,
)
from poste_restante.prefetch import PREFETCH_S_MAX
from poste_restante.retryable_errors import OTHER_REASON, UNPROCESSED_ITEMS
from poste_restante.testing import InMemoryMailboxes
from tests.fake_table import InMemoryTable
from tests.faults import Answer, Fault, answer_misshapen, answers, not_reached, refuses, unprocessed
from tests.mailbox_table import MailboxTable
from tests.pages import page
from tests.recorded_metrics import RaisingMetrics, RecordedMetrics
from tests.records import message
from worker.metrics import METRICS as WORKERS_METRICS
from worker.metrics_reference import markdown_table

FETCH, ACK = Operation.FETCH, Operation.ACK
QUERY, UPDATE, DELETE = StoreOperation
THROTTLED = "ProvisionedThroughputExceededException"


@pytest.fixture
def metrics() -> RecordedMetrics:
    return RecordedMetrics()


@pytest.fixture
def mailboxes(metrics: RecordedMetrics) -> InMemoryMailboxes:
    """Mailboxes in memory that report to `metrics`."""
    return InMemoryMailboxes(metrics=metrics)


# ---- calls of a gateway


async def test_a_fetch_and_an_ack_are_reported_once(
    mailboxes: InMemoryMailboxes, metrics: RecordedMetrics
) -> None:
    """With the size of the page, and what `call_started` returned."""
    mailboxes.deliver("bob", b"hello")
    mailboxes.deliver("bob", b"you")
    found = await mailboxes.fetch("bob")
    await mailboxes.ack("bob", found.receipt)
    await mailboxes.fetch("bob")

    assert metrics.ended() == [(FETCH, Outcome.OK), (ACK, Outcome.OK), (FETCH, Outcome.OK)]
    assert metrics.pages() == [PageRead(2, 8, None), PageRead(0, 0, None)]
    assert metrics.started == []
    assert all(call.seconds > 0 for call in metrics.calls)


async def test_a_page_is_a_fetch_and_says_whether_it_was_read_ahead(
    mailboxes: InMemoryMailboxes, metrics: RecordedMetrics
) -> None:
    """A Query for a page brings one item more, which the next page begins with; what is kept for
    too long is read again."""
    for _ in range(7):
        mailboxes.deliver("bob", b"hello")
    async for _ in mailboxes.pages("bob", limit=2):
        if len(metrics.calls) == 2:
            mailboxes.advance(PREFETCH_S_MAX + 1)

    assert metrics.pages() == [
        PageRead(2, 10, None), PageRead(2, 10, True), PageRead(2, 10, False), PageRead(1, 5, True),
    ]  # fmt: skip


async def test_a_page_without_a_limit_is_neither_hit_nor_miss() -> None:
    """It is what one Query brings: nothing is read ahead for it."""
    metrics = RecordedMetrics()
    mailboxes = InMemoryMailboxes(metrics=metrics, page_bytes=1)
    for _ in range(2):
        mailboxes.deliver("bob", b"hello")
    assert len([found async for found in mailboxes.pages("bob")]) > 1
    assert {found.prefetched for found in metrics.pages() if found} == {None}


async def test_what_makes_no_call_is_not_reported(
    mailboxes: InMemoryMailboxes, metrics: RecordedMetrics
) -> None:
    """Wrong arguments, an acknowledgement of nothing; and a count is no fetch."""
    with pytest.raises(ValueError, match="at least 1"):
        await mailboxes.fetch("bob", limit=0)
    await mailboxes.ack("bob", None)
    await mailboxes.count("bob")
    assert metrics.calls == []


def damaged(mailboxes: InMemoryMailboxes) -> None:
    mailboxes.memory.put({"user_id": {"S": "bob"}, "position": {"S": "later"}})


def replaced(mailboxes: InMemoryMailboxes) -> None:
    mailboxes.memory.items.pop("!table")
    mailboxes.advance(3_600)  # the table is looked at again


#: What is done to the mailboxes before a fetch, and how the fetch then ends.
FETCHES: dict[str, tuple[Callable[[InMemoryMailboxes], None], type[BaseException], Outcome]] = {
    "throttled": (
        lambda m: m.fail_next(StoreUnavailable("slow down", throttled=True)),
        StoreUnavailable, Outcome.THROTTLED,
    ),
    "unavailable": (
        lambda m: m.fail_next(StoreUnavailable("away")), StoreUnavailable, Outcome.UNAVAILABLE,
    ),
    "unreadable": (damaged, UnreadableItem, Outcome.UNREADABLE_ITEM),
    "another table": (replaced, TableMismatch, Outcome.TABLE_MISMATCH),
    "refused": (lambda m: m.fail_next(MailboxError("denied")), MailboxError, Outcome.REFUSED),
    "a fault": (lambda m: m.fail_next(RuntimeError("ours")), RuntimeError, Outcome.FAILED),
}  # fmt: skip


@pytest.mark.parametrize("case", FETCHES)
async def test_a_fetch_that_fails_is_reported_with_its_outcome(
    mailboxes: InMemoryMailboxes, metrics: RecordedMetrics, case: str
) -> None:
    befall, error, outcome = FETCHES[case]
    await mailboxes.fetch("bob")
    metrics.forget()
    befall(mailboxes)
    with pytest.raises(error):
        await mailboxes.fetch("bob")
    assert metrics.ended() == [(FETCH, outcome)]
    assert metrics.pages() == [None]


@pytest.mark.parametrize("call", ["after", "since", "ack"])
async def test_an_invalid_receipt_is_reported(
    mailboxes: InMemoryMailboxes, metrics: RecordedMetrics, call: str
) -> None:
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "after": lambda: mailboxes.fetch("bob", after="x"),
        "since": lambda: mailboxes.fetch("bob", since="x"),
        "ack": lambda: mailboxes.ack("bob", "x"),
    }
    with pytest.raises(InvalidReceipt):
        await calls[call]()
    assert metrics.ended() == [(ACK if call == "ack" else FETCH, Outcome.INVALID_RECEIPT)]


@pytest.mark.parametrize("operation", Operation)
async def test_a_call_that_is_cancelled_is_reported(
    metrics: RecordedMetrics, operation: Operation
) -> None:
    """At the store, in the middle of a call to DynamoDB."""
    mailbox_table = await reported_table(metrics)
    await mailbox_table.deliver_offsets(1)
    receipt = await mailbox_table.receipt()
    metrics.forget()
    reached = asyncio.Event()

    async def stands_still(_make: Callable[..., Awaitable[Answer]], _: Answer) -> Answer:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError("woken up")

    mailbox_table.client.faults = [stands_still]
    calls = mailbox_table.mailboxes
    made = calls.fetch("bob") if operation is FETCH else calls.ack("bob", receipt)
    task = asyncio.create_task(made)
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert metrics.ended() == [(operation, Outcome.CANCELLED)]
    assert [outcome for _, outcome in metrics.stored()] == [StoreOutcome.CANCELLED]
    assert metrics.started == []


# ---- calls to DynamoDB


async def reported_table(metrics: Metrics, **settings: Any) -> MailboxTable:
    """A table in memory whose reader reports."""
    mailbox_table = MailboxTable(InMemoryTable(), "mailboxes")
    await mailbox_table.open()
    mailbox_table.mailboxes = mailbox_table.reader(metrics=metrics, **settings)
    return mailbox_table


async def test_each_call_to_dynamodb_is_reported_with_its_units(metrics: RecordedMetrics) -> None:
    mailbox_table = await reported_table(metrics, delete_acknowledged=True)
    await mailbox_table.deliver(message(1, body=b"x" * 3_000))
    await mailbox_table.mailboxes.ack("bob", await mailbox_table.receipt())

    calls = [(call.operation, call.read_units, call.write_units) for call in metrics.store_calls]
    # Table record and page; cursor raised; cursors, keys of what they have passed; deleted.
    assert calls == [
        (QUERY, 1, 0), (QUERY, 1, 0), (UPDATE, 0, 1), (QUERY, 1, 0), (QUERY, 1, 0), (DELETE, 0, 4),
    ]  # fmt: skip
    assert {outcome for _, outcome in metrics.stored()} == {StoreOutcome.OK}
    assert metrics.reasons == []


STORE_FAULTS: dict[str, tuple[Fault, StoreOutcome, list[str]]] = {
    "throttled": (refuses(THROTTLED), StoreOutcome.THROTTLED, [THROTTLED]),
    "a fault of the service": (
        refuses("InternalServerError", status=500), StoreOutcome.UNAVAILABLE, [],
    ),
    "nobody listens": (not_reached, StoreOutcome.UNAVAILABLE, []),
    "an answer of another shape": (answer_misshapen, StoreOutcome.UNAVAILABLE, []),
    "half an answer": (answers({"Count": 1}), StoreOutcome.UNAVAILABLE, []),
    "no table": (refuses("ResourceNotFoundException"), StoreOutcome.TABLE_MISMATCH, []),
    "denied": (refuses("AccessDeniedException"), StoreOutcome.REFUSED, []),
}  # fmt: skip


@pytest.mark.parametrize("case", STORE_FAULTS)
async def test_a_call_to_dynamodb_is_reported_with_its_outcome(
    metrics: RecordedMetrics, case: str
) -> None:
    fault, outcome, reasons = STORE_FAULTS[case]
    mailbox_table = await reported_table(metrics)
    await mailbox_table.mailboxes.fetch("bob")
    metrics.forget()
    mailbox_table.client.faults = [fault]
    with pytest.raises(MailboxError):
        await mailbox_table.mailboxes.fetch("bob")
    assert metrics.stored() == [(QUERY, outcome)]
    assert metrics.reasons == reasons
    assert metrics.ended() == [(FETCH, Outcome(outcome))]


async def test_a_cursor_that_is_as_far_is_a_failed_condition(metrics: RecordedMetrics) -> None:
    """An acknowledgement that is repeated succeeds."""
    mailbox_table = await reported_table(metrics)
    await mailbox_table.deliver_offsets(1)
    receipt = await mailbox_table.receipt()
    for _ in range(2):
        await mailbox_table.mailboxes.ack("bob", receipt)
    assert metrics.stored()[-2:] == [
        (UPDATE, StoreOutcome.OK), (UPDATE, StoreOutcome.CONDITION_FAILED),
    ]  # fmt: skip
    assert metrics.ended()[-1] == (ACK, Outcome.OK)


async def test_deletes_that_are_left_over_are_a_throttle(metrics: RecordedMetrics) -> None:
    mailbox_table = await reported_table(metrics, delete_acknowledged=True)
    await mailbox_table.deliver_offsets(1)
    receipt = await mailbox_table.receipt()
    mailbox_table.client.on["batch_write_item"] = [left_over]
    await mailbox_table.mailboxes.ack("bob", receipt)
    assert metrics.stored()[-1] == (DELETE, StoreOutcome.PARTIAL)
    assert metrics.reasons == [UNPROCESSED_ITEMS]


async def left_over(make: Callable[..., Awaitable[Answer]], arguments: Answer) -> Answer:
    return await unprocessed(1)(make, arguments)


async def test_a_reason_that_is_not_known_is_another_one(metrics: RecordedMetrics) -> None:
    """The number of series does not grow with what DynamoDB says."""
    mailbox_table = await reported_table(metrics)

    async def for_a_new_reason(_make: Callable[..., Awaitable[Answer]], _: Answer) -> Answer:
        from tests.faults import refusal

        error = refusal(THROTTLED)
        error.response["ThrottlingReasons"] = [{"reason": "MoonInTheWrongHouse"}]
        raise error

    mailbox_table.client.faults = [for_a_new_reason]
    with pytest.raises(StoreUnavailable):
        await mailbox_table.mailboxes.fetch("bob")
    assert metrics.reasons == [OTHER_REASON]


@pytest.mark.parametrize(
    ("units", "counted"),
    [({"CapacityUnits": 2.5}, 2.5), ({}, 0), (None, 0), ("odd", 0), ({"CapacityUnits": "x"}, 0),
     ({"CapacityUnits": -1.0}, 0), ({"CapacityUnits": float("nan")}, 0), ([[]], 0)],
)  # fmt: skip
async def test_units_of_another_shape_are_none(
    metrics: RecordedMetrics, units: Any, counted: float
) -> None:
    """An answer that can be read is an answer."""
    mailbox_table = await reported_table(metrics)
    await mailbox_table.mailboxes.fetch("bob")
    metrics.forget()
    mailbox_table.client.faults = [answers({"Items": [], "ConsumedCapacity": units})]
    await mailbox_table.mailboxes.fetch("bob")
    assert [call.read_units for call in metrics.store_calls] == [counted]


async def test_without_metrics_no_call_asks_for_its_units() -> None:
    """An answer is then longer for nothing; and nothing reads the clock."""
    mailbox_table = await reported_table(NO_METRICS)
    await mailbox_table.deliver_offsets(1)
    await mailbox_table.mailboxes.ack("bob", await mailbox_table.receipt())
    asked = [arguments for _, arguments in mailbox_table.client.calls]
    assert len(asked) == 3  # table record, page, cursor
    assert not any("ReturnConsumedCapacity" in arguments for arguments in asked)

    def stopped() -> float:
        raise AssertionError("the clock is read")

    meter = Meter(NoMetrics(), clock=stopped)
    with meter.call(FETCH), meter.store_call(QUERY) as measurement:
        measurement.record_answer({})
    assert meter.is_enabled is False


def test_seconds_are_the_clocks(metrics: RecordedMetrics) -> None:
    ticks = iter([1.0, 2.0, 4.5, 10.0])
    meter = Meter(metrics, clock=lambda: next(ticks))
    with meter.call(FETCH), meter.store_call(QUERY):
        pass
    assert [call.seconds for call in metrics.store_calls] == [2.5]
    assert [call.seconds for call in metrics.calls] == [9.0]


async def test_the_load_says_how_many_calls_are_under_way_and_wait(
    metrics: RecordedMetrics,
) -> None:
    """Of one connection: one call, and the others in turn; and none in the end."""
    mailbox_table = await reported_table(metrics, calls_in_flight_max=1)
    await mailbox_table.mailboxes.fetch("bob")
    (load,) = metrics.loads
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(make: Callable[..., Awaitable[Answer]], arguments: Answer) -> Answer:
        reached.set()
        await go_on.wait()
        return await make(**arguments)

    mailbox_table.client.faults = [slow]
    fetches = [asyncio.create_task(mailbox_table.mailboxes.fetch(f"user-{n}")) for n in range(4)]
    await reached.wait()
    await asyncio.wait(fetches, timeout=0)  # each has come to its first call
    assert (load.in_flight, load.waiting, load.limit) == (1, 3, 1)
    go_on.set()
    await asyncio.gather(*fetches)
    assert (load.in_flight, load.waiting) == (0, 0)


def test_mailboxes_that_are_refused_are_not_open(metrics: RecordedMetrics) -> None:
    """Nobody would say that they are closed."""
    with pytest.raises(ValueError, match="must not be empty"):
        Mailboxes(InMemoryTable(), receipt_keys=[""], metrics=metrics)
    assert metrics.loads == []


# ---- metrics that are no good


@pytest.mark.parametrize("methods", [(), *((name,) for name in METHODS)])
async def test_metrics_that_raise_break_no_call_and_are_logged_once(
    methods: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Every call returns what it would have, and goes on being reported (G1, G4)."""
    metrics = RaisingMetrics(*methods)
    with caplog.at_level(logging.WARNING, "poste_restante"):
        mailbox_table = await reported_table(metrics, delete_acknowledged=True)
        await mailbox_table.deliver_offsets(1)
        mailbox_table.client.faults = [refuses(THROTTLED)]
        with pytest.raises(StoreUnavailable) as caught:
            await mailbox_table.mailboxes.fetch("bob")
        await mailbox_table.mailboxes.ack("bob", await mailbox_table.receipt())
        assert (await mailbox_table.mailboxes.fetch("bob")).messages == ()
        assert await mailbox_table.unread() == []

    assert caught.value.throttled
    lines = [record.getMessage() for record in caplog.records]
    if methods == ("closed",):  # a reader over a client of its own has no end
        assert (lines, metrics.raised) == ([], [])
        return
    assert {raised.method for raised in metrics.raised} == (set(methods or METHODS) - {"closed"})
    (line,) = lines
    assert re.match(r"metrics are incomplete: .*raises raised LookupError: no such metric: ", line)
    if methods == ("call_started",):
        assert [call.outcome for call in metrics.calls[-2:]] == [Outcome.OK, Outcome.OK]


def without(method: str) -> object:
    """An object that lacks a method of `Metrics`."""
    return type("Incomplete", (), {name: print for name in METHODS if name != method})()


class AsyncMetrics(NoMetrics):
    async def closed(self, load: object) -> None:  # type: ignore[override]
        """Nobody awaits it."""


BAD: list[tuple[object, str]] = [
    *((without(name), f"metrics must have a method '{name}', which Incomplete lacks: derive")
      for name in METHODS),
    (None, "metrics must have a method 'opened', which NoneType lacks"),
    (RecordedMetrics, "metrics must be an object, not the class RecordedMetrics: make one"),
    (AsyncMetrics(), "the method 'closed' of metrics must not be async: nobody awaits it"),
]  # fmt: skip


@pytest.mark.parametrize(("metrics", "says"), BAD)
async def test_metrics_that_cannot_be_used_are_refused_at_opening(
    metrics: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, before anything is opened or called (G9)."""
    monkeypatch.setattr("aioboto3.Session", None)
    with pytest.raises(TypeError, match=says) as caught:
        async with open_mailboxes(metrics=metrics):
            raise AssertionError("open")
    assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match=says):
        Mailboxes(None, metrics=metrics)
    with pytest.raises(TypeError, match=says):
        InMemoryMailboxes(metrics=metrics)


# ---- the list


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_of_the_reader_is_named_as_the_workers_are(metric: Metric) -> None:
    """By Prometheus' conventions; no label has values that are not in the list."""
    assert re.fullmatch(r"poste_reader_[a-z][a-z_]*[a-z]", metric.name)
    assert not metric.name.endswith(("_total", "_info", "_count", "_sum", "_bucket"))
    assert metric.name.endswith(metric.unit)
    assert metric.unit in {"", "seconds", "bytes"}
    assert metric.help.endswith(".")
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.buckets) == sorted(metric.buckets)
    assert all(label.values for label in metric.labels)


def test_worker_and_reader_share_no_name() -> None:
    names = [metric.name for metric in (*METRICS, *WORKERS_METRICS)]
    assert len(set(names)) == len(names)


def test_the_page_has_the_table_of_the_readers_metrics() -> None:
    assert markdown_table(METRICS) in page("metrics")
