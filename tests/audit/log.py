"""The topic and its dead letters, as the broker holds them; pure.

Whether a record is bad is what its producer said it would be, or, where nobody did, the rules of
docs/format.md that need no decoder.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.audit.journal import AUDIT_HEADER, Header, Produced

#: What the worker adds to a dead letter, behind the record's own headers (docs/format.md).
_DEAD_LETTER_HEADERS = (
    "dead-letter-reason", "dead-letter-detail", "dead-letter-topic",
    "dead-letter-partition", "dead-letter-offset",
)  # fmt: skip
_USER_ID_BYTES_MAX = 1024

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LogRecord:
    """number: of its sending; None: not by an audited producer. user: whose mailbox; None:
    nobody's. dead: the reason of the dead letter it must be. perhaps: it may be one or not.
    identity: what a resend has in common with it. copy: of key, value, headers and timestamp."""

    number: int | None
    user: str | None
    dead: str | None
    perhaps: bool
    body: int
    identity: bytes | None
    copy: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """reason: its header. copy: as of the record that it should be, byte for byte."""

    reason: str
    copy: bytes


@dataclass
class Truth:
    """Everything in the log, and every dead letter. Of one epoch of the topic.

    origins: per partition, below which nothing is expected in mailboxes (0 unless a test says so).
    """

    epoch: int = 1
    records: dict[int, dict[int, LogRecord]] = field(default_factory=dict)
    dead: dict[Place, list[DeadLetter]] = field(default_factory=dict)
    origins: Mapping[int, int] = field(default_factory=dict)

    def count(self) -> int:
        return sum(map(len, self.records.values()))


def log_record(
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[Header],
    timestamp_ms: int,
    produced: Mapping[int, Produced],
) -> LogRecord:
    """One record of the topic."""
    number = _number(headers)
    sent = produced.get(number) if number is not None else None
    user, reason = _user(key)
    if value is None:
        reason = "no_body"
    if sent is not None:
        reason = sent.outgoing.dead
    named = dict(headers)
    source, own_id = named.get("ce_source"), named.get("ce_id")
    identity = None
    if source is not None and own_id is not None:
        identity = hashlib.sha256(repr((source, own_id, value)).encode()).digest()[:16]
    return LogRecord(
        number=None if sent is None else sent.number,
        user=user,
        dead=reason,
        perhaps=sent is not None and sent.outgoing.perhaps,
        body=zlib.crc32(value or b""),
        identity=identity,
        copy=_copy(key, value, headers, timestamp_ms),
    )


def dead_letter(
    key: bytes | None, value: bytes | None, headers: Sequence[Header], timestamp_ms: int
) -> tuple[Place | None, DeadLetter]:
    """A record of the dead-letter topic, and where it stood; None: it does not say."""
    own, added = headers[:-5], dict(headers[-5:])
    if tuple(name for name, _ in headers[-5:]) != _DEAD_LETTER_HEADERS:
        return None, DeadLetter("", b"")
    place = (
        int(added["dead-letter-partition"] or b""),
        int(added["dead-letter-offset"] or b""),
    )
    reason = (added["dead-letter-reason"] or b"").decode()
    return place, DeadLetter(reason, _copy(key, value, own, timestamp_ms))


def _number(headers: Sequence[Header]) -> int | None:
    for name, value in headers:
        if name == AUDIT_HEADER and value is not None and value.isdigit():
            return int(value)
    return None


def _user(key: bytes | None) -> tuple[str | None, str | None]:
    """Whose it is, and the reason if nobody's."""
    if not key:
        return None, "no_user_id"
    if len(key) > _USER_ID_BYTES_MAX:
        return None, "user_id_too_long"
    try:
        return key.decode(), None
    except UnicodeDecodeError:
        return None, "user_id_not_utf8"


def _copy(
    key: bytes | None, value: bytes | None, headers: Sequence[Header], timestamp_ms: int
) -> bytes:
    parts = repr((key, value, [tuple(header) for header in headers], timestamp_ms))
    return hashlib.sha256(parts.encode()).digest()[:16]
