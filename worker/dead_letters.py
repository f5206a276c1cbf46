"""Dead letters: records that could not become messages, and the port to their topic.

A dead letter is the unchanged record (key, value, headers, timestamp) with five more headers:

    dead-letter-reason      one of `errors.DeadLetterReason`
    dead-letter-detail      the error, at most 1 KiB, never the body
    dead-letter-topic, dead-letter-partition, dead-letter-offset      the record's place
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.errors import DeadLetterReason
from worker.record import Record, RecordHeader

logger = logging.getLogger(__name__)

#: Bytes of a detail in UTF-8. With the other headers, a dead letter stays within the 64 KiB by
#: which its topic accepts more than the source topic.
DETAIL_BYTES_MAX = 1024


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not become a message, and the reason."""

    record: Record
    reason: DeadLetterReason
    detail: str


def dead_letter_headers(letter: DeadLetter) -> list[RecordHeader]:
    """Return the record's own headers, unchanged, then those of the dead letter.

    A record that was a dead letter before keeps the older ones. The last of a name counts.
    """
    record = letter.record
    return [
        *record.headers,
        ("dead-letter-reason", letter.reason.encode()),
        ("dead-letter-detail", _truncate(letter.detail)),
        ("dead-letter-topic", record.topic.encode()),
        ("dead-letter-partition", str(record.partition).encode()),
        ("dead-letter-offset", str(record.offset).encode()),
    ]


def _truncate(detail: str) -> bytes:
    """Return at most DETAIL_BYTES_MAX bytes of UTF-8, of whole characters."""
    encoded = detail.encode(errors="replace")[:DETAIL_BYTES_MAX]
    return encoded.decode(errors="ignore").encode()


class DeadLetters(Protocol):
    """The port to the dead-letter topic."""

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        """Return when all in-sync replicas have acknowledged every letter.

        Waits without end for an unavailable broker. A repetition makes a second copy. Raises
        OperatorError for a permanent refusal.
        """
        ...
