"""What the test vectors in `tests/vectors/` are made from: tables, and what is done to them.

A step is what a driver of a reader takes (`examples/*`): `do`, `user`, and where they matter
`device`, `limit`, `start`, and `receipt`, the number of the fetch whose receipt is meant. `put` is
a worker's write, or a table that somebody damaged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from poste_restante.item import Item, encode_bundle
from poste_restante.message import Message
from poste_restante.position import CURSOR_KEY, LogId, mailbox_key
from poste_restante.table import TableRecord
from tests.records import TOPIC, message

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = TableRecord(
    table_id="5f0e6d4c3b2a19087f6e5d4c3b2a1908", topic=TOPIC, partitions=12, epoch=1
)

Step = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One vector. about: which rule it holds readers to.

    queries: whether every reader makes the same Queries. It does not where several logs begin with
    what the cursor hides: how much to ask for then is its choice.
    """

    name: str
    about: str
    items: Sequence[Item]
    steps: Sequence[Step] = field(default_factory=tuple)
    queries: bool = True


def bundle(*offsets: int, partition: int = 3, epoch: int = 1, user: str = "bob") -> Item:
    """The item of one bundle of plain records."""
    return encode_bundle([_message(o, partition, epoch, user) for o in offsets], TOPIC)


def cursor(device: str = "", user: str = "bob", **logs: int) -> Item:
    """A cursor. logs: `e1p3=7`."""
    named = {LogId(*map(int, name[1:].split("p"))).encode(): at for name, at in logs.items()}
    return {
        "user_id": {"S": mailbox_key(user)},
        "position": {"S": CURSOR_KEY + device},
        **{log: {"N": str(at)} for log, at in named.items()},
    }


def put(*items: Item) -> Step:
    return {"do": "put", "items": list(items)}


def fetch(user: str = "bob", **more: Any) -> Step:
    return {"do": "fetch", "user": user, **more}


def ack(receipt: int, user: str = "bob", **more: Any) -> Step:
    return {"do": "ack", "user": user, "receipt": receipt, **more}


def device(do: str, name: str, **more: Any) -> Step:
    return {"do": do, "user": "bob", "device": name, **more}


DEVICES: Step = {"do": "devices", "user": "bob"}


def _message(offset: int, partition: int, epoch: int, user: str) -> Message:
    return message(offset, user, partition=partition, epoch=epoch)


def _event(offset: int, **changes: Any) -> Message:
    return replace(
        message(offset), id=f"m-{offset}", source="/chat", type="chat.message",
        content_type="text/plain", time=NOW - timedelta(minutes=1), **changes,
    )  # fmt: skip


def _of_another_version(item: Item) -> Item:
    return {**item, "v": {"N": "2"}}


CASES = (
    Case("empty", "A mailbox without items is an empty page.", (), (fetch(),)),
    Case(
        "one-page", "Everything that a message carries is returned as it was.",
        (
            encode_bundle([
                replace(
                    message(40, body=b"\x00\xff"), time=None,
                    headers=(("traceparent", b"00"), ("", None), ("a", b""), ("a", b"\xff")),
                ),
                _event(42, body="wie geht's, Łukasz?".encode()),
            ], TOPIC),
            bundle(57, 60),
        ),
        (fetch(), ack(0), fetch(), ack(0)),
    ),
    Case(
        "unknown-attributes", "Attributes that are not listed are ignored.",
        ({**bundle(7), "colour": {"S": "red"}}, {**cursor(e1p3=3), "note": {"S": "x"}}),
        (fetch(), ack(0)),
    ),
    Case(
        "escaped-user", "A user id that begins with ! has one more in front.",
        (bundle(1, user="!bob"), bundle(2)), (fetch("!bob"), ack(0, "!bob"), fetch("!bob")),
    ),
    Case(
        "purged", "A raised cursor does not expire; a device's begins at what was purged.",
        (
            {**cursor(e1p3=5, e1p4=9), "purged_at": {"N": "1"}, "expires_at": {"N": "2"},
             "purged.0001.00003": {"N": "5"}, "purged.0001.00004": {"N": "9"}},
            bundle(4, 5, 6),
        ),
        (
            fetch(device="pad"), ack(0, device="pad"), fetch(), ack(1),
            device("add_device", "phone", start="oldest"), fetch(device="phone"),
            put(bundle(3), bundle(8, partition=4), bundle(10, partition=4)),
            fetch(device="pad"), fetch(device="phone"), fetch(),
        ),
        queries=False,
    ),
    Case(
        "overlap", "Bundles overlap after a replay: drop what was passed.",
        (bundle(1, 2), bundle(1, 2, 3), bundle(2, 3, 4, 5), bundle(5)), (fetch(), fetch(limit=3)),
    ),
    Case(
        "within-the-cursor", "A bundle that the cursor cuts is read, and its head dropped.",
        (cursor(e1p3=2), bundle(1, 2), bundle(2, 3), bundle(4)), (fetch(), ack(0)),
    ),
    Case(
        "skip", "Acknowledged bundles are skipped: two Queries, however many there are.",
        (cursor(e1p3=139), *(bundle(n, n + 1) for n in range(100, 150, 2))), (fetch(), ack(0)),
    ),
    Case(
        "skip-all", "Everything stored is acknowledged.",
        (cursor(e1p3=139), *(bundle(n, n + 1) for n in range(100, 140, 2))), (fetch(),),
    ),
    Case(
        "skip-in-each-log", "Each log is skipped on its own, epochs after each other.",
        (
            cursor(e1p3=5, e1p7=30, e2p3=1),
            *(bundle(n) for n in range(8)),
            *(bundle(n, partition=7) for n in range(27, 33)),
            *(bundle(n, epoch=2) for n in range(4)),
        ),
        (fetch(), ack(0), fetch()),
        queries=False,
    ),
    Case(
        "new-log", "A log that the cursor does not name is read from its start.",
        (cursor(e1p3=5), bundle(5), bundle(3, partition=4)), (fetch(), ack(0)),
    ),
    Case(
        "pages", "A page may end within a bundle; the next one goes on there, and covers both.",
        (cursor(e1p3=2), bundle(0, 1, 2), bundle(4, 5, 6, 7), bundle(9), bundle(1, partition=8)),
        (
            fetch(limit=2), fetch(limit=2, receipt=0), put(bundle(6, 7, 9, 11)),
            fetch(limit=3, receipt=1), ack(1), fetch(), ack(2), ack(0), fetch(),
        ),
    ),
    Case(
        "acknowledged-meanwhile", "The cursor is read again for each page.",
        (bundle(1), bundle(2), bundle(3), bundle(4)),
        (fetch(limit=1), fetch(limit=3), ack(1), fetch(limit=1, receipt=0)),
    ),
    Case(
        "expired", "What has expired is passed, and not shown.",
        (
            encode_bundle(
                [_event(1, expires_at=NOW), _event(2, expires_at=NOW + timedelta(1))], TOPIC
            ),
            encode_bundle([_event(3, expires_at=NOW - timedelta(1))], TOPIC),
        ),
        (fetch(), ack(0)),
    ),
    Case(
        "resent", "A producer's resend is shown once in a page: same source, id and body.",
        (
            encode_bundle([_event(1), _event(2, body=b"x")], TOPIC),
            encode_bundle([replace(_event(1), position=message(3).position)], TOPIC),
            encode_bundle([replace(_event(2, body=b"y"), position=message(4).position)], TOPIC),
        ),
        (fetch(), ack(0)),
    ),
    Case(
        "another-version", "A page ends before an item of another version, never behind it.",
        (bundle(1), _of_another_version(bundle(2)), bundle(3)),
        (fetch(), ack(0), fetch(), put(bundle(2)), fetch()),
    ),
    Case(
        "damaged", "An item that holds other offsets than its key says cannot be read.",
        (bundle(1), {**bundle(2), "messages": bundle(4)["messages"]}, bundle(3)), (fetch(),),
    ),
    Case(
        "hidden-and-damaged", "What the cursor hides is judged by its key, and never parsed.",
        (cursor(e1p3=2), _of_another_version(bundle(2)), bundle(3)), (fetch(),),
    ),
    Case(
        "devices", "Each device has a cursor of its own; none disturbs another.",
        (bundle(1), bundle(2), bundle(3)),
        (
            device("add_device", "phone", start="oldest"),
            device("add_device", "phone", start="newest"),
            fetch(), ack(0), fetch(device="phone"), fetch(device="laptop"), fetch(),
            fetch(device="phone", limit=1), ack(4, device="phone"), fetch(device="phone"),
            DEVICES, device("remove_device", "phone"), fetch(device="phone"), DEVICES,
        ),
    ),
    Case(
        "device-without-cursor", "Its first acknowledgement makes its cursor, whole.",
        (cursor(e1p3=2, e1p7=9), bundle(2), bundle(3), bundle(9, partition=7)),
        (
            fetch(device="phone"), ack(0, device="phone"), fetch(), ack(1),
            put(bundle(4), bundle(5, partition=7)), fetch(device="phone"), DEVICES,
            ack(2, device="phone"), fetch(device="phone"), fetch(),
        ),
        queries=False,
    ),
    Case(
        "device-overtaken",
        "Behind an account that is ahead of the page, a device acknowledges what it was shown.",
        (*(bundle(n) for n in range(6)), bundle(9, partition=7)),
        (
            fetch(device="phone", limit=1), fetch(device="phone", limit=3),
            fetch(device="pad", limit=2), fetch(device="tv", limit=3),
            fetch(limit=6), ack(4),
            fetch(device="phone", limit=2, receipt=1), fetch(device="pad", limit=2, receipt=2),
            fetch(device="tv", limit=2, receipt=3),
            ack(0, device="phone"), device("add_device", "pad", start="oldest"),
            ack(5, device="phone"), ack(6, device="pad"), ack(7, device="tv"),
            ack(5, device="phone"),
            fetch(device="phone"), fetch(device="pad"), fetch(device="tv"), DEVICES,
        ),
        queries=False,
    ),
    Case(
        "device-starts", "A device begins at the oldest, behind the newest, or at the account's.",
        (
            cursor(e1p3=2), bundle(1), bundle(2), bundle(3), bundle(7, partition=7),
            bundle(1, epoch=2),
        ),
        (
            device("add_device", "a", start="oldest"), fetch(device="a"),
            device("add_device", "b", start="newest"), fetch(device="b"),
            device("add_device", "c", start="account"), fetch(device="c"),
            put(bundle(4), bundle(8, partition=7)),
            fetch(device="a"), fetch(device="b"), fetch(device="c"), DEVICES,
        ),
        queries=False,
    ),
    Case(
        "many-devices", "Cursors of other devices stand in front of the bundles.",
        (*(cursor(f"device-{n}", e1p3=n) for n in range(9)), *(bundle(n) for n in range(6, 9))),
        (fetch(), fetch(device="device-7"), fetch(device="device-99"), DEVICES),
    ),
)  # fmt: skip
