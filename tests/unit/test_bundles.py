"""Packing: the invariants on which reading rests."""

import json
from base64 import b64encode
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.item import ITEM_BYTES_MAX, encode_bundle, item_bytes_max, message_bytes_max
from poste_restante.message import Message
from poste_restante.position import WINDOW_SIZE, window_start
from tests.records import TOPIC, message
from worker.bundles import Bundle, BundleLimits, pack
from worker.writer import CALL_BYTES_MAX

LIMITS = st.builds(
    BundleLimits, messages_max=st.integers(1, 6), bytes_max=st.integers(1, 700) | st.just(10**6)
)


@st.composite
def batches(draw: st.DrawFn) -> list[Message]:
    """Messages of some users in log order, near window borders, a few of them huge."""
    start = draw(st.sampled_from([0, WINDOW_SIZE - 8, 3 * WINDOW_SIZE - 30]))
    offsets = sorted(draw(st.sets(st.integers(start, start + 60), max_size=40)))
    sizes = st.sampled_from([0, 5, 90, 300, 250_000, 399_000])
    return [
        message(offset, draw(st.sampled_from(["ann", "bob", "!c"])), b"x" * draw(sizes))
        for offset in offsets
    ]


@given(batches(), LIMITS)
def test_a_mailboxs_bundles_wave_after_wave_are_its_messages_in_log_order(
    messages: list[Message], limits: BundleLimits
) -> None:
    """Nothing is left out, doubled or moved by packing (G1, G3, G5)."""
    waves = pack(messages, limits)
    packed: dict[str, list[Message]] = defaultdict(list)
    for wave in waves:
        for bundle in wave:
            packed[bundle.user_id] += bundle.messages

    wanted: dict[str, list[Message]] = defaultdict(list)
    for each in messages:
        wanted[each.user_id].append(each)
    assert packed == wanted


@given(batches(), LIMITS)
def test_wave_k_holds_every_mailboxs_kth_bundle(
    messages: list[Message], limits: BundleLimits
) -> None:
    """A wave can be written in any order, and no wave is empty (G2)."""
    waves = pack(messages, limits)
    users = [[bundle.user_id for bundle in wave] for wave in waves]

    for wave, before in zip(users[1:], users, strict=False):
        assert set(wave) <= set(before)
    assert all(wave and len(set(wave)) == len(wave) for wave in users)


@given(batches(), LIMITS)
def test_every_bundle_is_an_item_within_window_and_limits(
    messages: list[Message], limits: BundleLimits
) -> None:
    """No bundle crosses a window border; more than one message keeps to every limit (G2, G8)."""
    for wave in pack(messages, limits):
        for bundle in wave:
            offsets = [each.position.offset for each in bundle.messages]
            size = sum(map(message_bytes_max, bundle.messages))
            assert window_start(offsets[0]) == window_start(offsets[-1])
            assert bundle.bytes_max == item_bytes_max(bundle.user_id, size) <= ITEM_BYTES_MAX
            assert len(offsets) <= limits.messages_max
            assert len(offsets) == 1 or size <= limits.bytes_max
            encode_bundle(bundle.messages, TOPIC)


@given(batches(), LIMITS)
def test_a_bundle_closes_only_where_the_next_message_does_not_fit(
    messages: list[Message], limits: BundleLimits
) -> None:
    """A burst to one mailbox costs as few writes as the limits allow (G8)."""
    by_user: dict[str, list[Bundle]] = defaultdict(list)
    for wave in pack(messages, limits):
        for bundle in wave:
            by_user[bundle.user_id].append(bundle)
    for bundles in by_user.values():
        for one, two in pairwise(bundles):
            both = (*one.messages, two.messages[0])
            size = sum(map(message_bytes_max, both))
            assert (
                len(both) > limits.messages_max
                or size > limits.bytes_max
                or item_bytes_max(one.user_id, size) > ITEM_BYTES_MAX
                or window_start(both[0].position.offset) != window_start(both[-1].position.offset)
            )


def test_one_message_per_bundle_is_one_item_per_message() -> None:
    """`bundle_messages_max = 1` is the same code path (G2)."""
    waves = pack([message(n) for n in range(3)], BundleLimits(messages_max=1))

    assert [[len(bundle.messages) for bundle in wave] for wave in waves] == [[1], [1], [1]]


def test_another_log_begins_another_bundle() -> None:
    """A bundle is of one partition and one epoch (G3)."""
    waves = pack([message(8, epoch=1), message(9, epoch=2)], BundleLimits())

    assert [len(wave) for wave in waves] == [1, 1]


def test_halves_are_a_bundle_cut_in_two() -> None:
    """Splitting keeps order and recomputes the size (G3)."""
    bundle = Bundle.of(tuple(message(n) for n in range(5)))
    left, right = bundle.halves()

    assert left.messages + right.messages == bundle.messages
    assert left == Bundle.of(left.messages)


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
    bundle = Bundle.of((made,))
    sent = json.dumps(encode_bundle((made,), TOPIC), default=lambda b: b64encode(b).decode())

    assert len(sent) <= 10 * bundle.bytes_max
    assert 10 * (CALL_BYTES_MAX + ITEM_BYTES_MAX) < 16_000_000
