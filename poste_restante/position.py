"""Positions, windows, and the encoding and parsing of the table's two keys.

A *position* is the place of a message in the log: (epoch, partition, offset). A *window* is a run
of 10,000 consecutive offsets of one partition. A bundle never crosses a window border.

Keys of the table `mailboxes` (docs/format.md is the contract for readers in other languages):

    user_id     position                                              item
    bob         !                                                     cursor of bob's account
    bob         !phone                                                cursor of bob's device "phone"
    bob         0001.00003.0000000000000000042.0000000000000000040    bundle: offsets 40 to 42
    !!bob       ...                                                   user "!bob": one "!" more
    !table      !                                                     table record
    !progress/undelivered-messages/3   !                              progress of partition 3

A bundle's key has its last offset before its first one, so a new message sorts after every visible
one.
"""

import re
from typing import NamedTuple, Self

#: Consecutive offsets in a window. Part of the stored format, never a setting: workers of
#: different versions must agree on the borders that no bundle crosses.
WINDOW_SIZE = 10_000

#: Widths of the zero-padded numbers in a bundle key, so that keys sort as the numbers do.
EPOCH_DIGITS, PARTITION_DIGITS, OFFSET_DIGITS = 4, 5, 19
EPOCH_MAX = 10**EPOCH_DIGITS - 1
PARTITION_MAX = 10**PARTITION_DIGITS - 1
#: Kafka's offsets are signed 64-bit numbers: 19 digits.
OFFSET_MAX = 2**63 - 1

#: Sort key of the account's cursor; `!<device>` is the cursor of a device. Cursors sort before
#: every bundle ("!" < "0" in UTF-8), so that the first Query of a reconnect returns them first.
CURSOR_KEY = "!"
#: Characters of a device's name. All of them sort below "~".
DEVICE_NAME_MAX = 64

#: Prefix of the system's partition keys. A user's key that has it gets one more.
SYSTEM_PREFIX = "!"
#: Partition key of the table record.
TABLE_RECORD_KEY = "!table"

#: Bytes of a user id in UTF-8. DynamoDB allows 2,048 bytes of partition key (API reference,
#: "Constraints"). Half of it leaves room for escapes and keeps the key a small part of an item.
USER_ID_BYTES_MAX = 1024

#: Sorts after every digit and dot: `<prefix>~` is above every key that begins with the prefix.
_AFTER = "~"
#: A sort key above every cursor and below every bundle.
CURSORS_END = CURSOR_KEY + _AFTER

_DEVICE_NAME = re.compile(rf"[A-Za-z0-9._:-]{{1,{DEVICE_NAME_MAX}}}", re.ASCII)

_BUNDLE_KEY = re.compile(
    rf"(\d{{{EPOCH_DIGITS}}})\.(\d{{{PARTITION_DIGITS}}})"
    rf"\.(\d{{{OFFSET_DIGITS}}})\.(\d{{{OFFSET_DIGITS}}})",
    re.ASCII,
)
_LOG_NAME = re.compile(rf"(\d{{{EPOCH_DIGITS}}})\.(\d{{{PARTITION_DIGITS}}})", re.ASCII)


class LogId(NamedTuple):
    """One incarnation of a partition. Its offsets grow and are never reused."""

    epoch: int
    partition: int

    def encode(self) -> str:
        """Return the name of the cursor's attribute for this log, which begins its bundles'
        keys."""
        return f"{self.epoch:0{EPOCH_DIGITS}}.{self.partition:0{PARTITION_DIGITS}}"

    @classmethod
    def decode(cls, text: str) -> Self:
        """Parse an encoded log. Raises ValueError."""
        match = _LOG_NAME.fullmatch(text)
        if match is None:
            raise ValueError(f"not an <epoch>.<partition> name: {text!r}")
        return cls(*map(int, match.groups()))

    @property
    def head(self) -> str:
        """Return a sort key below every bundle of this log, and above those of the logs before
        it."""
        return f"{self.encode()}."

    def after(self, offset: int) -> str:
        """Return a sort key below every bundle with `last` > offset, and above all bundles before
        those."""
        return f"{self.encode()}.{offset:0{OFFSET_DIGITS}}.{_AFTER}"


class Position(NamedTuple):
    """The place of a message in the log. Compares in reading order."""

    epoch: int
    partition: int
    offset: int

    @property
    def log(self) -> LogId:
        return LogId(self.epoch, self.partition)

    def id(self, topic: str) -> str:
        """Return the id of a record without one: `topic/epoch/partition/offset`."""
        return f"{topic}/{self.epoch}/{self.partition}/{self.offset}"


class BundleKey(NamedTuple):
    """The sort key of a bundle. Compares as the encoded keys do.

    The bundle holds all of the mailbox's messages from `first` to `last`, both included, so two
    writers of one key write the same content.
    """

    epoch: int
    partition: int
    last: int
    first: int

    @property
    def log(self) -> LogId:
        return LogId(self.epoch, self.partition)

    def encode(self) -> str:
        return f"{self.log.encode()}.{self.last:0{OFFSET_DIGITS}}.{self.first:0{OFFSET_DIGITS}}"

    @classmethod
    def decode(cls, text: str) -> Self:
        """Parse an encoded key. Raises ValueError for a text that `encode` cannot return."""
        match = _BUNDLE_KEY.fullmatch(text)
        if match is None:
            raise ValueError(f"not a bundle key: {text!r}")
        key = cls(*map(int, match.groups()))
        if not key.is_possible():
            raise ValueError(f"a bundle key that no writer makes: {text!r}")
        return key

    def is_possible(self) -> bool:
        """Return whether first is at most last, both are in one window, and all numbers are in
        range."""
        return (
            0 <= self.epoch <= EPOCH_MAX
            and 0 <= self.partition <= PARTITION_MAX
            and 0 <= self.first <= self.last <= OFFSET_MAX
            and window_start(self.first) == window_start(self.last)
        )


def window_start(offset: int) -> int:
    """Return the window border at or below an offset."""
    return offset - offset % WINDOW_SIZE


def window_end(offset: int) -> int:
    """Return the window border at or above an offset."""
    return -(-offset // WINDOW_SIZE) * WINDOW_SIZE


def utf8_bytes(text: str) -> int:
    """Return the size of a text in UTF-8. Raises UnicodeEncodeError, a ValueError, for a lone
    surrogate."""
    return len(text) if text.isascii() else len(text.encode())


def mailbox_key(user_id: str) -> str:
    """Return the partition key of a user's mailbox. Injective; never a key of the system's own
    items.

    Raises ValueError with the reason for an id that is empty, longer than `USER_ID_BYTES_MAX`
    bytes, or not encodable as UTF-8.
    """
    size = utf8_bytes(user_id)
    if size == 0:
        raise ValueError("a user id must not be empty")
    if size > USER_ID_BYTES_MAX:
        raise ValueError(f"a user id of {size} bytes; at most {USER_ID_BYTES_MAX} are allowed")
    return SYSTEM_PREFIX + user_id if user_id.startswith(SYSTEM_PREFIX) else user_id


def cursor_key(device: str | None) -> str:
    """Return the sort key of a device's cursor. None: the account's.

    Raises ValueError for an invalid name.
    """
    if device is None:
        return CURSOR_KEY
    if not isinstance(device, str) or _DEVICE_NAME.fullmatch(device) is None:
        raise ValueError(
            f"a device's name is 1 to {DEVICE_NAME_MAX} characters of A-Z, a-z, 0-9 and ._:-,"
            f" not {device!r}"
        )
    return CURSOR_KEY + device


def device_of(sort_key: str) -> str | None:
    """Return the device of a cursor's sort key, or None."""
    name = sort_key.removeprefix(CURSOR_KEY)
    if name == sort_key or _DEVICE_NAME.fullmatch(name) is None:
        return None
    return name


def progress_key(topic: str, partition: int) -> str:
    """Return the partition key of a partition's progress. Each has its own, so that none is hot."""
    return f"{SYSTEM_PREFIX}progress/{topic}/{partition}"
