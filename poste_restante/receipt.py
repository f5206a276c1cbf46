"""The receipt: what a reading has passed, as an opaque token. Pure.

A fetch returns it and an ack takes it; `fetch(after=...)` goes on behind it, and
`fetch(since=...)` reads as if it had been acknowledged. Its bytes are base64url without padding of:

    1 byte   version: 3 unsigned, 4 signed
    12       BLAKE2b of table id and mailbox: a receipt is bound to both
    4        BLAKE2b of the device's name, empty for the account: to that as well
    ...      varints: boundary, logs (below)
    4        CRC-32 of all before it, or, signed, 16 bytes of HMAC-SHA-256 of it

    boundary   what it is, then:
               0   length, bytes: any sort key
               1   epoch, partition, last, last - first: a bundle's key
               2   epoch, partition, offset: above every bundle of the log that ends there
    logs       count, then of each: epoch, partition, read_to + 1, read_to - ackable_to, flags
               (1 blocked, 2 carried, 4 inherited), and with flag 4: read_to - inherited_to

A reader that does not know flag 4 refuses the receipt: it would make a device's cursor without what
the device inherits.

That is some 60 characters for a mailbox of one log, and 75 where it is signed. Versions 1 and 2
listed the keys of bundles as well, for deletion.
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

#: Bytes that the logs (epoch, partition) of one receipt take: 26 of them with every number at its
#: longest (19 where a device inherits), some 80 with ordinary ones. Those for which there is no
#: room are forgotten: they are not acknowledged, and come again. First to go are those that were
#: acknowledged before, then the oldest.
LOGS_BYTES_MAX = 690
#: Bytes of a boundary that is no key of ours: a sort key (API reference, "Constraints").
BOUNDARY_BYTES_MAX = 1024
#: Characters of a token: 1 KB, but behind an unreadable item whose sort key is a long one.
TOKEN_CHARS_MAX = 1024 + -(-BOUNDARY_BYTES_MAX * 4 // 3)
#: Characters of a token of an earlier version, with the keys that it listed.
EARLIER_CHARS_MAX = 64 * 1024

_UNSIGNED, _SIGNED = 3, 4
_LISTING_BUNDLES = (b"\1", b"\2")
_MAILBOX_BYTES, _DEVICE_BYTES, _CRC_BYTES, _MAC_BYTES = 12, 4, 4, 16
_BINDING_BYTES = _MAILBOX_BYTES + _DEVICE_BYTES
_VARINT_BYTES_MAX = 10  # 64 bits in groups of 7
_TEXT, _BUNDLE, _ABOVE = range(3)
_BLOCKED, _CARRIED, _INHERITED = 1, 2, 4
_ABOVE_KEY = re.compile(r"(\d+\.\d+)\.(\d+)\.~", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a reading has come in one log; -1: nothing yet.

    read_to: the last offset that was read, shown or not.
    ackable_to: an acknowledgement covers offsets up to here. Everything read up to here was
    returned, had expired, was a duplicate, or was acknowledged before.
    blocked: the reader passed an unreadable item, and ackable_to stays below that item.
    carried: the reading's own cursor already covered ackable_to: there is nothing to acknowledge.
    inherited_to: the account's cursor, where a device without a cursor read from it and it is above
    ackable_to; else -1. If the acknowledgement makes the device's cursor, the cursor begins here.
    If the device has a cursor by then, this does not raise it: the device never saw these messages.
    """

    read_to: int = -1
    ackable_to: int = -1
    blocked: bool = False
    carried: bool = False
    inherited_to: int = -1

    @property
    def cursor_begins_at(self) -> int:
        """Return where an acknowledgement makes a new device's cursor begin; -1: at no offset."""
        return max(self.ackable_to, self.inherited_to)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a token says.

    boundary: the reading goes on with sort keys above it.
    logs: how far it has come in each, those of the cursor that it began with among them.
    """

    boundary: str
    logs: dict[LogId, Reach] = field(default_factory=dict)


class Receipts:
    """Encodes and checks the receipts of one table.

    keys: the first signs, all verify; with keys set, an unsigned receipt is refused.
    """

    def __init__(self, keys: Sequence[str | bytes] = ()) -> None:
        self._keys = arguments.keys("receipt_keys", keys)

    def encode(
        self, receipt: Receipt, *, table_id: str, user_id: str, device: str | None = None
    ) -> str:
        """The token."""
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
        """Inverse of `encode`. Raises InvalidReceipt for anything else."""
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
        """The sealed bytes, version first."""
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
    """Inverse of `_encode_token`. Raises InvalidReceipt for what is no token of this version."""
    if not isinstance(token, str):  # from a client, most often: no fault of the caller's
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
    """As many as there is room for, in their order."""
    here = receipt.boundary.split(".")[:2]
    encoded: dict[LogId, bytes] = {}
    room = LOGS_BYTES_MAX

    def rank(one: tuple[LogId, Reach]) -> tuple[bool, bool]:
        """Kept first: those of which nothing else says how far the reading has come."""
        log, reach = one
        return reach.blocked or log.encode().split(".") == here, not reach.carried

    for log, reach in sorted(sorted(receipt.logs.items(), reverse=True), key=rank, reverse=True):
        inherits = reach.inherited_to > reach.ackable_to
        flags = _BLOCKED * reach.blocked | _CARRIED * reach.carried | _INHERITED * inherits
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
    """The varints of a byte stream. Raises ValueError on one that is cut off or too long."""
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
    """Raises ValueError for what no reading makes: nobody else is to be believed."""
    stream = iter(raw)
    numbers = _decode_varints(stream)

    def take(most: int = OFFSET_MAX + 1) -> int:
        number = next(numbers, None)
        if number is None or number > most:
            raise ValueError("cut off, or a number out of range")
        return number

    boundary = _decode_boundary(stream, take)
    logs: dict[LogId, Reach] = {}
    for _ in range(take(LOGS_BYTES_MAX)):
        log = LogId(take(EPOCH_MAX), take(PARTITION_MAX))
        read_to = take() - 1
        ackable_to = read_to - take()
        flags = take(_BLOCKED | _CARRIED | _INHERITED)
        inherited_to = read_to - take() if flags & _INHERITED else -1
        if log in logs or ackable_to < -1 or (flags & _INHERITED and inherited_to <= ackable_to):
            raise ValueError("a log that it cannot have passed")
        logs[log] = Reach(
            read_to, ackable_to, blocked=bool(flags & _BLOCKED), carried=bool(flags & _CARRIED),
            inherited_to=inherited_to,
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
