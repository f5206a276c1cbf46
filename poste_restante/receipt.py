"""The receipt: an opaque token of the messages that a reading has passed. Pure.

A fetch returns it and an ack takes it. `fetch(after=...)` continues after it, and
`fetch(since=...)` reads as if it had been acknowledged. It is base64url without padding of:

    1 byte   version: 3 unsigned, 4 signed
    12       BLAKE2b of table id and mailbox: a receipt is bound to both
    4        BLAKE2b of the device's name, empty for the account: to that as well
    ...      varints: boundary, logs (below)
    4        CRC-32 of all before it, or, signed, 16 bytes of HMAC-SHA-256 of it

    boundary   its kind, then:
               0   length, bytes: any sort key
               1   epoch, partition, last, last - first: a bundle's key
               2   epoch, partition, offset: above every bundle of the log that ends there
    logs       count, then of each: epoch, partition, read_to + 1, read_to - ackable_to, flags
               (1 blocked, 2 already acknowledged, 4 inherited), and with flag 4:
               read_to - inherited_to

A reader that does not know flag 4 refuses the receipt, because it would create a device's cursor
without the inherited offsets.

A token of one log has some 60 characters, or 75 if signed. Versions 1 and 2 also listed the keys of
bundles, for deletion.
"""

import base64
import binascii
import hashlib
import hmac
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from poste_restante import arguments
from poste_restante.errors import InvalidReceipt
from poste_restante.position import EPOCH_MAX, OFFSET_MAX, PARTITION_MAX, BundleKey, LogId

#: Bytes of the logs (epoch, partition) of one receipt: 26 logs with every number at its longest
#: (19 if a device inherits), some 80 with usual ones. Logs beyond it are left out: they are not
#: acknowledged and come back. Logs acknowledged before are left out first, then the oldest.
LOGS_BYTES_MAX = 690
#: Bytes of any sort key as a boundary (API reference, "Constraints").
BOUNDARY_BYTES_MAX = 1024
#: Characters of a token: above 1 KB only after an unreadable item with a long sort key.
TOKEN_CHARS_MAX = 1024 + -(-BOUNDARY_BYTES_MAX * 4 // 3)
#: Characters of a token of an earlier version, with the keys that it listed.
EARLIER_CHARS_MAX = 64 * 1024

_UNSIGNED, _SIGNED = 3, 4
_LISTING_BUNDLES = (b"\1", b"\2")
_MAILBOX_BYTES, _DEVICE_BYTES, _CRC_BYTES, _MAC_BYTES = 12, 4, 4, 16
_BINDING_BYTES = _MAILBOX_BYTES + _DEVICE_BYTES
_VARINT_BYTES_MAX = 10  # 64 bits in groups of 7
_TEXT, _BUNDLE, _ABOVE = range(3)
_BLOCKED, _ALREADY_ACKNOWLEDGED, _INHERITED = 1, 2, 4
_ABOVE_KEY = re.compile(r"(\d+\.\d+)\.(\d+)\.~", re.ASCII)


@dataclass(frozen=True, slots=True)
class LogReach:
    """How far a reading has come in one log, and how far its acknowledgement would reach; -1:
    nothing yet.

    read_to: the reading continues above it. Each offset up to here was read, returned or not, or
        counted as acknowledged: a cursor, or a receipt in its place, raises it with nothing read.
    ackable_to: an acknowledgement covers offsets up to here. Each was returned, had expired, was a
        duplicate, or was acknowledged before.
    blocked: the reader passed an unreadable item, and ackable_to stays below it.
    already_acknowledged: the reading's own cursor covered ackable_to, so there is nothing to
        acknowledge.
    inherited_to: the account's cursor, if a device without a cursor read from it and it is above
        ackable_to; else -1. A cursor that the acknowledgement creates begins here. An existing one
        is not raised by it, because the device never read these messages.
    """

    read_to: int = -1
    ackable_to: int = -1
    blocked: bool = False
    already_acknowledged: bool = False
    inherited_to: int = -1

    @property
    def cursor_begins_at(self) -> int:
        """Return where a new device's cursor begins; -1: at no offset."""
        return max(self.ackable_to, self.inherited_to)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The content of a token.

    boundary: the sort key above which the reading continues.
    logs: how far the reading has come in each log, including those of its first cursor.
    """

    boundary: str
    logs: dict[LogId, LogReach] = field(default_factory=dict)


class Receipts:
    """Encodes and decodes the receipts of one table.

    keys: the first signs, all verify. With keys, unsigned receipts are refused.
    """

    def __init__(self, keys: Sequence[str | bytes] = ()) -> None:
        self._keys = arguments.keys("receipt_keys", keys)

    def encode(
        self, receipt: Receipt, *, table_id: str, user_id: str, device: str | None = None
    ) -> str:
        """Return the token of a receipt."""
        body = b"".join((
            bytes([_SIGNED if self._keys else _UNSIGNED]),
            _mailbox_digest(table_id, user_id), _device_digest(device),
            _encode_boundary(receipt.boundary),
            _encode_logs(receipt),
        ))  # fmt: skip
        seal = _mac(self._keys[0], body) if self._keys else _crc(body)
        return _encode_token(body + seal)

    def decode(
        self, token: str, *, table_id: str, user_id: str, device: str | None = None
    ) -> Receipt:
        """Return the receipt of a token. Raises InvalidReceipt."""
        body = self._unseal(token)
        mailbox, of_device = body[1:][:_MAILBOX_BYTES], body[1 + _MAILBOX_BYTES :][:_DEVICE_BYTES]
        if not hmac.compare_digest(mailbox, _mailbox_digest(table_id, user_id)):
            raise InvalidReceipt("the receipt belongs to another mailbox or table")
        if not hmac.compare_digest(of_device, _device_digest(device)):
            mine = "the account" if device is None else f"the device {device!r}"
            raise InvalidReceipt(f"the receipt belongs to another device, not to {mine}")
        try:
            return _decode_body(body[1 + _BINDING_BYTES :])
        except ValueError as error:
            raise InvalidReceipt(f"the receipt is damaged: {error}") from None

    def _unseal(self, token: str) -> bytes:
        """Return the verified bytes, version first."""
        raw = _decode_token(token)
        if raw[0] == _SIGNED:
            return self._verify(raw)
        if raw[0] != _UNSIGNED:
            raise InvalidReceipt(f"a receipt of version {raw[0]}, which this reader does not know")
        if self._keys:
            raise InvalidReceipt("the receipt is not signed")
        body, seal = raw[:-_CRC_BYTES], raw[-_CRC_BYTES:]
        if seal != _crc(body):
            raise InvalidReceipt("the receipt is damaged")
        return body

    def _verify(self, raw: bytes) -> bytes:
        body, seal = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not self._keys:
            raise InvalidReceipt("the receipt is signed, and no receipt keys are set here")
        if not any(hmac.compare_digest(seal, _mac(key, body)) for key in self._keys):
            raise InvalidReceipt("the receipt's signature matches no receipt key")
        return body


def _decode_token(token: str) -> bytes:
    """Return the bytes of a token. Raises InvalidReceipt for a token of another version, or
    none."""
    if not isinstance(token, str):  # usually from a client, so it is no TypeError of the caller
        raise InvalidReceipt(f"a receipt must be a str, not {type(token).__name__}")
    if len(token) > EARLIER_CHARS_MAX:
        raise InvalidReceipt("not a receipt")
    try:
        raw = base64.b64decode(
            token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
        )
    except (binascii.Error, ValueError):
        raise InvalidReceipt("not a receipt") from None
    if raw[:1] in _LISTING_BUNDLES:
        raise InvalidReceipt(
            f"a receipt of version {raw[0]}, of an earlier poste-restante: fetch again"
        )
    if len(token) > TOKEN_CHARS_MAX or _encode_token(raw) != token:  # one receipt, one spelling
        raise InvalidReceipt("not a receipt")
    if len(raw) < 1 + _BINDING_BYTES + _CRC_BYTES:
        raise InvalidReceipt("not a receipt: too short")
    return raw


def _encode_token(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _mailbox_digest(table_id: str, user_id: str) -> bytes:
    return _digest(_MAILBOX_BYTES, table_id, user_id)


def _device_digest(device: str | None) -> bytes:
    return _digest(_DEVICE_BYTES, device or "")


def _digest(size: int, *parts: str) -> bytes:
    digest = hashlib.blake2b(digest_size=size)
    for part in parts:
        digest.update(len(part.encode()).to_bytes(4, "big") + part.encode())
    return digest.digest()


def _crc(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(_CRC_BYTES, "big")


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, "sha256")[:_MAC_BYTES]


def _encode_varints(*numbers: int) -> bytes:
    encoded = bytearray()
    for number in numbers:
        rest = number
        while rest > 0x7F:
            encoded.append(rest & 0x7F | 0x80)
            rest >>= 7
        encoded.append(rest)
    return bytes(encoded)


def _encode_boundary(boundary: str) -> bytes:
    above = _ABOVE_KEY.fullmatch(boundary)
    try:
        if above is not None:
            log, offset = LogId.decode(above[1]), int(above[2])
            if log.after(offset) == boundary and offset <= OFFSET_MAX:
                return _encode_varints(_ABOVE, *log, offset)
        key = BundleKey.decode(boundary)
    except ValueError:
        raw = boundary.encode()
        return _encode_varints(_TEXT, len(raw)) + raw
    return _encode_varints(_BUNDLE, *key.log, key.last, key.last - key.first)


def _encode_logs(receipt: Receipt) -> bytes:
    """Encode the logs for which there is room, in their order."""
    here = receipt.boundary.split(".")[:2]
    encoded: dict[LogId, bytes] = {}
    room = LOGS_BYTES_MAX

    def rank(one: tuple[LogId, LogReach]) -> tuple[bool, bool]:
        """Rank the logs: first those whose reach nothing else states."""
        log, reach = one
        return reach.blocked or log.encode().split(".") == here, not reach.already_acknowledged

    for log, reach in sorted(sorted(receipt.logs.items(), reverse=True), key=rank, reverse=True):
        inherits = reach.inherited_to > reach.ackable_to
        flags = (
            _BLOCKED * reach.blocked
            | _ALREADY_ACKNOWLEDGED * reach.already_acknowledged
            | _INHERITED * inherits
        )
        one = _encode_varints(*log, reach.read_to + 1, reach.read_to - reach.ackable_to, flags)
        if inherits:
            one += _encode_varints(reach.read_to - reach.inherited_to)
        if len(one) > room:
            break
        encoded[log] = one
        room -= len(one)
    return _encode_varints(len(encoded)) + b"".join(
        encoded[log] for log in receipt.logs if log in encoded
    )


def _decode_varints(raw: Iterator[int]) -> Iterator[int]:
    """Yield the varints of a byte stream. Raises ValueError for one that is cut off or too long."""
    for byte in raw:
        number, shift = byte & 0x7F, 7
        while byte & 0x80:
            byte = next(raw, -1)  # noqa: PLW2901 - the next byte of this number
            if byte < 0 or shift >= 7 * _VARINT_BYTES_MAX:
                raise ValueError("cut off")
            number |= (byte & 0x7F) << shift
            shift += 7
        yield number


def _decode_body(raw: bytes) -> Receipt:
    """Return the receipt. Raises ValueError for one that no reading creates."""
    stream = iter(raw)
    numbers = _decode_varints(stream)

    def take(most: int = OFFSET_MAX + 1) -> int:
        number = next(numbers, None)
        if number is None or number > most:
            raise ValueError("cut off, or a number out of range")
        return number

    boundary = _decode_boundary(stream, take)
    logs: dict[LogId, LogReach] = {}
    for _ in range(take(LOGS_BYTES_MAX)):
        log = LogId(take(EPOCH_MAX), take(PARTITION_MAX))
        read_to = take() - 1
        ackable_to = read_to - take()
        flags = take(_BLOCKED | _ALREADY_ACKNOWLEDGED | _INHERITED)
        inherited_to = read_to - take() if flags & _INHERITED else -1
        if log in logs or ackable_to < -1 or (flags & _INHERITED and inherited_to <= ackable_to):
            raise ValueError("a log that it cannot have passed")
        logs[log] = LogReach(
            read_to, ackable_to, blocked=bool(flags & _BLOCKED),
            already_acknowledged=bool(flags & _ALREADY_ACKNOWLEDGED), inherited_to=inherited_to,
        )  # fmt: skip
    if next(numbers, None) is not None:
        raise ValueError("longer than it says")
    return Receipt(boundary, logs)


def _decode_boundary(stream: Iterable[int], take: Callable[..., int]) -> str:
    kind = take(_ABOVE)
    if kind == _TEXT:
        boundary = bytes(islice(stream, take(BOUNDARY_BYTES_MAX))).decode()
        if not boundary:
            raise ValueError("it goes on nowhere")
        return boundary
    log = LogId(take(EPOCH_MAX), take(PARTITION_MAX))
    last = take(OFFSET_MAX)
    if kind == _ABOVE:
        return log.after(last)
    key = BundleKey(*log, last=last, first=last - take())
    if not key.is_possible():
        raise ValueError("a boundary that no writer makes")
    return key.encode()
