"""Which records a storm produces: drawn from its seed alone. Pure."""

import json
import random
from collections.abc import Iterator, Sequence

from tests.audit.journal import Header, Outgoing

#: Users; some are hot: the first has about a sixth of all records.
USERS = 200
#: Share of the records that are bad, over all reasons.
BAD_SHARE = 0.01
#: Share of the batches that are a burst of one chat, and how many records it has.
BURST_SHARE = 0.03
BURST_RECORDS = (20, 150)
#: Bytes of a body: a chat message; some are long enough to fill a bundle by bytes.
BODY_BYTES = (0, 300)
LONG_SHARE, LONG_BYTES = 0.005, (4_000, 20_000)
#: Bytes of a body that fits no item (400,000 is the limit) and still fits a record (1 MiB).
TOO_LARGE_BYTES = 420_000
#: Bytes of the longest user id, and one more.
USER_ID_BYTES_MAX = 1024

#: A body that begins so is refused by the store (the endpoint's poison) and by the decoder
#: (tests/storm/worker.py): reasons that no record of its own can force.
POISONOUS, UNDECODABLE = b"poisonous", b"undecodable "

#: How often one bad record of each reason is drawn among the bad ones; the large ones are costly.
BAD = {
    "no_user_id": 10, "user_id_too_long": 10, "user_id_not_utf8": 10, "no_body": 10,
    "too_large": 2, "malformed_cloudevent": 10, "rejected_by_store": 10, "decoder_failed": 10,
}  # fmt: skip


def users() -> list[str]:
    return [f"user-{n}" for n in range(USERS)]


class Traffic:
    """Batches of records, without end. Different names of one seed are different traffic."""

    def __init__(self, seed: int, name: str) -> None:
        self._draws = random.Random(f"traffic {seed} {name}")
        self._name = name
        self._number = 0
        self._users = users()
        self._weights = [1 / (n + 1) for n in range(USERS)]

    def batches(self, records_mean: int) -> Iterator[list[Outgoing]]:
        """Batches of about so many records; now and then a burst of one chat."""
        draws = self._draws
        while True:
            if draws.random() < BURST_SHARE:
                user = draws.choice(self._users)
                count = draws.randint(*BURST_RECORDS)
                yield [self._good(user) for _ in range(count)]
            else:
                yield [self._any() for _ in range(draws.randint(1, 2 * records_mean - 1))]

    def _any(self) -> Outgoing:
        (user,) = self._draws.choices(self._users, self._weights)
        if self._draws.random() < BAD_SHARE:
            (reason,) = self._draws.choices([*BAD], [*BAD.values()])
            return self._bad(user, reason)
        return self._good(user)

    def _good(self, user: str) -> Outgoing:
        """Plain, or a CloudEvent in binary or structured mode, each with a body of its own."""
        draws, key = self._draws, user.encode()
        mode = draws.random()
        if mode < 0.6:
            return _record(key, self._body())
        name = f"{self._name}-{self._number}"
        if mode < 0.9:
            headers: list[Header] = [
                ("ce_specversion", b"1.0"), ("ce_id", name.encode()), ("ce_source", b"/storm"),
                ("ce_type", b"chat.message"), ("traceparent", b"00-1"),
            ]  # fmt: skip
            return _record(key, self._body(), headers)
        self._number += 1
        event = {
            "specversion": "1.0", "id": name, "source": "/storm", "type": "chat.message",
            "data": "x" * draws.randint(*BODY_BYTES),
        }  # fmt: skip
        value = json.dumps(event).encode()
        return _record(key, value, [("content-type", b"application/cloudevents+json")])

    def _body(self, mark: bytes = b"") -> bytes:
        """Different from every other body of this traffic."""
        self._number += 1
        long = self._draws.random() < LONG_SHARE
        length = self._draws.randint(*(LONG_BYTES if long else BODY_BYTES))
        return mark + f"{self._name}-{self._number} ".encode() + b"." * length

    def _bad(self, user: str, reason: str) -> Outgoing:
        key, body = user.encode(), self._body()
        match reason:
            case "no_user_id":
                return _record(self._draws.choice([None, b""]), body, dead=reason)
            case "user_id_too_long":
                return _record(b"u" * (USER_ID_BYTES_MAX + 1), body, dead=reason)
            case "user_id_not_utf8":
                return _record(b"\xff\xfe" + key, body, dead=reason)
            case "no_body":
                return _record(key, None, dead=reason)
            case "too_large":
                return _record(key, body + b"." * TOO_LARGE_BYTES, dead=reason)
            case "malformed_cloudevent":
                return _record(key, body, [("ce_id", b"1")], dead=reason)
            case "rejected_by_store":
                return _record(key, self._body(POISONOUS), dead=reason)
            case "decoder_failed":
                return _record(key, self._body(UNDECODABLE), dead=reason)
        raise AssertionError(reason)


def _record(
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[Header] = (),
    dead: str | None = None,
) -> Outgoing:
    return Outgoing(key=key, value=value, headers=tuple(headers), dead=dead)
