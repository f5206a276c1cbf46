"""The read path's measurements: what they are made of, and that the figures say what they must."""

import json
from itertools import groupby

import pytest
from aiobotocore.parsers import create_parser
from botocore.loaders import Loader
from botocore.model import ServiceModel

from benchmarks import report
from benchmarks.reading import mail, page, prepared
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


def test_a_percentile_is_one_of_those_that_were_measured() -> None:
    """The largest is the last one."""
    took = [n / 100 for n in range(100)]

    assert [percentile(took, part) for part in (0.5, 0.99, 1)] == [0.5, 0.99, 0.99]


def test_the_picture_has_a_line_for_each_percentile() -> None:
    """Of an empty mailbox, a small one and a large one."""
    drawn = page.times_picture(FOUND)

    assert drawn.count("<polyline") == 6
    assert "1,000 messages, p99" in drawn
