"""What was read beyond a page: what may be kept of it, and for how long."""

import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from poste_restante.item import Item, encode_bundle, from_json
from poste_restante.position import LogId
from poste_restante.prefetch import (
    PREFETCH_S_MAX,
    PrefetchCache,
    PrefetchedItems,
    memory_bytes,
    select_prefetched,
)
from tests.records import TOPIC, message
from tests.unit.test_signed_client import page

LOG = LogId(1, 3)


def item(offset: int, partition: int = 3) -> Item:
    return encode_bundle([message(offset, partition=partition)], TOPIC)


def run(*offsets: int) -> PrefetchedItems:
    return PrefetchedItems(LOG.after(0), [item(offset) for offset in offsets])


def test_a_run_is_of_the_log_in_which_the_page_ends() -> None:
    """In front of another log's items messages of this one may still come (G2)."""
    items = [item(5), item(9), item(1, partition=4)]

    assert select_prefetched(LOG.after(3), items) == PrefetchedItems(LOG.after(3), items[:2])
    assert select_prefetched(LOG.after(9), items[2:]) is None
    assert select_prefetched(item(3)["position"]["S"], items[:1]) == PrefetchedItems(
        item(3)["position"]["S"], items[:1]
    )
    assert select_prefetched("", items) is None
    assert select_prefetched("9", items) is None


def test_a_run_is_taken_once() -> None:
    """By one reader of its mailbox; a newer one takes its place (G5)."""
    ahead = PrefetchCache()
    ahead.keep("bob", run(1), 0.0)
    ahead.keep("bob", run(2), 0.0)

    assert ahead.take("ann", 1.0) is None
    assert ahead.take("bob", 1.0) == run(2)
    assert ahead.take("bob", 1.0) is None
    assert ahead.bytes == 0


def test_what_is_kept_is_bounded() -> None:
    """In bytes, the oldest goes first; and in time, by a clock that may be set back (G8)."""
    ahead = PrefetchCache(bytes_max=2 * memory_bytes(item(1)))
    for user in ("ann", "bob", "cid"):
        ahead.keep(user, run(1), 0.0)

    assert ahead.bytes == 2 * memory_bytes(item(1))
    assert ahead.take("ann", 0.0) is None
    assert ahead.take("bob", PREFETCH_S_MAX - 1) == run(1)
    assert ahead.take("cid", PREFETCH_S_MAX) is None
    ahead.keep("cid", run(1), 100.0)
    assert ahead.take("cid", 99.0) is None
    ahead.keep("cid", run(1, 2, 3), 100.0)
    assert (ahead.take("cid", 100.0), ahead.bytes) == (None, 0)


def test_each_item_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deep mailbox is a run, of which each page takes some: to count what is left each time
    would be quadratic (G8)."""
    counted: list[str] = []

    def count(item: Item) -> int:
        counted.append(item["position"]["S"])
        return memory_bytes(item)

    monkeypatch.setattr("poste_restante.prefetch.memory_bytes", count)
    kept, items = PrefetchCache(), [item(offset) for offset in range(1, 50)]
    before = None
    for page_end in range(50):
        left = items[page_end:]
        if (ahead := select_prefetched(LOG.after(page_end), left, before)) is not None:
            kept.keep("bob", ahead, 0.0)
        assert kept.bytes == sum(map(memory_bytes, left))
        before = kept.take("bob", 0.0)

    assert counted == [each["position"]["S"] for each in items]


LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "headers", "messages"), [(b"", 0, 100), (b"x" * 2_000, 0, 100), (b"", 10_000, 1)]
)
def test_what_is_kept_is_counted_as_the_memory_that_it_takes(
    body: bytes, headers: int, messages: int
) -> None:
    """Short messages take forty times what DynamoDB counts, empty headers two hundred times: a
    limit in its bytes would be none (G8)."""
    many = [
        replace(
            message(offset, body=body), headers=(("", b""),) * headers, time=LONG_AGO,
            expires_at=LONG_AGO,
        )
        for offset in range(messages)
    ]  # fmt: skip
    answer = page(*[encode_bundle(many, TOPIC)] * 10)
    tracemalloc.start()
    try:
        kept = from_json(answer)["Items"]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert taken / 2 < sum(map(memory_bytes, kept))
    assert sum(map(memory_bytes, kept)) < 3 * taken
