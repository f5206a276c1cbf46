"""The wire format: CloudEvents' Kafka binding, both modes, and plain keyed records. Pure.

    key                      user id, UTF-8, 1 to 1024 bytes
    value                    body, unchanged
    content-type             the body's type; application/cloudevents+json: structured mode
    ce_id, ce_source         both or neither; neither: a plain record
    ce_type, ce_time, ce_expirytime, ce_specversion      optional
    every other header       returned to readers

(CloudEvents 1.0.2, "Kafka Protocol Binding": header names are case-sensitive and lower-case.)
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import NoReturn, final

from poste_restante import strict_json
from poste_restante.item import from_milliseconds
from poste_restante.message import Message, is_structured
from poste_restante.position import USER_ID_BYTES_MAX, Position
from worker.errors import BadRecord, DeadLetterReason
from worker.fast_path import FastPath
from worker.record import TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN, Record, RecordHeader

SPEC_VERSION = "1.0"
CONTENT_TYPE = "content-type"

#: Attributes that the decoder reads. In binary mode each may be given once.
_READ = ("id", "source", "type", "time", "expirytime")
#: Headers that fields of a message replace. `ce_expirytime` stays a header, because a message's
#: expiry is the earlier of it and the retention's.
_HELD = frozenset({"ce_id", "ce_source", "ce_type", "ce_time", "ce_specversion"})

_RFC_3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_LEAP_SECOND = 60


@dataclass(frozen=True, slots=True)
class _Event:
    """The attributes of a record. All None: a plain record."""

    id: str | None = None
    source: str | None = None
    type: str | None = None
    time: datetime | None = None
    expiry: datetime | None = None


_PLAIN = _Event()


@final  # plain records would bypass a subclass: see `plain`
class CloudEventsDecoder:
    """Decodes the wire format: exactly one message per record.

    retention: a message expires this long after its record's timestamp, or at `ce_expirytime` if
    that is earlier. It uses no clock.
    """

    def __init__(self, retention: timedelta) -> None:
        self._retention = retention

    def __call__(self, record: Record, epoch: int) -> Sequence[Message]:
        user_id = _user_id(record.key)
        if record.value is None:
            raise BadRecord(DeadLetterReason.NO_BODY, "the value is null")
        headers: Sequence[RecordHeader] = record.headers
        content_type, event = None, _PLAIN
        if headers:  # many records have none
            content_type = _content_type(headers)
            if content_type is not None:
                headers = [header for header in headers if header[0] != CONTENT_TYPE]
            if is_structured(content_type):
                event = _structured(record.value)
            else:
                event, headers = _binary(headers)
        sent = _sent_at(record.timestamp)
        position = Position(epoch, record.partition, record.offset)
        message = Message(
            user_id=user_id,
            id=position.id(record.topic) if event.id is None else event.id,
            source=event.source,
            type=event.type,
            time=sent if event.time is None else event.time,
            content_type=content_type,
            body=record.value,
            headers=tuple((name, value) for name, value in headers) if headers else (),
            expires_at=self._expiry(sent, event.expiry),
            position=position,
        )
        return (message,)

    def plain(self, topic: str, epoch: int, partition: int) -> FastPath:
        """Return the fast path for the plain records of a partition log."""
        return FastPath(topic, epoch, partition, self._retention)

    def _expiry(self, sent: datetime | None, wanted: datetime | None) -> datetime | None:
        kept_until = None
        if sent is not None:
            try:
                kept_until = sent + self._retention
            except OverflowError:  # beyond the year 9999: never
                kept_until = None
        if kept_until is None or (wanted is not None and wanted < kept_until):
            kept_until = wanted
        if kept_until is None:
            return None
        # Milliseconds, as stored, so that a message is the same before and after.
        finer = kept_until.microsecond % 1000
        return kept_until - timedelta(microseconds=finer) if finer else kept_until


def _user_id(key: bytes | None) -> str:
    if not key:
        raise BadRecord(
            DeadLetterReason.NO_USER_ID, "the key is null" if key is None else "an empty key"
        )
    if len(key) > USER_ID_BYTES_MAX:
        detail = f"a key of {len(key)} bytes; at most {USER_ID_BYTES_MAX} are allowed"
        raise BadRecord(DeadLetterReason.USER_ID_TOO_LONG, detail)
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        detail = f"the key is not UTF-8 at byte {error.start}"
        raise BadRecord(DeadLetterReason.USER_ID_NOT_UTF8, detail) from error


def _content_type(headers: Sequence[RecordHeader]) -> str | None:
    """Return the body's type. An unreadable one counts as none and stays a header: the body is
    intact."""
    found = [value for name, value in headers if name == CONTENT_TYPE]
    if len(found) != 1 or not found[0]:
        return None
    try:
        return found[0].decode()
    except UnicodeDecodeError:
        return None


def _binary(headers: Sequence[RecordHeader]) -> tuple[_Event, Sequence[RecordHeader]]:
    """Return the event of a record in binary mode, or a plain one, and the headers for readers."""
    given: dict[str, list[bytes | None]] = {}
    for name, value in headers:
        if name.startswith("ce_"):
            given.setdefault(name.removeprefix("ce_"), []).append(value)
    if "id" not in given and "source" not in given:
        return _plain(given), headers
    texts = {name: _text(f"ce_{name}", given[name]) for name in _READ if name in given}
    for version in given.get("specversion", ()):
        if version != SPEC_VERSION.encode():
            _malformed(f"ce_specversion is not {SPEC_VERSION}")
    for name in ("id", "source"):
        if name not in texts:
            _malformed(f"ce_{name} is missing")
    rest = [header for header in headers if header[0] not in _HELD]
    return _event(texts, "ce_"), rest


def _plain(given: Mapping[str, list[bytes | None]]) -> _Event:
    """Return the attributes of a record that does not claim to be an event.

    It cannot be malformed: its headers are passed on, and a readable expiry applies.
    """
    try:
        return _Event(expiry=_time("", _text("", given.get("expirytime", []))))
    except BadRecord:
        return _PLAIN


def _text(name: str, values: Sequence[bytes | None]) -> str:
    if len(values) != 1:
        _malformed(f"{name} is given {len(values)} times")
    if not values[0]:
        _malformed(f"{name} is null or empty")
    try:
        return values[0].decode()
    except UnicodeDecodeError:
        _malformed(f"{name} is not UTF-8")


def _structured(body: bytes) -> _Event:
    """Return the event of a body that is a whole CloudEvent in JSON."""
    try:
        event = strict_json.parse_event(body)
    except UnicodeDecodeError:
        _malformed("the event is not UTF-8")
    except ValueError as error:
        _malformed(f"the event is not JSON that we take: {error}")
    for name in ("id", "source", "type", "specversion"):
        if name not in event:
            _malformed(f"{name} is missing")
    texts: dict[str, str] = {}
    for name in (*_READ, "specversion"):
        if event.get(name) is None and name in ("time", "expirytime"):
            continue  # JSON format, 2.2: null means absent
        value = event[name]
        # A NumberText is a number. The store does not accept a lone surrogate.
        if type(value) is not str or not value or strict_json.has_surrogate(value):
            _malformed(f"{name} is not a text")
        texts[name] = value
    if texts["specversion"] != SPEC_VERSION:
        _malformed(f"specversion is not {SPEC_VERSION}")
    return _event(texts, "")


def _event(texts: Mapping[str, str], prefix: str) -> _Event:
    times = {
        name: _time(f"{prefix}{name}", texts[name])
        for name in ("time", "expirytime")
        if name in texts
    }
    return _Event(
        id=texts["id"],
        source=texts["source"],
        type=texts.get("type"),
        time=times.get("time"),
        expiry=times.get("expirytime"),
    )


def _time(name: str, text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise BadRecord(DeadLetterReason.MALFORMED_CLOUDEVENT, f"{name} is {error}") from error


def parse_time(text: str) -> datetime:
    """Return an RFC 3339 time in UTC. Digits below a microsecond are cut off; a leap second is the
    second after it. Raises ValueError, without the text."""
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise ValueError("no RFC 3339 time")
    *numbers, fraction, sign, hours, minutes = match.groups()
    year, month, day, hour, minute, second = map(int, numbers)
    leap = second == _LEAP_SECOND
    zone = UTC
    try:
        if sign is not None:
            offset = timedelta(hours=_below(24, hours), minutes=_below(60, minutes))
            zone = timezone(-offset if sign == "-" else offset)
        time = datetime(
            year, month, day, hour, minute, second - leap, int((fraction or "0")[:6].ljust(6, "0")),
            zone,
        )  # fmt: skip
        return (time + timedelta(seconds=leap)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("a time that does not exist, or beyond the years 1 to 9999") from error


def _below(limit: int, digits: str) -> int:
    if int(digits) >= limit:
        raise ValueError("an offset that does not exist")
    return int(digits)


def _sent_at(timestamp_ms: int | None) -> datetime | None:
    """Return a record's timestamp; None if it is implausible."""
    if timestamp_ms is None or not TIMESTAMP_MS_MIN <= timestamp_ms <= TIMESTAMP_MS_MAX:
        return None
    return from_milliseconds(timestamp_ms)


def _malformed(detail: str) -> NoReturn:
    raise BadRecord(DeadLetterReason.MALFORMED_CLOUDEVENT, detail)
