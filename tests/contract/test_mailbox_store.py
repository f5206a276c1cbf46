"""The mailbox store in memory against DynamoDB's: the same calls, the same answers."""

from collections.abc import AsyncIterator, Iterable
from itertools import count
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from poste_restante.item import Item, item_bytes
from poste_restante.mailbox_store import (
    DELETES_PER_CALL_MAX,
    QUERY_ITEMS_MAX,
    CursorMissingError,
    MailboxStore,
)
from poste_restante.position import LogId
from poste_restante.store import DynamoDBMailboxStore
from poste_restante.testing.memory_store import PAGE_BYTES, MemoryStore
from tests.fake_table import InMemoryTable
from tests.mailbox_table import as_opened
from tests.tables import KINDS, open_table

#: Sort keys of items, in no order, and others that are no item's. The last two sort by UTF-8: in
#: UTF-16 they are the other way round.
POSITIONS = ["0001.00000.8", "!", "0001.00001.7", "!pad", "0001.00000.7", "😀", "ﬁ"]
ELSEWHERE = ["!a", "0001.00000.75", "0002", "\U0010ffff"]
#: Sort keys of cursors.
CURSORS = st.sampled_from(["!", "!pad"])
#: More than two calls delete.
MANY = [f"{n:03}" for n in range(2 * DELETES_PER_CALL_MAX + 1)]
LOGS = [LogId(1, 0), LogId(2, 3)]
#: 9 is below 10, but for one who compares texts.
OFFSETS = st.sampled_from([0, 1, 9, 10, 10**15])

Call = tuple[str, dict[str, Any]]


class Stores(NamedTuple):
    """Both stores, and the client of the second one, which writes bundles as a worker does."""

    memory: MemoryStore
    dynamodb: DynamoDBMailboxStore
    client: Any
    table: str
    key: str

    async def put(self, items: Iterable[Item]) -> None:
        for item in items:
            stored = {"user_id": {"S": self.key}, **item}
            self.memory.put(stored)
            request = {"PutRequest": {"Item": stored}}
            await self.client.batch_write_item(RequestItems={self.table: [request]})

    async def query(self, *, pages: int, keeps_lower: bool, **arguments: Any) -> None:
        """Some pages of a Query. keeps_lower: its lower bound holds for every page; else a page
        begins behind the one before, as in a reading."""
        found: list[Any] = []
        for _ in range(pages):
            memory, dynamodb = [
                await store.query(self.key, **arguments) for store in (self.memory, self.dynamodb)
            ]
            assert memory.items == dynamodb.items, arguments
            found += [*memory.items, *dynamodb.items]
            # A full page that ends at the bound itself: whether a start key follows is DynamoDB's
            # choice, and its two forms differ. Readers take either.
            if not self._ends_at_bound(memory.items, arguments):
                assert memory.last == dynamodb.last, arguments
            if memory.last is None or dynamodb.last is None:
                break
            if not keeps_lower:
                arguments |= {"begin": None, "above": None}
            arguments["start"] = memory.last
        for item in found:  # what was returned is the caller's
            for value in item.values():
                value.clear()
            item.clear()

    @staticmethod
    def _ends_at_bound(items: list[Item], arguments: dict[str, Any]) -> bool:
        names = ("only", "begin") if arguments.get("backwards") else ("only", "up_to")
        bounds = {arguments.get(name) for name in names}
        return bool(items) and items[-1]["position"]["S"] in bounds

    async def call(self, name: str, arguments: dict[str, Any]) -> None:
        if name in {"put", "query"}:
            await getattr(self, name)(**arguments)
            return
        memory = await answer(self.memory, name, self.key, arguments)
        assert memory == await answer(self.dynamodb, name, self.key, arguments), (name, arguments)


async def answer(store: MailboxStore, name: str, key: str, arguments: dict[str, Any]) -> Any:
    try:
        return await getattr(store, name)(key, **arguments)
    except CursorMissingError as error:
        return type(error)


class Tables:
    """Pairs of a store in memory and one of DynamoDB's, each with a partition key of its own."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = as_opened(client)
        self._table = table
        self._store = DynamoDBMailboxStore(self._client, table, calls_in_flight_max=1)
        self._numbers = count()

    def stores(self, page_bytes: int) -> Stores:
        if isinstance(self._client, InMemoryTable):
            self._client.page_bytes = page_bytes
        else:
            page_bytes = PAGE_BYTES
        memory, key = MemoryStore(page_bytes=page_bytes), f"bob-{next(self._numbers)}"
        return Stores(memory, self._store, self._client, self._table, key)

    async def play(self, calls: Iterable[Call], page_bytes: int = PAGE_BYTES) -> None:
        """Fails where an answer differs, or at the end what is stored."""
        stores = self.stores(page_bytes)
        for name, arguments in calls:
            await stores.call(name, arguments)
        await stores.query(pages=1000, keeps_lower=True)


@pytest.fixture(params=KINDS)
async def tables(request: pytest.FixtureRequest, table_name: str) -> AsyncIterator[Tables]:
    async with open_table(request, table_name) as client:
        yield Tables(client, table_name)


def an_item(position: str, size: int = 0, **attributes: Any) -> Item:
    return {"position": {"S": position}, "b": {"B": b"x" * size}, **attributes}


def a_query(*bounds: str, keys: st.SearchStrategy[str]) -> st.SearchStrategy[Call]:
    """A Query with these bounds, the lower one first."""

    def call(drawn: list[str], more: dict[str, Any]) -> Call:
        return "query", {**dict(zip(bounds, sorted(drawn), strict=True)), **more}

    drawn = st.lists(keys, min_size=len(bounds), max_size=len(bounds))
    options = st.fixed_dictionaries({
        "pages": st.integers(1, 4),
        "keeps_lower": st.booleans(),
        "limit": st.none() | st.integers(1, 6) | st.just(QUERY_ITEMS_MAX + 1),
        "keys_only": st.booleans(),
        "backwards": st.booleans(),
    })  # fmt: skip
    return st.builds(call, drawn, options)


_ITEMS, _NO_ITEMS = st.sampled_from(POSITIONS), st.sampled_from(ELSEWHERE)
QUERIES = st.sampled_from([
    a_query(keys=_ITEMS),
    *(a_query(bound, keys=_ITEMS) for bound in ("only", "begin", "above", "below", "up_to")),
    a_query("begin", "up_to", keys=_ITEMS | _NO_ITEMS),
    a_query("above", "up_to", keys=_NO_ITEMS),
]).flatmap(lambda query: query)  # fmt: skip
PUTS = st.builds(
    an_item, st.sampled_from(POSITIONS), st.sampled_from([0, 40, 300]),
    # A damaged offset is among them.
    **{LOGS[0].encode(): st.sampled_from([{"N": "9"}, {"S": "9"}, {"M": {"n": {"N": "9"}}}])},
)  # fmt: skip
FIRST: st.SearchStrategy[Call] = st.tuples(st.just("put"), st.fixed_dictionaries({
    "items": st.lists(PUTS, min_size=6, max_size=12),
}))  # fmt: skip
CALLS: st.SearchStrategy[Call] = st.one_of(
    st.tuples(st.just("put"), st.fixed_dictionaries({
        "items": st.lists(PUTS, min_size=1, max_size=2),
    })),
    QUERIES,
    QUERIES,
    st.tuples(st.just("raise_cursor"), st.fixed_dictionaries({
        "cursor": CURSORS, "log": st.sampled_from(LOGS), "offset": OFFSETS,
        "existing": st.booleans(),
    })),
    st.tuples(st.just("create_cursor"), st.fixed_dictionaries({
        "cursor": CURSORS, "offsets": st.dictionaries(st.sampled_from(LOGS), OFFSETS),
    })),
    st.tuples(st.just("delete"), st.fixed_dictionaries({
        "positions": st.lists(st.sampled_from(POSITIONS), unique=True),
    })),
)  # fmt: skip


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.reuse, Phase.generate],  # to shrink a history takes longer than to read it
)
@given(FIRST, st.lists(CALLS, min_size=10, max_size=20), st.sampled_from([1, 100, 400, PAGE_BYTES]))
async def test_any_history_of_calls_has_the_same_answers(
    tables: Tables, first: Call, calls: list[Call], page_bytes: int
) -> None:
    """So a gateway's tests see what the gateway will see (G1, G4, G7, G12)."""
    await tables.play([first, *calls], page_bytes)


@pytest.mark.parametrize("size", [60_000, 104_857, 104_858, 131_072, 349_000, 400_000])
async def test_a_query_ends_at_1_mb(tables: Tables, size: int) -> None:
    """With the item that reaches it, where one is behind: the eighth of 131,072 bytes (G7)."""
    stores = tables.stores(PAGE_BYTES)
    body = size - item_bytes({"user_id": {"S": stores.key}, **an_item("00")})
    await stores.put(an_item(f"{n:02}", body) for n in range(2_400_000 // size))
    for options in ({"backwards": True}, {"keys_only": True}):
        await stores.query(pages=4, keeps_lower=True, **options)


@pytest.mark.parametrize("tables", ["fake"], indirect=True)
async def test_a_query_returns_no_more_items_than_the_largest_limit(tables: Tables) -> None:
    """Whatever it is asked for (G8)."""
    stores = tables.stores(PAGE_BYTES)
    await stores.put(an_item(f"{n:05}") for n in range(QUERY_ITEMS_MAX + 1))
    await stores.query(pages=2, keeps_lower=True, limit=QUERY_ITEMS_MAX + 1)


async def test_more_items_than_one_call_deletes_are_deleted(tables: Tables) -> None:
    """Whether or not they exist (G4)."""
    await tables.play([
        ("put", {"items": [an_item(name) for name in (*MANY[::2], "z")]}),
        ("delete", {"positions": MANY}),
        ("delete", {"positions": []}),
    ])  # fmt: skip


async def test_a_purged_cursor_that_is_raised_no_longer_expires(tables: Tables) -> None:
    """And one that is further already stays as it is (G4)."""
    log = LOGS[0]
    purged = an_item("!", purged_at={"N": "5"}, expires_at={"N": "9"})
    purged |= {log.encode(): {"N": "7"}}
    await tables.play([
        ("put", {"items": [purged, {**purged, "position": {"S": "!pad"}}]}),
        ("raise_cursor", {"cursor": "!", "log": log, "offset": 7}),
        ("query", {"pages": 1, "keeps_lower": True}),
        ("raise_cursor", {"cursor": "!", "log": log, "offset": 8}),
        ("raise_cursor", {"cursor": "!pad", "log": LOGS[1], "offset": 0, "existing": True}),
    ])  # fmt: skip
