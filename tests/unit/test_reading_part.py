"""The read path's measurements: what they are made of, and that the figures say what they must."""

import gc
import json
from itertools import groupby
from typing import Any

import pytest
from aiobotocore.parsers import create_parser
from botocore.loaders import Loader
from botocore.model import ServiceModel

from benchmarks import report
from benchmarks.reading import fetching, mail, page, prepared, processor
from benchmarks.reading.mail import percentile
from poste_restante import Mailboxes
from poste_restante.direct import decode_answer
from poste_restante.item import item_bytes
from poste_restante.memory import InMemoryTable
from tests.bundles import item_of
from tests.postoffice import offsets

FOUND = report.read("reading")["found"]


def test_no_table_makes_a_fetch_read_more() -> None:
    """The figures on the page: Queries, units and bytes, and every mailbox in every table (G7)."""
    rows = sorted(FOUND["fetch"], key=lambda row: row["mailbox"])
    sizes = {row["table"] for row in rows}
    deep = rows[-1]["mailbox"]
    for mailbox, same in groupby(rows, key=lambda row: row["mailbox"]):
        tables = list(same)
        assert {row["table"] for row in tables} == sizes
        for what in ("queries", "read_units", "bytes"):
            assert len({row[what] for row in tables}) == 1
        assert mailbox == deep or tables[0]["queries"] == 1


def test_nobody_got_an_error_in_a_storm() -> None:
    """Of both: an error is the run's failure (G8)."""
    assert [row["store"] for row in FOUND["storm"]] == ["at once", "DynamoDB Local"]
    for row in FOUND["storm"]:
        assert row["errors"] == {}
        parts = list(row["percentiles_s"]["acknowledged"].values())
        assert parts == sorted(parts)


@pytest.mark.parametrize("kind", ["bundles", "items"])
async def test_a_prepared_page_is_an_answer_of_dynamodbs(kind: str) -> None:
    """To botocore and to us: the same items (G2)."""
    body = prepared.page(kind, 150)
    model = ServiceModel(Loader().load_service_model("dynamodb", "service-2"))
    parsed = await create_parser(model.resolved_protocol).parse(
        {"status_code": 200, "headers": {}, "body": body},
        model.operation_model("Query").output_shape,
    )

    assert decode_answer(body)["Items"] == parsed["Items"]
    assert len(parsed["Items"]) == (2 if kind == "bundles" else 150)


async def test_what_is_measured_is_a_whole_mailbox() -> None:
    """A prepared page, read as any other, is of the messages asked for (G2)."""

    class Prepared:
        async def query(self, **arguments: object) -> object:
            call = json.loads(json.dumps(arguments))
            return decode_answer(prepared.answer_to(call))

    mailboxes = Mailboxes(Prepared())

    assert offsets(await mailboxes.fetch("bundles-150")) == list(range(150))
    assert offsets(await mailboxes.fetch("anybody")) == list(range(prepared.PAGE_MESSAGES))


async def test_a_meter_sums_what_calls_say_they_consumed() -> None:
    """Queries, bytes and units, of reads and of writes (G8)."""
    table = InMemoryTable()
    (bundle,) = mail.bundles(mail.messages("bob", 0, 2))
    item = item_of(bundle)
    for each in (item, mail.RECORD.encode()):
        table.items[each["user_id"]["S"], each["position"]["S"]] = each
    metered = mail.Metered(table)
    mailboxes = Mailboxes(metered)
    found = await mailboxes.fetch("bob")
    read = metered.queries, metered.bytes

    assert read == (2, item_bytes(item) + item_bytes(mail.RECORD.encode()))
    assert metered.read_units > 0
    await mailboxes.fetch("nobody")
    assert metered.queries == 3
    assert found.receipt is not None


class Remembering:
    """A client over a table in memory: which of its Queries were asked what they cost."""

    def __init__(self) -> None:
        self.table = InMemoryTable(fetching.TABLE)
        self.metered: list[bool] = []

    async def query(self, **arguments: Any) -> Any:
        self.metered.append("ReturnConsumedCapacity" in arguments)
        return await self.table.query(**arguments)

    async def update_item(self, **arguments: Any) -> Any:
        return await self.table.update_item(**arguments)

    async def batch_write_item(self, **arguments: Any) -> Any:
        return await self.table.batch_write_item(**arguments)


@pytest.fixture
def remembering() -> Remembering:
    client = Remembering()
    (bundle,) = mail.bundles(mail.messages("of-2", 0, 2))
    for each in (item_of(bundle), mail.RECORD.encode()):
        client.table.items[each["user_id"]["S"], each["position"]["S"]] = each
    return client


async def test_a_fetch_is_timed_without_a_meter_and_counted_after(
    remembering: Remembering,
) -> None:
    """The harness's own work is nobody's time (G8)."""
    found = await fetching._fetches(remembering, 2, fetches=3)

    assert remembering.metered == [False] * (2 + 10 + 3) + [True] * (2 + 3)
    assert (found["fetches"], found["queries"]) == (3, 1)
    assert found["bytes"] > 600
    assert found["p50_s"] > 0


async def test_a_deep_mailbox_is_read_twice_and_then_deleted(remembering: Remembering) -> None:
    """Timed, then counted; its table is as large as before."""
    bundles = mail.bundles(mail.messages("deep-0", 0, 250))
    for item in map(item_of, bundles):
        remembering.table.items[item["user_id"]["S"], item["position"]["S"]] = item
    found = await fetching._drain(remembering, "deep-0", 250)

    assert found["fetches"] == 1
    assert remembering.metered.index(True) == 4  # behind the timed pages and two looks
    left = [key for key in remembering.table.items if key[0] == "deep-0"]
    assert len(left) <= 1  # the cursor


async def test_a_collection_is_seen_in_the_fetch_that_it_holds_up(
    remembering: Remembering,
) -> None:
    """Each fetch is timed alone, and the collector is as it was (G8)."""
    before = gc.get_freeze_count(), list(gc.callbacks)

    class Collecting(Remembering):
        async def query(self, **arguments: Any) -> Any:
            if arguments["ExpressionAttributeValues"][":user"]["S"] == "bundles-2":
                gc.collect()
            return await self.table.query(**arguments)

    client = Collecting()
    client.table = remembering.table
    mailboxes = Mailboxes(client, table=fetching.TABLE)
    found = await processor._collected(mailboxes, {"sizes": [0, 2]}, frozen=True)

    assert found["collections"] == found["fetches"] == processor.ROUND_FETCHES_MAX
    assert 0 < found["collection_s_max"] <= found["cpu_s_p99"] * 2
    assert (gc.get_freeze_count(), list(gc.callbacks)) == before


def test_the_collectors_table_has_both_ways() -> None:
    """The tail with and without what was there before; files of before have neither."""
    row = {"messages": 1_000, "fetches": 200, "cpu_s_p50": 0.0158, "cpu_s_p99": 0.0689,
           "collections": 12, "collection_s_max": 0.0531}  # fmt: skip
    table = page.collector({"collector": [{**row, "frozen": False}, {**row, "frozen": True}]})

    assert "| as they are | 15.8 / 68.9 | 12 in 200 | 53.1 |" in table.splitlines()
    assert "| frozen |" in table
    assert page.collector({}) == "Not measured yet.\n"


def test_a_percentile_is_one_of_those_that_were_measured() -> None:
    """The largest is the last one."""
    took = [n / 100 for n in range(100)]

    assert [percentile(took, part) for part in (0.5, 0.99, 1)] == [0.5, 0.99, 0.99]


def test_the_picture_has_a_line_for_each_percentile() -> None:
    """Of an empty mailbox, a small one and a large one."""
    drawn = page.times_picture(FOUND)

    assert drawn.count("<polyline") == 6
    assert "1,000 messages, p99" in drawn
