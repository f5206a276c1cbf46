"""docs/format.md and docs/dynamodb.md, held to the code: every example is run."""

import ast
import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from poste_restante import Mailboxes
from poste_restante.claims import WorkerClaims
from poste_restante.item import decode_bundle, encode_bundle, item_bytes
from poste_restante.message import Message
from poste_restante.position import BundleKey, LogId, Position, mailbox_key
from poste_restante.table import TABLE_SCHEMA, TTL_ATTRIBUTE, TableRecord, decode_cursor
from tests.fake_table import InMemoryTable
from tests.pages import ROOT, code, marked, page, table, tables
from tests.records import TOPIC, MadeRecord
from worker.dead_letters import DeadLetter, dead_letter_headers
from worker.dynamodb.client import DynamoDBClient
from worker.errors import DeadLetterReason
from worker.progress import Progress

FORMAT, DYNAMODB = page("format"), page("dynamodb")
#: When the page's messages are waiting.
NOW = datetime(2026, 2, 1, tzinfo=UTC)


def from_wire(value: Any) -> Any:
    """What the low-level client makes of DynamoDB's JSON: binary values are bytes."""
    if isinstance(value, dict):
        return {
            name: base64.b64decode(inner) if name == "B" else from_wire(inner)
            for name, inner in value.items()
        }
    return [from_wire(inner) for inner in value] if isinstance(value, list) else value


ITEMS: dict[str, Any] = {n: from_wire(json.loads(text)) for n, text in marked(FORMAT, "item")}
KINDS = ("cursor", "cursor of a device", "bundle", "table record", "progress", "claims")
CALLS = [(name, json.loads(text)) for name, text in marked(FORMAT, "call")]


class Recording:
    """A client that remembers its calls."""

    def __init__(self, client: InMemoryTable) -> None:
        self._client = client
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(**arguments: Any) -> Any:
            self.calls.append((name.title().replace("_", ""), arguments))
            return await getattr(self._client, name)(**arguments)

        return call


@pytest.fixture
def memory() -> InMemoryTable:
    """A table with the page's items."""
    memory = InMemoryTable()
    for item in ITEMS.values():
        memory.items[item["user_id"]["S"], item["position"]["S"]] = item
    return memory


# ---- the items


def test_the_bundle_is_one() -> None:
    """It decodes to the messages that the page tells of, and they encode to it (G2)."""
    messages = decode_bundle(ITEMS["bundle"], "bob", TOPIC)
    plain, event = messages

    assert encode_bundle(messages, TOPIC) == ITEMS["bundle"]
    assert (plain.id, plain.source, plain.body) == (f"{TOPIC}/1/3/40", None, b"see you at eight")
    assert (event.id, event.source, event.body) == ("7c1f", "/chat", b"or at nine")
    assert event.headers == (("traceparent", b"00-4bf9"), ("seen", None))


def test_the_other_items_are_what_they_say() -> None:
    """Cursor, table record and progress: decoded, and encoded again (G4)."""
    record = TableRecord.decode(ITEMS["table record"])
    progress = Progress.decode(ITEMS["progress"])

    assert decode_cursor(ITEMS["cursor"]) == {LogId(1, 3): 39}
    assert decode_cursor(ITEMS["cursor of a device"]) == {LogId(1, 3): 40}
    assert record.encode() == ITEMS["table record"]
    assert progress.encode(TOPIC, 3) == ITEMS["progress"]
    claims = ITEMS["claims"]
    assert WorkerClaims.decode(claims).encode(int(claims["expires_at"]["N"])) == claims


def test_every_attribute_has_its_row() -> None:
    """No attribute is without a word, no word without an attribute."""
    messages = [m["M"] for m in ITEMS["bundle"]["messages"]["L"]]
    rows = table(FORMAT, "attribute", "type", "meaning", "absent")
    others = [found for found in tables(FORMAT) if found[0] == ["attribute", "type", "meaning"]]
    named = [{code(row[0]) for row in rows} for _, *rows in others]

    assert {code(row[0]) for row in rows} == set().union(*messages)
    assert [names | {"user_id", "position"} for names in named] == [
        set(ITEMS[name]) for name in ("bundle", "table record", "progress", "claims")
    ]


def test_keys_are_as_the_page_writes_them() -> None:
    """The six kinds of items, the pattern, the escape."""
    rows = [[code(row[0]), code(row[1])] for row in table(FORMAT, "`user_id`", "`position`")]
    key = BundleKey(1, 3, last=42, first=40).encode()
    pattern = "<epoch:04>.<partition:05>.<last:019>.<first:019>"

    assert rows == [
        [item["user_id"]["S"], item["position"]["S"]] for item in (ITEMS[n] for n in KINDS)
    ]
    assert rows[2][1] == key
    assert pattern in FORMAT
    filled = pattern.replace("<", "{").replace(">", "}")
    assert filled.format(epoch=1, partition=3, last=42, first=40) == key
    assert mailbox_key("!bob") == "!!bob"
    assert "the user `!bob` is at `!!bob`" in FORMAT


def test_dead_letters_are_as_the_page_says() -> None:
    """The closed list of reasons, and the headers in their order (G9)."""
    letter = DeadLetter(MadeRecord(), DeadLetterReason.NO_BODY, "x")
    headers = [name for name, _ in dead_letter_headers(letter) if name.startswith("dead-letter")]

    assert [code(row[0]) for row in table(FORMAT, "reason", "the record")] == list(DeadLetterReason)
    assert [code(row[0]) for row in table(FORMAT, "header", "value")] == headers


# ---- the calls


async def test_the_calls_are_those_that_the_module_makes(memory: InMemoryTable) -> None:
    """A program that makes the page's calls does what a gateway does (G4, G6, G7)."""
    client = Recording(memory)
    mailboxes = Mailboxes(client, clock=NOW.timestamp)
    await mailboxes.fetch("alice")  # looks at the table record
    client.calls.clear()
    of_phone = memory.items.pop(("bob", "!phone"))
    page = await mailboxes.fetch("bob")
    assert [m.position.offset for m in page.messages] == [40, 42]
    first = client.calls[:1]  # the page is full with the cursor and a bundle: it goes on
    memory.items["bob", "!phone"] = of_phone
    one = await mailboxes.fetch("bob", limit=1)
    another = Mailboxes(client, clock=NOW.timestamp)  # which has read nothing ahead
    await another.fetch("alice")
    client.calls.clear()
    rest = await another.fetch("bob", limit=1, after=one.receipt)
    assert [m.position.offset for m in rest.messages] == [42]
    going_on = list(client.calls)
    client.calls.clear()
    phone = await mailboxes.fetch("bob", device="phone")
    assert [m.position.offset for m in phone.messages] == [42]
    device = client.calls[:1]
    pad = await mailboxes.fetch("bob", device="pad")
    client.calls.clear()
    await mailboxes.ack("bob", page.receipt)
    await mailboxes.ack("bob", pad.receipt, device="pad")
    acknowledging = list(client.calls)
    await mailboxes.ack("bob", phone.receipt, device="phone")
    later = BundleKey(1, 3, last=42, first=41).encode()  # as a replay leaves it
    memory.items["bob", later] = ITEMS["bundle"] | {"position": {"S": later}}
    for name in ("!phone", "!pad"):  # the first Query ends within what the cursor hides
        memory.items["bob", "!"] |= memory.items.pop(("bob", name)) | {"position": {"S": "!"}}
    client.calls.clear()
    assert (await mailboxes.fetch("bob")).messages == ()
    skipping = client.calls[1:]
    client.calls.clear()
    assert await mailboxes.tidy("bob") == 2

    assert [*first, *skipping, *going_on, *device, *acknowledging, *client.calls] == CALLS


async def test_the_calls_run(memory: InMemoryTable) -> None:
    """One after the other: read, go on, acknowledge twice, delete."""
    calls = [arguments for _, arguments in CALLS]
    query, skip, cursor_alone, behind, device, update, raise_pad, purged, *others = calls
    make_pad, cursors, keys, delete = others

    assert (await memory.query(**query))["Items"] == [ITEMS[name] for name in KINDS[:2]]
    assert (await memory.query(**skip))["Items"] == []
    assert (await memory.query(**cursor_alone))["Items"] == [ITEMS["cursor"]]
    assert (await memory.query(**behind))["Items"] == [ITEMS["bundle"]]
    assert (await memory.query(**device))["Items"] == [ITEMS[name] for name in KINDS[1:3]]
    assert (await memory.update_item(**update))["Attributes"] == {"0001.00003": {"N": "42"}}
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        await memory.update_item(**update)
    with pytest.raises(ClientError, match="ConditionalCheckFailed") as missing:
        await memory.update_item(**raise_pad)
    assert "Item" not in missing.value.response
    assert len((await memory.query(**purged))["Items"]) == 1
    await memory.update_item(**make_pad)
    for again in (make_pad, raise_pad):
        with pytest.raises(ClientError, match="ConditionalCheckFailed"):
            await memory.update_item(**again)
    assert len((await memory.query(**cursors))["Items"]) == 3
    found = (await memory.query(**keys))["Items"]
    assert found == [{name: ITEMS["bundle"][name] for name in ("user_id", "position")}]
    await memory.batch_write_item(**delete)
    left = [item for key, item in sorted(memory.items.items()) if key[0] == "bob"]
    assert [decode_cursor(item) for item in left] == [
        {LogId(1, 3): 42}, {LogId(1, 3): 42}, {LogId(1, 3): 40},
    ]  # fmt: skip


# ---- DynamoDB: sizes, prices, permissions


def _bundle_bytes(count: int, *, event: bool) -> int:
    """The size of the page's bundle: bodies of 300 bytes, a user id of 16."""
    time = datetime(2026, 1, 31, 12, microsecond=123_000, tzinfo=UTC)
    carried: dict[str, Any] = {}
    if event:
        carried = {"id": "0b8e8f2c-7d1b-4a58-9f0e-2f6f5e6b1c11", "source": "/chat",
                   "type": "chat.message", "content_type": "text/plain"}  # fmt: skip
        said = " ".join(DYNAMODB.split())
        assert f"content type, {sum(map(len, carried.values()))} bytes together" in said
    messages = []
    for n in range(count):
        position = Position(1, 3, 1_230_000 + 37 * n)
        given = carried or {"id": position.id(TOPIC)}
        messages.append(
            Message(user_id="user-00000000042", body=b"x" * 300, time=time, position=position,
                    expires_at=time + timedelta(days=30), **given)
        )  # fmt: skip
    return item_bytes(encode_bundle(messages, TOPIC))


def _units(size: int, kilobytes: int) -> int:
    return -(-size // (kilobytes * 1024))


def test_the_sizes_and_the_worked_example_are_computed() -> None:
    """No figure is invented."""
    for row in table(DYNAMODB, "messages in one bundle"):
        count, *said = (int(cell.replace(",", "")) for cell in row)
        sizes = [_bundle_bytes(count, event=event) for event in (False, True)]
        assert said == [sizes[0], _units(sizes[0], 1), sizes[1], _units(sizes[1], 1)]
    one, burst = _bundle_bytes(1, event=False), _bundle_bytes(20, event=False)
    writes = [20 + 1, _units(burst, 1) + 1]
    reads = [_units(20 * one, 4), _units(burst, 4)]
    rows = table(DYNAMODB, "", "one by one: 20 bundles")
    prices = [w * 0.625 + r * 0.125 for w, r in zip(writes, reads, strict=True)]

    assert rows[-2][1:] == [
        f"{w} write, {r} read units" for w, r in zip(writes, reads, strict=True)
    ]
    assert rows[-1][1:] == [f"${price:.3f}" for price in prices]


def _operations(*files: str) -> set[str]:
    """The DynamoDB operations that modules call: `store.x(...)`, `self._store.x(...)` and
    `self._client.x(...)`, where x is a call of a client. The worker's `put` is a BatchWriteItem."""
    calls = {name for name in vars(DynamoDBClient) if not name.startswith("_")} - {"start", "stop"}
    calls |= {"query", "batch_write_item"}
    found = set()
    for file in files:
        for node in ast.walk(ast.parse((ROOT / file).read_text())):
            if not isinstance(node, ast.Attribute) or node.attr not in calls:
                continue
            if ast.unparse(node.value) in {"store", "self._store", "self._client"}:
                found.add("batch_write_item" if node.attr == "put" else node.attr)
    return {f"dynamodb:{name.title().replace('_', '')}" for name in found}


def test_permissions_are_the_operations_that_are_called() -> None:
    """None is missing, none too many."""
    rows = table(DYNAMODB, "program", "actions")
    said = {row[0]: {code(part) for part in row[1].split(",") if "`" in part} for row in rows}
    gateway = _operations("poste_restante/store.py")
    progress = _operations("worker/dynamodb/progress_store.py")

    assert said["a gateway"] == gateway
    assert said["`poste worker`"] == progress | _operations("worker/dynamodb/batch_write.py")
    assert said["`poste init`"] == _operations("worker/cli/provisioning.py")
    # What it shows besides are the workers' claims.
    assert (
        said["`poste progress`"] - {"dynamodb:Query"}
        <= said["`poste skip`, `poste rewind`, `poste epoch`"]
    )
    assert said["`poste skip`, `poste rewind`, `poste epoch`"] < progress
    (statement,) = json.loads(DYNAMODB.partition("```json\n")[2].partition("```")[0])["Statement"]
    assert set(statement["Action"]) == gateway


def test_the_table_is_as_the_pages_say() -> None:
    """Keys, billing, time to live."""
    keys = [key["AttributeName"] for key in TABLE_SCHEMA["KeySchema"]]

    assert keys == ["user_id", "position"]
    assert TABLE_SCHEMA["BillingMode"] == "PAY_PER_REQUEST"
    assert f"TTL attribute `{TTL_ATTRIBUTE}`, on demand, no index" in FORMAT
