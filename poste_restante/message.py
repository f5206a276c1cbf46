"""A message of a mailbox, and its CloudEvents JSON form."""

import base64
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from poste_restante import strict_json
from poste_restante.position import Position

#: Content type of an event whose body is the whole event (CloudEvents Kafka binding, 3.3).
STRUCTURED_CONTENT_TYPE = "application/cloudevents+json"
#: Headers of the CloudEvents Kafka binding begin with this (binding, 3.2).
CE_PREFIX = "ce_"

#: `type` and `source` of a record without them: CloudEvents 1.0 requires both.
DEFAULT_TYPE = "poste-restante.message"
DEFAULT_SOURCE = "poste-restante"

Header = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a mailbox, as the producer sent it.

    user_id: of the mailbox.
    id: the producer's (`ce_id`), else the position: `topic/epoch/partition/offset`.
    source, type: the producer's (`ce_source`, `ce_type`), else None. Only a message with a source
        is deduplicated, by (source, id, body).
    time: `ce_time`, else the record's timestamp; aware, cut to microseconds; None where that cannot
        be true.
    content_type: the header `content-type`, else None.
    body: the record's value, byte for byte. In structured mode that is the whole event.
    headers: the other headers, in order, with repeated names and null values; extension attributes
        (`ce_...`) and `ce_expirytime` are among them.
    expires_at: aware; None: it does not expire. Readers do not return it at or after that time.
    position: (epoch, partition, offset).
    """

    user_id: str
    id: str
    source: str | None = None
    type: str | None = None
    time: datetime | None = None
    content_type: str | None = None
    body: bytes
    headers: tuple[Header, ...] = ()
    expires_at: datetime | None = None
    position: Position

    def to_cloudevent(self) -> dict[str, Any]:
        """Return the event in the CloudEvents 1.0 JSON format, as a dict for `json.dumps`.

        A structured-mode message is its own body. Otherwise the body is in `data`: as a JSON value
        if the content type is JSON and a Python value carries all of it, else as text if it is
        UTF-8; or in `data_base64` (JSON format, 3.1). A record without `ce_source` or `ce_type`
        gets the defaults of this module. Headers whose names are not CloudEvents' are left out.

        In a structured event, a number that Python cannot write as JSON, such as 1e400, becomes its
        text, and half of a surrogate pair becomes U+FFFD. `body` has the original.
        """
        if is_structured(self.content_type):
            with suppress(ValueError):  # an older decoder accepted it: treat it as any body
                event = strict_json.parse_event(self.body)
                return dict(strict_json.without_surrogates(event))
        event = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source or DEFAULT_SOURCE,
            "type": self.type or DEFAULT_TYPE,
        }
        if self.time is not None:
            event["time"] = self.time.isoformat().replace("+00:00", "Z")
        if self.content_type is not None:
            event["datacontenttype"] = self.content_type
        for name, value in self._attributes():
            event.setdefault(name, value)
        event |= _data(self.body, self.content_type)
        return event

    def _attributes(self) -> Iterator[tuple[str, str]]:
        for name, value in self.headers:
            if name.startswith(CE_PREFIX) and value is not None:
                attribute = name.removeprefix(CE_PREFIX)
                if attribute and attribute not in {"data", "data_base64"}:
                    yield attribute, value.decode(errors="replace")


def _data(body: bytes, content_type: str | None) -> Mapping[str, Any]:
    if is_json(content_type):
        with suppress(ValueError):  # invalid, or not exact in Python: return text
            return {"data": strict_json.parse_exact(body)}
    return text_or_base64(body)


def text_or_base64(body: bytes) -> Mapping[str, str]:
    """Return a body as the `data` or `data_base64` member of a CloudEvent in JSON."""
    try:
        return {"data": body.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(body).decode()}


def is_json(content_type: str | None) -> bool:
    """Return whether this content type is JSON: subtype `json`, or one that ends in `+json`."""
    subtype = (content_type or "").partition(";")[0].strip().lower().partition("/")[2]
    return subtype == "json" or subtype.endswith("+json")


def is_structured(content_type: str | None) -> bool:
    """Return whether a body of this content type is a whole CloudEvent in JSON."""
    if content_type is None:
        return False
    return content_type.partition(";")[0].strip().lower() == STRUCTURED_CONTENT_TYPE
