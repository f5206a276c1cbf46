"""The receipt: what a reading has passed, as an opaque token. Pure.

A fetch returns it and an ack takes it, and `fetch(after=...)` goes on behind it. Its bytes are
base64url without padding of:

    1 byte   version: 1 unsigned, 2 signed
    16       BLAKE2b of table id and mailbox: a receipt is bound to both
    ...      varints: boundary, logs, bundles (below)
    4        CRC-32 of all before it, or, signed, 16 bytes of HMAC-SHA-256 of it

    boundary   length, then the bytes of the sort key behind which the reading goes on
    logs       count, then of each: epoch, partition, passed + 1, covered + 1, blocked
    bundles    count, then of each: index of its log, last less the bundle's before, last - first
"""

import base64
import binascii
import hashlib
import hmac
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from poste_restante import arguments
from poste_restante.errors import InvalidReceipt
from poste_restante.position import EPOCH_MAX, OFFSET_MAX, PARTITION_MAX, BundleKey, LogId

#: Bundles that a receipt lists for deletion: 40 calls of an acknowledgement. What is above is
#: left over: hidden by the cursor, and listed again by the next page that meets it.
BUNDLES_MAX = 1_000
#: Logs (epoch, partition) of one receipt. Beyond it the oldest are forgotten: they are then not
#: acknowledged, and come again.
LOGS_MAX = 1_000
#: Characters of a token: what the two limits above make at most, with every number at its longest.
TOKEN_CHARS_MAX = 64 * 1024

_UNSIGNED, _SIGNED = 1, 2
_BINDING_BYTES, _CRC_BYTES, _MAC_BYTES = 16, 4, 16
_VARINT_BYTES_MAX = 10  # 64 bits in groups of 7
_BOUNDARY_BYTES_MAX = 1024  # of a sort key (API reference, "Constraints")


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a reading has come in one log; -1: nothing yet.

    passed: the last offset that was read, shown or not. covered: up to where all that was
    passed was returned, or had expired, or was a duplicate; an acknowledgement covers this.
    blocked: the reader went past an unreadable item: covered stays where it is from there on.
    """

    passed: int = -1
    covered: int = -1
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a token says.

    boundary: the reading goes on with sort keys above it. logs: how far it has come in each.
    bundles: keys of bundles that are wholly covered, for deletion.
    """

    boundary: str
    logs: dict[LogId, Reach] = field(default_factory=dict)
    bundles: tuple[BundleKey, ...] = ()


class Receipts:
    """Encodes and checks the receipts of one table.

    keys: the first signs, all verify; with keys set, an unsigned receipt is refused.
    """

    def __init__(self, keys: Sequence[str | bytes] = ()) -> None:
        self._keys = arguments.keys("receipt_keys", keys)

    def encode(self, receipt: Receipt, *, table_id: str, user_id: str) -> str:
        """The token."""
        logs = dict(list(receipt.logs.items())[-LOGS_MAX:])
        body = b"".join((
            bytes([_SIGNED if self._keys else _UNSIGNED]),
            _binding(table_id, user_id),
            _encode_boundary(receipt.boundary),
            _encode_logs(logs),
            _encode_bundles(receipt.bundles[:BUNDLES_MAX], list(logs)),
        ))  # fmt: skip
        seal = _mac(self._keys[0], body) if self._keys else _crc(body)
        return _text(body + seal)

    def decode(self, token: str, *, table_id: str, user_id: str) -> Receipt:
        """Inverse of `encode`. Raises InvalidReceipt for anything else."""
        body = self._unseal(token)
        if not hmac.compare_digest(body[1 : 1 + _BINDING_BYTES], _binding(table_id, user_id)):
            raise InvalidReceipt("the receipt belongs to another mailbox or table")
        try:
            return _decode_body(body[1 + _BINDING_BYTES :])
        except (ValueError, IndexError) as error:
            raise InvalidReceipt(f"the receipt is damaged: {error}") from None

    def _unseal(self, token: str) -> bytes:
        """The sealed bytes, version first."""
        if not isinstance(token, str):  # from a client, most often: no fault of the caller's
            raise InvalidReceipt(f"not a receipt, which is a str, but {type(token).__name__}")
        if len(token) > TOKEN_CHARS_MAX:
            raise InvalidReceipt("not a receipt")
        try:
            raw = base64.b64decode(
                token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
            )
        except (binascii.Error, ValueError):
            raise InvalidReceipt("not a receipt") from None
        if _text(raw) != token:  # bits that carry nothing, padding: one receipt, one spelling
            raise InvalidReceipt("not a receipt")
        if len(raw) < 1 + _BINDING_BYTES + _CRC_BYTES:
            raise InvalidReceipt("not a receipt: too short")
        if raw[0] == _SIGNED:
            return self._verified(raw)
        if raw[0] != _UNSIGNED:
            raise InvalidReceipt(f"a receipt of version {raw[0]}, which this reader does not know")
        if self._keys:
            raise InvalidReceipt("the receipt is not signed")
        body, seal = raw[:-_CRC_BYTES], raw[-_CRC_BYTES:]
        if seal != _crc(body):
            raise InvalidReceipt("the receipt is damaged")
        return body

    def _verified(self, raw: bytes) -> bytes:
        body, seal = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not self._keys:
            raise InvalidReceipt("the receipt is signed, and no receipt keys are set here")
        if not any(hmac.compare_digest(seal, _mac(key, body)) for key in self._keys):
            raise InvalidReceipt("the receipt's signature is not ours")
        return body


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _binding(table_id: str, user_id: str) -> bytes:
    digest = hashlib.blake2b(digest_size=_BINDING_BYTES)
    for part in (table_id, user_id):
        digest.update(len(part.encode()).to_bytes(4, "big") + part.encode())
    return digest.digest()


def _crc(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(_CRC_BYTES, "big")


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, "sha256")[:_MAC_BYTES]


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _encode_boundary(boundary: str) -> bytes:
    raw = boundary.encode()
    return _varint(len(raw)) + raw


def _encode_logs(logs: dict[LogId, Reach]) -> bytes:
    parts = [_varint(len(logs))]
    for log, reach in logs.items():
        parts += map(_varint, (*log, reach.passed + 1, reach.covered + 1, int(reach.blocked)))
    return b"".join(parts)


def _encode_bundles(bundles: Iterable[BundleKey], logs: list[LogId]) -> bytes:
    # A bundle whose log was forgotten is not covered any more, so it is not listed.
    index = {log: number for number, log in enumerate(logs)}
    listed = [key for key in bundles if key.log in index]
    parts = [_varint(len(listed))]
    before = dict.fromkeys(logs, 0)
    for key in listed:
        delta = key.last - before[key.log]
        parts += map(_varint, (index[key.log], delta, key.last - key.first))
        before[key.log] = key.last
    return b"".join(parts)


def _numbers(raw: Iterator[int]) -> Iterator[int]:
    """The varints of a byte stream. Raises ValueError on one that is cut off or too long."""
    for byte in raw:
        number, shift = byte & 0x7F, 7
        while byte & 0x80:
            byte = next(raw, -1)  # noqa: PLW2901 - the next byte of this number
            if byte < 0 or shift >= 7 * _VARINT_BYTES_MAX:
                raise ValueError("cut off")
            number |= (byte & 0x7F) << shift
            shift += 7
        if number > OFFSET_MAX + 1:
            raise ValueError("a number out of range")
        yield number


def _decode_body(raw: bytes) -> Receipt:
    """Raises ValueError or IndexError for what no reading makes: nobody else is to be believed."""
    stream = iter(raw)
    numbers = _numbers(stream)

    def take(most: int = OFFSET_MAX + 1) -> int:
        number = next(numbers, None)
        if number is None or number > most:
            raise ValueError("cut off, or a number out of range")
        return number

    boundary = bytes(islice(stream, take(_BOUNDARY_BYTES_MAX))).decode()
    if not boundary:
        raise ValueError("it goes on nowhere")
    logs: dict[LogId, Reach] = {}
    for _ in range(take(LOGS_MAX)):
        log = LogId(take(EPOCH_MAX), take(PARTITION_MAX))
        reach = Reach(take() - 1, take() - 1, blocked=bool(take(1)))
        if log in logs or reach.covered > reach.passed:
            raise ValueError("a log that it cannot have passed")
        logs[log] = reach
    names, bundles = list(logs), []
    before = dict.fromkeys(names, 0)
    for _ in range(take(BUNDLES_MAX)):
        log = names[take()]
        last = before[log] + take()
        key = BundleKey(*log, last=last, first=last - take())
        if not key.is_possible() or last > logs[log].covered:
            raise ValueError("a bundle that it does not cover")
        before[log] = last
        bundles.append(key)
    if len(set(bundles)) < len(bundles):
        raise ValueError("a bundle twice")  # a call with a repeated key is refused as a whole
    if next(numbers, None) is not None:
        raise ValueError("longer than it says")
    return Receipt(boundary, logs, tuple(bundles))
