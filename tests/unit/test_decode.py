"""From records to messages: the wire format, and what becomes of bad input."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.item import ITEM_BYTES_MAX, item_bytes_max, message_bytes_max
from poste_restante.message import Message
from poste_restante.position import LogId
from tests.bundles import messages_of
from tests.records import TOPIC, MadeRecord, message
from worker.bundles import Bundle
from worker.cloudevents import CloudEventsDecoder, parse_time
from worker.decode import Decoded, decode_batch
from worker.errors import BadRecord, DeadLetterReason
from worker.fast_path import FastPath
from worker.record import Record, RecordHeader

RETENTION = timedelta(days=30)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
EVENT = (("ce_id", b"7"), ("ce_source", b"/chat"), ("ce_type", b"message"))
STRUCTURED = "application/cloudevents+json"
BODY = {"specversion": "1.0", "id": "7", "source": "/chat", "type": "message", "data": {"a": 1}}

decode = CloudEventsDecoder(RETENTION)


def decoded(**fields: object) -> Message:
    (made,) = decode(MadeRecord(offset=42, **fields), epoch=2)  # type: ignore[arg-type]
    return made


def refused(**fields: object) -> BadRecord:
    with pytest.raises(BadRecord) as caught:
        decoded(**fields)
    return caught.value


def test_a_keyed_record_is_a_message() -> None:
    """Id is the position, time the timestamp; without a source it is never a duplicate (G10)."""
    made = decoded(headers=(("traceparent", b"00-1"), ("traceparent", None)))

    assert made == Message(
        user_id="bob",
        id=f"{TOPIC}/2/3/42",
        time=NEW_YEAR,
        body=b"hello",
        headers=(("traceparent", b"00-1"), ("traceparent", None)),
        expires_at=NEW_YEAR + RETENTION,
        position=made.position,
    )
    assert made.position == (2, 3, 42)


def test_an_empty_body_is_a_body() -> None:
    """Only a null value is none (G9)."""
    assert decoded(value=b"").body == b""


def test_binary_mode() -> None:
    """What a field holds leaves the headers; all else travels, in order (G1)."""
    made = decoded(
        headers=(
            ("content-type", b"text/plain"),
            *EVENT,
            ("ce_specversion", b"1.0"),
            ("ce_time", b"2026-01-02T03:04:05.123456789+01:00"),
            ("ce_expirytime", b"2026-01-03T00:00:00Z"),
            ("ce_thread", b"9"),
            ("ce_thread", None),
            ("x", b"\xff"),
        )
    )

    assert (made.id, made.source, made.type) == ("7", "/chat", "message")
    assert made.content_type == "text/plain"
    assert made.time == datetime(2026, 1, 2, 2, 4, 5, 123456, tzinfo=UTC)
    assert made.expires_at == datetime(2026, 1, 3, tzinfo=UTC)
    assert made.headers == (
        ("ce_expirytime", b"2026-01-03T00:00:00Z"),
        ("ce_thread", b"9"),
        ("ce_thread", None),
        ("x", b"\xff"),
    )


def test_type_and_specversion_may_be_absent() -> None:
    """Any keyed record is deliverable (G9)."""
    made = decoded(headers=EVENT[:2])

    assert (made.id, made.source, made.type) == ("7", "/chat", None)


def test_structured_mode() -> None:
    """The body stays the whole event; its attributes are read from it, none from headers (G1)."""
    body = json.dumps(
        BODY | {"time": "2026-01-02T00:00:00Z", "expirytime": "2026-01-03T00:00:00Z"}
    ).encode()
    headers = (("content-type", STRUCTURED.encode() + b"; charset=utf-8"), ("ce_id", b""))
    made = decoded(value=body, headers=headers)

    assert made.body == body
    assert (made.id, made.source, made.type) == ("7", "/chat", "message")
    assert made.time == datetime(2026, 1, 2, tzinfo=UTC)
    assert made.expires_at == datetime(2026, 1, 3, tzinfo=UTC)
    assert made.headers == (("ce_id", b""),)
    assert made.to_cloudevent()["id"] == "7"


@pytest.mark.parametrize(
    "data", ["1e400", "9" * 5000, r'"\ud800"', '{"a": 1, "a": 2}', "[" * 127 + "]" * 127]
)
def test_data_of_a_structured_event_that_is_json_is_taken(data: str) -> None:
    """Whatever a language makes of it: the body is stored as it is, and can be shown (G1)."""
    body = (json.dumps(BODY | {"data": "?"}).replace('"?"', data)).encode()
    made = decoded(value=body, headers=(("content-type", STRUCTURED.encode()),))

    assert made.body == body
    assert json.dumps(made.to_cloudevent(), allow_nan=False)


def test_the_depth_that_is_taken_does_not_depend_on_the_stack() -> None:
    """Worker and reader agree, however deep their caller stands (G9)."""
    body = json.dumps(BODY | {"data": "?"}).replace('"?"', "[" * 127 + "]" * 127).encode()

    def deep(frames: int) -> str:
        if frames:
            return deep(frames - 1)
        made = decoded(value=body, headers=(("content-type", STRUCTURED.encode()),))
        return json.dumps(made.to_cloudevent())

    assert deep(500) == deep(0)


def test_a_null_time_of_a_structured_event_is_an_absent_one() -> None:
    """As the JSON format says (G9)."""
    body = json.dumps(BODY | {"time": None}).encode()
    made = decoded(value=body, headers=(("content-type", STRUCTURED.encode()),))

    assert made.time == NEW_YEAR


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, DeadLetterReason.NO_USER_ID),
        (b"", DeadLetterReason.NO_USER_ID),
        (b"\xff" * 1025, DeadLetterReason.USER_ID_TOO_LONG),
        (b"\xff", DeadLetterReason.USER_ID_NOT_UTF8),
        (b"\xed\xa0\x80", DeadLetterReason.USER_ID_NOT_UTF8),  # half a character
    ],
)
def test_a_bad_key_is_named(key: bytes | None, reason: DeadLetterReason) -> None:
    """Keys are judged before bodies (G9)."""
    assert refused(key=key, value=None).reason is reason


def test_the_longest_key_is_a_user() -> None:
    """1,024 bytes are allowed (G9)."""
    assert decoded(key=b"a" * 1024).user_id == "a" * 1024


def test_a_null_value_is_no_body() -> None:
    """A tombstone says nothing to a user (G9)."""
    assert refused(value=None).reason is DeadLetterReason.NO_BODY


@pytest.mark.parametrize(
    "headers",
    [
        EVENT[:1],
        EVENT[1:2],
        EVENT[1:],
        *(
            (*(h for h in EVENT if h[0] != name), (name, bad))
            for name in ("ce_id", "ce_source", "ce_type", "ce_time", "ce_expirytime")
            for bad in (None, b"", b"\xff")
        ),
        *(
            (*EVENT, (name, value), (name, value))
            for name, value in (
                ("ce_time", b"2026-01-02T00:00:00Z"),
                ("ce_expirytime", b"2026-01-02T00:00:00Z"),
            )
        ),
        *((*EVENT, header) for header in EVENT),
        (*EVENT, ("ce_time", b"yesterday")),
        (*EVENT, ("ce_expirytime", b"0000-01-01T00:00:00Z")),
        (*EVENT, ("ce_specversion", b"0.3")),
        (*EVENT, ("ce_specversion", None)),
    ],
)
def test_a_half_event_is_malformed(headers: Sequence[RecordHeader]) -> None:
    """What claims to be an event must be one: a wrong id could hide another message (G9, G10)."""
    bad = refused(headers=headers)

    assert bad.reason is DeadLetterReason.MALFORMED_CLOUDEVENT
    assert "ce_" in bad.detail


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"[]",
        b"null",
        b'{"id": NaN}',
        b"[" * 100_000,
        b"9" * 5000,
        *(json.dumps(BODY)[:-1].encode() + b', "more": ' + b"[" * n + b"]" * n + b"}"
          for n in (128, 970)),
        json.dumps(BODY)[:-1].encode() + b', "id": "8"}',
        json.dumps(BODY | {"id": "?"}).replace('"?"', "1e400").encode(),
        json.dumps(BODY | {"id": "?"}).replace('"?"', "9" * 5000).encode(),
        *(json.dumps({k: v for k, v in BODY.items() if k != name}).encode() for name in BODY
          if name != "data"),
        *(
            json.dumps(BODY | {name: bad}).encode()
            for name in ("id", "source", "type", "specversion")
            for bad in (None, 7, "", ["x"], "\ud800")
        ),
        json.dumps(BODY | {"specversion": "0.3"}).encode(),
        json.dumps(BODY | {"time": 7}).encode(),
        json.dumps(BODY | {"expirytime": "soon"}).encode(),
    ],
)  # fmt: skip
def test_a_body_that_is_no_whole_event_is_malformed(body: bytes) -> None:
    """In structured mode the body must be what it says (G9)."""
    bad = refused(value=body, headers=(("content-type", STRUCTURED.encode()),))

    assert bad.reason is DeadLetterReason.MALFORMED_CLOUDEVENT


@pytest.mark.parametrize(
    "headers",
    [
        (("content-type", None),),
        (("content-type", b""),),
        (("content-type", b"\xff"),),
        (("content-type", b"a/b"), ("content-type", b"a/b")),
    ],
)
def test_an_unreadable_content_type_travels(headers: Sequence[RecordHeader]) -> None:
    """It is no reason to keep a body from its user (G9)."""
    made = decoded(headers=headers)

    assert made.content_type is None
    assert made.headers == headers


@pytest.mark.parametrize(
    ("value", "expiry"),
    [
        (b"2026-01-02T00:00:00Z", datetime(2026, 1, 2, tzinfo=UTC)),
        (b"soon", NEW_YEAR + RETENTION),
        (None, NEW_YEAR + RETENTION),
    ],
)
def test_a_plain_record_is_never_malformed(value: bytes | None, expiry: datetime) -> None:
    """Its `ce_` headers travel unread, but for an expiry that can be read (G9)."""
    headers = (("ce_expirytime", value), ("ce_type", None), ("ce_specversion", b"0.3"))
    made = decoded(headers=headers)

    assert made.headers == headers
    assert made.type is None
    assert made.expires_at == expiry


@pytest.mark.parametrize("timestamp", [None, -1, 0, 1_262_303_999_999, 253_402_300_800_000, 2**62])
def test_a_timestamp_that_cannot_be_true_gives_neither_time_nor_expiry(
    timestamp: int | None,
) -> None:
    """A wrong clock must not make a message vanish (G10)."""
    made = decoded(timestamp=timestamp)

    assert made.time is None
    assert made.expires_at is None


def test_an_expiry_beyond_the_last_year_is_none() -> None:
    """The retention may be as long as it likes (G10)."""
    (made,) = CloudEventsDecoder(timedelta(days=999_999_999))(MadeRecord(), 1)

    assert made.time == NEW_YEAR
    assert made.expires_at is None


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-01T00:00:00Z", NEW_YEAR),
        ("2026-01-01t00:00:00z", NEW_YEAR),
        ("2025-12-31T23:59:60Z", NEW_YEAR),
        ("2026-01-01T05:30:00.0000009+05:30", NEW_YEAR),
        ("2025-12-31T23:00:00-01:00", NEW_YEAR),
        ("2026-01-01T00:00:00.5-00:00", NEW_YEAR + timedelta(seconds=0.5)),
    ],
)
def test_times_are_rfc_3339(text: str, time: datetime) -> None:
    """Any offset, any number of digits: microseconds are kept (G1)."""
    assert parse_time(text) == time
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-13-01T00:00:00Z",
        "2026-01-01T24:00:00Z", "2026-01-01T00:00:61Z", "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+00:60", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:60Z",
        "2026-01-01T00:00:00.Z", "\u0662\u0660\u0662\u0666-01-01T00:00:00Z", "20260101T000000Z",
        " 2026-01-01T00:00:00Z",
    ],
)  # fmt: skip
def test_other_times_are_none(text: str) -> None:
    """The error does not repeat what it could not read (G9)."""
    with pytest.raises(ValueError, match="time") as caught:
        parse_time(text)
    assert text not in str(caught.value)


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["content-type", "ce_id", "ce_source", "ce_type", "ce_time", "ce_expirytime", "x"]
        )
        | st.text(),
        st.none()
        | st.binary()
        | st.sampled_from([b"1.0", b"2026-01-01T00:00:00Z", STRUCTURED.encode()]),
    ),
    max_size=6,
)
JSON = st.recursive(
    st.none() | st.text() | st.floats(), lambda inner: st.dictionaries(st.text(), inner)
)
RECORDS = st.builds(
    MadeRecord,
    key=st.none() | st.binary() | st.just(b"bob"),
    value=st.none()
    | st.binary()
    | st.builds(lambda extra: json.dumps(BODY | extra).encode(), st.dictionaries(
        st.sampled_from(["id", "time", "expirytime", "source"]), JSON)),
    headers=HEADERS.map(tuple),
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.none() | st.integers(-(2**63), 2**63 - 1),
)  # fmt: skip


@given(RECORDS)
def test_any_record_is_a_message_or_a_named_dead_letter(record: MadeRecord) -> None:
    """Bytes from anywhere raise nothing, and a message is stored and read back as it was (G9)."""
    result = decode_batch([record], 1, decode)

    assert len(result.entries) + len(result.dead_letters) == 1
    for letter in result.dead_letters:
        assert letter.reason is not DeadLetterReason.DECODER_FAILED
        assert letter.record is record
    for entry in result.entries:
        (made,) = decode(record, 1)
        assert messages_of(Bundle.of([entry], LogId(1, record.partition))) == [made]
        assert entry.bytes_max == message_bytes_max(made)


def test_a_batch_is_decoded_in_log_order() -> None:
    """One bad record holds up nothing (G9, G3)."""
    records = [MadeRecord(offset=n, key=b"" if n % 2 else b"bob") for n in range(5)]
    result = decode_batch(records, 1, decode)

    assert [entry.offset for entry in result.entries] == [0, 2, 4]
    assert [letter.record.offset for letter in result.dead_letters] == [1, 3]


def test_a_message_that_fits_no_item_is_too_large() -> None:
    """It is a dead letter before anything is written (G9)."""
    fits = MadeRecord(value=b"x" * (ITEM_BYTES_MAX - 1000))
    result = decode_batch([fits, MadeRecord(value=b"x" * ITEM_BYTES_MAX, offset=1)], 1, decode)

    assert len(result.entries) == 1
    assert [letter.reason for letter in result.dead_letters] == [DeadLetterReason.TOO_LARGE]


def test_a_message_that_fits_its_item_to_the_byte_is_delivered() -> None:
    """One byte more is too large (G9)."""
    empty = message(0, body=b"")
    room = ITEM_BYTES_MAX - item_bytes_max("bob", message_bytes_max(empty))

    def of_size(size: int) -> Decoded:
        made = replace(empty, body=b"x" * size)
        return decode_batch([MadeRecord()], 1, lambda record, epoch: [made])

    assert not of_size(room).dead_letters
    assert [letter.reason for letter in of_size(room + 1).dead_letters] == [
        DeadLetterReason.TOO_LARGE
    ]


def test_headers_count_towards_too_large() -> None:
    """The whole item is measured, not the body (G9)."""
    headers = tuple((f"h{n}", b"x" * 1000) for n in range(400))
    result = decode_batch([MadeRecord(headers=headers)], 1, decode)

    assert [letter.reason for letter in result.dead_letters] == [DeadLetterReason.TOO_LARGE]


def test_plain_records_take_the_quick_way_of_their_log() -> None:
    """Where the decoder has one: it is asked once for each batch, and makes the same."""
    asked = []

    class Quick:
        def __call__(self, record: Record, epoch: int) -> Sequence[Message]:
            raise AssertionError

        def plain(self, topic: str, epoch: int, partition: int) -> FastPath:
            asked.append((topic, epoch, partition))
            return decode.plain(topic, epoch, partition)

    records = [MadeRecord(offset=7), MadeRecord(offset=8)]
    made = decode_batch(records, 2, Quick())

    assert made == decode_batch(records, 2, lambda record, epoch: list(decode(record, epoch)))
    assert [entry.offset for entry in made.entries] == [7, 8]
    assert asked == [(TOPIC, 2, 3)]
    assert decode_batch([], 2, Quick()) == Decoded()


@pytest.mark.parametrize(
    ("made", "detail"),
    [
        ([message(0), message(0)], "for one user"),
        ([message(1)], "Position"),
        ([message(0, epoch=2)], "Position"),
        ([message(0, user_id="")], "empty"),
        ([message(0, user_id="\ud800")], "surrogates"),
    ],
)
def test_a_decoder_that_breaks_its_contract_has_failed(made: list[Message], detail: str) -> None:
    """What it made is not written: nothing else may assume a good decoder (G9)."""
    result = decode_batch([MadeRecord()], 1, lambda record, epoch: made)

    (letter,) = result.dead_letters
    assert not result.entries
    assert letter.reason is DeadLetterReason.DECODER_FAILED
    assert detail in letter.detail


def test_a_decoder_may_make_several_messages_or_none() -> None:
    """At most one per user is all that is assumed (G9)."""

    def fan_out(record: Record, epoch: int) -> list[Message]:
        return [message(record.offset, user) for user in ("ann", "bob")][: record.offset * 2]

    result = decode_batch([MadeRecord(), MadeRecord(offset=1)], 1, fan_out)

    assert [entry.user_id for entry in result.entries] == ["ann", "bob"]
    assert not result.dead_letters


def test_a_decoder_that_raises_has_failed() -> None:
    """Its fault is one record's, named by type and text (G9)."""

    def broken(record: Record, epoch: int) -> list[Message]:
        raise RuntimeError("no such thing")

    (letter,) = decode_batch([MadeRecord()], 1, broken).dead_letters

    assert letter.reason is DeadLetterReason.DECODER_FAILED
    assert letter.detail == "RuntimeError: no such thing"


def test_no_memory_is_not_the_records_fault() -> None:
    """The process ends and replays instead (G9)."""

    def full(record: Record, epoch: int) -> list[Message]:
        raise MemoryError

    with pytest.raises(MemoryError):
        decode_batch([MadeRecord()], 1, full)
