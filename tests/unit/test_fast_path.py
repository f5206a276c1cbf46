"""The quick way of plain records makes what the general one makes."""

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poste_restante.item import ITEM_BYTES_MAX
from poste_restante.position import LogId
from tests.bundles import item_of
from tests.records import NEW_YEAR_MS, TOPIC, MadeRecord
from worker.bundles import Bundle
from worker.cloudevents import CloudEventsDecoder
from worker.decode import decode_batch
from worker.entry import entry_of
from worker.fast_path import FastPath
from worker.record import TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN

EDGES = st.sampled_from([TIMESTAMP_MS_MIN, TIMESTAMP_MS_MAX]).flatmap(
    lambda edge: st.integers(edge - 5, edge + 5)
)
RECORDS = st.builds(
    MadeRecord,
    key=st.none() | st.binary(max_size=9) | st.text(max_size=9).map(str.encode)
    | st.integers(1_020, 1_030).map(lambda size: b"k" * size),
    value=st.none() | st.binary(max_size=50)
    | st.integers(ITEM_BYTES_MAX - 2_500, ITEM_BYTES_MAX + 10).map(lambda size: b"x" * size),
    headers=st.just(()) | st.lists(
        st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=3)), max_size=2
    ).map(tuple),
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.none() | st.integers(-1, 2**63 - 1) | EDGES | st.just(NEW_YEAR_MS),
)  # fmt: skip
RETENTIONS = st.timedeltas(timedelta(0), timedelta(days=3_000_000))


@given(RECORDS, RETENTIONS, st.integers(1, 9_999))
@example(MadeRecord(timestamp=TIMESTAMP_MS_MAX), timedelta(0), 1)
@example(MadeRecord(timestamp=TIMESTAMP_MS_MAX), timedelta(milliseconds=1), 1)
@example(MadeRecord(), timedelta(microseconds=1_999), 1)
@example(MadeRecord(headers=(("traceparent", b"00-1"),)), timedelta(days=30), 1)
@example(MadeRecord(value=b"x" * ITEM_BYTES_MAX), timedelta(days=30), 1)
@example(MadeRecord(value=b"x" * (ITEM_BYTES_MAX - 200)), timedelta(days=30), 1)
@example(MadeRecord(key=b"\xff", value=b""), timedelta(days=30), 1)
def test_the_quick_way_and_the_general_one_agree(
    record: MadeRecord, retention: timedelta, epoch: int
) -> None:
    """Whatever a record is: the same entries, to the byte, or the same dead letter (G1, G9)."""
    decoder = CloudEventsDecoder(retention)
    fast_path = decode_batch([record], epoch, decoder)
    general = decode_batch([record], epoch, decoder.__call__)

    assert fast_path == general


@given(RECORDS.filter(lambda record: not record.headers), RETENTIONS)
def test_what_the_quick_way_takes_is_a_message_of_the_decoder(
    record: MadeRecord, retention: timedelta
) -> None:
    """An entry is never made of a record that the decoder refuses (G9)."""
    fast_path = FastPath(TOPIC, 7, record.partition, retention).entry(record)
    if fast_path is not None:
        (message,) = CloudEventsDecoder(retention)(record, 7)
        assert fast_path == entry_of(message, TOPIC)
        assert item_of(Bundle.of([fast_path], LogId(7, record.partition)))


@pytest.mark.parametrize("topic", ["undelivered-messages", "t"])
def test_the_record_of_a_chat_takes_the_quick_way(topic: str) -> None:
    """Else the figures of this worker are those of another one (G8)."""
    record = MadeRecord(topic=topic, key="ann-é".encode(), value=b"\x00" * 1_000)

    assert FastPath(topic, 1, 3, timedelta(days=30)).entry(record) is not None
    assert FastPath(topic, 1, 3, timedelta(days=30)).entry(MadeRecord(value=b"")) is not None
