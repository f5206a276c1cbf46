"""Packing: the invariants on which reading rests."""

import json
from base64 import b64encode
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.item import ITEM_BYTES_MAX, encode_bundle, item_bytes_max
from poste_restante.position import WINDOW_SIZE, LogId, window_start
from tests.bundles import bundle_of, entries_of
from tests.records import TOPIC, message
from worker.bundles import Bundle, BundleLimits, pack
from worker.dynamodb.puts import CALL_BYTES_MAX, encode_put
from worker.entry import Entry

LOG = LogId(1, 3)
W = WINDOW_SIZE
LIMITS = st.builds(
    BundleLimits, messages_max=st.integers(1, 6), bytes_max=st.integers(1, 700) | st.just(10**6)
)


@st.composite
def batches(draw: st.DrawFn) -> list[Entry]:
    """Messages of some users in log order, near window borders, a few of them huge."""
    start = draw(st.sampled_from([0, WINDOW_SIZE - 8, 3 * WINDOW_SIZE - 30]))
    offsets = sorted(draw(st.sets(st.integers(start, start + 60), max_size=40)))
    sizes = st.sampled_from([0, 5, 90, 300, 250_000, 399_000])
    return entries_of(
        message(offset, draw(st.sampled_from(["ann", "bob", "!c"])), b"x" * draw(sizes))
        for offset in offsets
    )


@given(batches(), LIMITS)
def test_a_mailboxs_bundles_wave_after_wave_are_its_messages_in_log_order(
    entries: list[Entry], limits: BundleLimits
) -> None:
    """Nothing is left out, doubled or moved by packing (G1, G3, G5)."""
    packed: dict[str, list[Entry]] = defaultdict(list)
    for wave in pack(entries, LOG, limits):
        for bundle in wave:
            packed[bundle.user_id] += bundle.entries

    wanted: dict[str, list[Entry]] = defaultdict(list)
    for each in entries:
        wanted[each.user_id].append(each)
    assert packed == wanted


@given(batches(), LIMITS)
def test_wave_k_holds_every_mailboxs_kth_bundle(entries: list[Entry], limits: BundleLimits) -> None:
    """A wave can be written in any order, and no wave is empty (G2)."""
    waves = pack(entries, LOG, limits)
    users = [[bundle.user_id for bundle in wave] for wave in waves]

    for wave, before in zip(users[1:], users, strict=False):
        assert set(wave) <= set(before)
    assert all(wave and len(set(wave)) == len(wave) for wave in users)


@given(batches(), LIMITS)
def test_every_bundle_is_an_item_within_window_and_limits(
    entries: list[Entry], limits: BundleLimits
) -> None:
    """No bundle crosses a window border; more than one message keeps to every limit (G2, G8)."""
    for wave in pack(entries, LOG, limits):
        for bundle in wave:
            offsets = [entry.offset for entry in bundle.entries]
            size = sum(entry.bytes_max for entry in bundle.entries)
            assert window_start(offsets[0]) == window_start(offsets[-1])
            assert bundle.bytes_max == item_bytes_max(bundle.user_id, size) <= ITEM_BYTES_MAX
            assert len(offsets) <= limits.messages_max
            assert len(offsets) == 1 or size <= limits.bytes_max
            encode_put(bundle)


@given(batches(), LIMITS)
def test_a_bundle_closes_only_where_the_next_message_does_not_fit(
    entries: list[Entry], limits: BundleLimits
) -> None:
    """A burst to one mailbox costs as few writes as the limits allow (G8)."""
    by_user: dict[str, list[Bundle]] = defaultdict(list)
    for wave in pack(entries, LOG, limits):
        for bundle in wave:
            by_user[bundle.user_id].append(bundle)
    for bundles in by_user.values():
        for one, two in pairwise(bundles):
            both = (*one.entries, two.entries[0])
            size = sum(entry.bytes_max for entry in both)
            assert (
                len(both) > limits.messages_max
                or size > limits.bytes_max
                or item_bytes_max(one.user_id, size) > ITEM_BYTES_MAX
                or window_start(both[0].offset) != window_start(both[-1].offset)
            )


def shape(entries: list[Entry], limits: BundleLimits) -> list[list[int]]:
    """The offsets of each bundle of the one mailbox, wave after wave."""
    return [[e.offset for e in only.entries] for (only,) in pack(entries, LOG, limits)]


def sized(*sizes: int, start: int = 0) -> list[Entry]:
    """Entries that are counted as so many bytes each."""
    entries = entries_of(message(start + n) for n in range(len(sizes)))
    return [each._replace(bytes_max=size) for each, size in zip(entries, sizes, strict=True)]


def test_a_bundle_is_filled_to_the_exact_byte_of_its_limit() -> None:
    """And not beyond it (G8)."""
    limits = BundleLimits(bytes_max=30)

    assert shape(sized(10, 20, 10, 20), limits) == [[0, 1], [2, 3]]
    assert shape(sized(10, 21, 9, 1), limits) == [[0], [1, 2], [3]]


def test_a_bundle_is_filled_to_the_exact_byte_of_an_item() -> None:
    """Whatever the limits say (G8)."""
    room = ITEM_BYTES_MAX - item_bytes_max("bob", 0)
    limits = BundleLimits(bytes_max=10**9)

    assert shape(sized(room - 7, 7, 7), limits) == [[0, 1], [2]]
    assert shape(sized(room - 7, 8, 7), limits) == [[0], [1, 2]]


@pytest.mark.parametrize("start", [W - 4, W - 3, W - 2, W - 1, W])
def test_a_bundle_ends_with_its_window(start: int) -> None:
    """At the border, wherever it began, and at no other offset (G2)."""
    offsets = range(start, start + 4)
    bundles = [[n for n in offsets if n < W], [n for n in offsets if n >= W]]

    assert shape(sized(1, 1, 1, 1, start=start), BundleLimits()) == [b for b in bundles if b]


def test_a_bundle_has_a_hundred_messages_and_64_kb_unless_set() -> None:
    """What the settings name as defaults (G8)."""
    assert BundleLimits() == BundleLimits(messages_max=100, bytes_max=65_536)
    assert BundleLimits(1, 1) == BundleLimits(messages_max=1, bytes_max=1)
    assert shape(sized(*[1] * 101), BundleLimits()) == [[*range(100)], [100]]


def test_one_message_per_bundle_is_one_item_per_message() -> None:
    """`bundle_messages_max = 1` is the same code path (G2)."""
    waves = pack(entries_of(map(message, range(3))), LOG, BundleLimits(messages_max=1))

    assert [[len(bundle.entries) for bundle in wave] for wave in waves] == [[1], [1], [1]]


def test_halves_are_a_bundle_cut_in_two() -> None:
    """Splitting keeps order and recomputes the size (G3)."""
    bundle = bundle_of(*map(message, range(5)))
    left, right = bundle.halves()

    assert [*left.entries, *right.entries] == bundle.entries
    assert (left.log, right) == (LOG, bundle_of(message(2), message(3), message(4)))


@pytest.mark.parametrize("limits", [{"messages_max": 0}, {"bytes_max": 0}])
def test_limits_below_one_message_are_refused(limits: dict[str, int]) -> None:
    """A bundle of nothing cannot be configured (G8)."""
    with pytest.raises(ValueError, match="at least one message"):
        BundleLimits(**limits)


@given(
    st.lists(st.tuples(st.text(), st.none() | st.binary()), max_size=8),
    st.text(min_size=1).filter(lambda text: len(text.encode()) < 1024),
    st.text(),
    st.binary(),
)
def test_an_item_is_sent_as_at_most_ten_times_its_bound(
    headers: list[tuple[str, bytes | None]], user_id: str, text: str, body: bytes
) -> None:
    """So a call of bounded items is within the 16 MB that the store takes (G8)."""
    made = replace(
        message(7, user_id, body), id=text, source=text, type=text, headers=tuple(headers)
    )
    bundle = bundle_of(made)
    sent = json.dumps(encode_bundle((made,), TOPIC), default=lambda b: b64encode(b).decode())

    assert len(sent) <= 10 * bundle.bytes_max
    assert 10 * (CALL_BYTES_MAX + ITEM_BYTES_MAX) < 16_000_000
