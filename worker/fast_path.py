"""The fast path of a plain record: from its bytes to its entry in one pass. Pure.

Most records have a key, a body, a timestamp and no header. For these, `FastPath` makes the entry
that the decoder and `entry_of` would make, without a message or a time, and leaves all other
records to them. It is the one place beside `poste_restante.item.encode_message` that writes the
stored form of a message, because that saves a third of the processor time of a skewed load
(benchmarks/README.md). A property test holds both equal (tests/unit/test_fast_path.py).
"""

from binascii import b2a_base64
from datetime import timedelta

from poste_restante.item import ITEM_BYTES_MAX, MESSAGE_OVERHEAD_BYTES, item_bytes_max
from poste_restante.position import USER_ID_BYTES_MAX, Position, utf8_bytes
from worker.entry import Entry
from worker.record import TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN, Record

_MILLISECOND = timedelta(milliseconds=1)
#: Above this a message may not fit its item, depending on the user id.
_BYTES_MAX = ITEM_BYTES_MAX - item_bytes_max("!" * USER_ID_BYTES_MAX, 0)


class FastPath:
    """The plain records of one partition log. retention: as of the decoder."""

    def __init__(self, topic: str, epoch: int, partition: int, retention: timedelta) -> None:
        self._retention_ms = retention // _MILLISECOND
        #: The last timestamp whose expiry is a representable time.
        self._sent_ms_max = TIMESTAMP_MS_MAX - max(0, self._retention_ms) - 1
        # Bytes of a message without its body and the digits of its offset.
        own_id = Position(epoch, partition, 0).id(topic)
        self._overhead = MESSAGE_OVERHEAD_BYTES + utf8_bytes(own_id) - 1

    def entry(self, record: Record) -> Entry | None:
        """Return the entry of a record; None: the record is not plain, or the decoder must judge
        it. Raises nothing."""
        key, body, sent_ms = record.key, record.value, record.timestamp
        if (
            record.headers
            or not key
            or body is None
            or sent_ms is None
            or not TIMESTAMP_MS_MIN <= sent_ms <= self._sent_ms_max
            or len(key) > USER_ID_BYTES_MAX
        ):
            return None
        try:
            user_id = key.decode()
        except UnicodeDecodeError:
            return None
        offset = record.offset
        size = self._overhead + len(str(offset)) + len(body)
        if size > _BYTES_MAX:
            return None
        expires_at_ms = sent_ms + self._retention_ms
        content = b2a_base64(body, newline=False).decode("ascii")
        return Entry(
            user_id,
            offset,
            size,
            expires_at_ms,
            f'{{"M":{{"o":{{"N":"{offset}"}},"b":{{"B":"{content}"}},'
            f'"t":{{"N":"{sent_ms}000"}},"e":{{"N":"{expires_at_ms}"}}}}}}',
        )
