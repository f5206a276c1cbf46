"""What a user receives, and its CloudEvents form."""

import base64
import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.message import STRUCTURED_CONTENT_TYPE, Message, is_structured
from poste_restante.position import Position
from poste_restante.strict_json import NESTING_MAX

POSITION = Position(1, 3, 42)


def made(**fields: Any) -> Message:
    return Message(**({"user_id": "bob", "id": "a", "body": b"hi", "position": POSITION} | fields))


def test_a_plain_message_gets_what_cloudevents_requires() -> None:
    """A record that brought nothing is an event all the same (G9)."""
    assert made().to_cloudevent() == {
        "specversion": "1.0",
        "id": "a",
        "source": "poste-restante",
        "type": "poste-restante.message",
        "data": "hi",
    }


def test_everything_the_producer_sent_as_an_event_is_in_it() -> None:
    """Fields, extensions and expiry; headers of others stay out (G9)."""
    event = made(
        source="/chat",
        type="chat.sent",
        time=datetime(2026, 1, 1, 12, 30, 0, 250_000, tzinfo=UTC),
        content_type="text/plain",
        headers=(
            ("ce_thread", b"7"),
            ("traceparent", b"00-x"),
            ("ce_expirytime", b"2026-02-01T00:00:00Z"),
            ("ce_thread", b"8"),
            ("ce_none", None),
        ),
    ).to_cloudevent()

    assert event == {
        "specversion": "1.0",
        "id": "a",
        "source": "/chat",
        "type": "chat.sent",
        "time": "2026-01-01T12:30:00.250000Z",
        "datacontenttype": "text/plain",
        "thread": "7",
        "expirytime": "2026-02-01T00:00:00Z",
        "data": "hi",
    }


def test_a_time_of_another_zone_keeps_it() -> None:
    """RFC 3339 either way (G9)."""
    time = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))

    assert made(time=time).to_cloudevent()["time"] == "2026-01-01T00:00:00+02:00"


@given(st.binary())
def test_any_body_can_be_had_back_from_the_event(body: bytes) -> None:
    """Text in `data`, everything else in `data_base64`, and the event is JSON (G9)."""
    event = json.loads(json.dumps(made(body=body).to_cloudevent()))

    assert ("data" in event) != ("data_base64" in event)
    if "data" in event:
        assert event["data"].encode() == body
    else:
        assert base64.b64decode(event["data_base64"]) == body


@pytest.mark.parametrize("name", ["id", "source", "specversion", "data", "data_base64", "type"])
def test_a_header_cannot_pass_for_a_field(name: str) -> None:
    """What the message says of itself comes first (G9)."""
    event = made(headers=((f"ce_{name}", b"forged"),)).to_cloudevent()

    assert "forged" not in event.values()


def test_a_structured_message_is_its_own_event() -> None:
    """Body and event are the same (G9)."""
    whole = {"specversion": "1.0", "id": "z", "source": "/s", "type": "t", "data": {"a": [1]}}
    message = made(
        body=json.dumps(whole).encode(), content_type="application/cloudevents+json; charset=utf-8"
    )

    assert message.to_cloudevent() == whole


@pytest.mark.parametrize(
    ("content_type", "structured"),
    [
        (None, False),
        ("", False),
        ("application/json", False),
        ("application/cloudevents+json", True),
        (" Application/CloudEvents+JSON ;charset=utf-8", True),
        ("application/cloudevents-batch+json", False),
        ("application/cloudevents+jsonx", False),
    ],
)
def test_structured_mode_is_told_by_the_content_type(
    content_type: str | None, structured: bool
) -> None:
    """Whatever its letters and parameters (G9)."""
    assert is_structured(content_type) is structured


def test_the_event_is_one_for_clients_that_we_did_not_write() -> None:
    """The CloudEvents SDK reads it (G9)."""
    ours = made(source="/chat", type="chat.sent", content_type="text/plain").to_cloudevent()
    event = JSONFormat().read(None, json.dumps(ours))

    assert (event.get_id(), event.get_source(), event.get_type()) == ("a", "/chat", "chat.sent")
    assert event.get_data() == "hi"


def test_a_message_is_frozen() -> None:
    """Two readers of one page cannot disturb each other (G5)."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().body = b"other"  # type: ignore[misc]


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8",
                                          "text/json", "application/vnd.chat+JSON"])  # fmt: skip
def test_a_json_body_is_a_json_value_of_the_event(content_type: str) -> None:
    """As the JSON format of CloudEvents wants it; the body itself stays byte for byte (G5)."""
    found = made(content_type=content_type, body=b'{"a": [1, 2.50]}')

    assert found.to_cloudevent()["data"] == {"a": [1, 2.5]}
    assert found.body == b'{"a": [1, 2.50]}'


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"NaN",
        b"-Infinity",
        b"[" * 100_000,
        b"[" * (NESTING_MAX + 1) + b"]" * (NESTING_MAX + 1),
        b"[1e400]",
        b'{"n": -1e400}',
        b"9" * 5000,
        b'{"a": 1, "b": {"c": 1, "c": 2}}',
        b'["\\ud800"]',
        b'{"\\uDFFF": 1}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_a_body_that_is_not_the_json_it_says_is_text(body: bytes) -> None:
    """Nothing that a producer claims makes a message unreadable (G9)."""
    event = made(content_type="application/json", body=body).to_cloudevent()

    assert event["data"] == body.decode()
    assert json.loads(json.dumps(event, allow_nan=False)) == event


def test_a_json_body_that_is_not_utf_8_is_base64() -> None:
    """JSON is UTF-8 (RFC 8259, 8.1): the worker's decoder takes nothing else either (G9)."""
    body = '{"a": 1}'.encode("utf-16")
    event = made(content_type="application/json", body=body).to_cloudevent()

    assert event["data_base64"] == base64.b64encode(body).decode()


@pytest.mark.parametrize(
    ("written", "handed_over"),
    [
        ("1e400", "1e400"),
        ("-1.5E+999", "-1.5E+999"),
        ("9" * 5000, "9" * 5000),
        ("1e-400", 0.0),
        ("-" + "9" * 308, int("-" + "9" * 308)),
        ("9007199254740993", 9007199254740993),
        (r'"\ud800!"', "\N{REPLACEMENT CHARACTER}!"),
        (r'{"\udc00": 1}', {"\N{REPLACEMENT CHARACTER}": 1}),
        (r'"\ud83d\udcec"', "\N{OPEN MAILBOX WITH RAISED FLAG}"),
        ('{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_what_python_cannot_write_as_json_is_text_in_a_structured_event(
    written: str, handed_over: object
) -> None:
    """The rest of the event is as it was; the body has the original (G9)."""
    body = f'{{"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {written}}}'
    found = made(body=body.encode(), content_type=STRUCTURED_CONTENT_TYPE)
    event = found.to_cloudevent()

    assert event["data"] == handed_over
    assert json.dumps(event, allow_nan=False, ensure_ascii=False).encode()
    assert found.body == body.encode()


@pytest.mark.parametrize(
    "body", [b'{"data": ' + b"[" * 970 + b"]" * 970 + b"}", b"[]", b'{"id": NaN}', b"\xff", b"{"]
)
def test_a_structured_body_that_no_decoder_takes_is_a_body_as_any(body: bytes) -> None:
    """One that a worker of another version has stored: shown, not an error (G9)."""
    event = made(body=body, content_type=STRUCTURED_CONTENT_TYPE).to_cloudevent()

    assert event["id"] == "a"
    assert ("data" in event) != ("data_base64" in event)
    assert json.dumps(event, allow_nan=False)


def test_a_header_without_a_name_behind_its_prefix_is_no_attribute() -> None:
    """An attribute has a name (G9)."""
    assert "" not in made(headers=(("ce_", b"x"),)).to_cloudevent()
