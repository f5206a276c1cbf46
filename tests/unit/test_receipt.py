"""Receipts: opaque, bound, sealed, bounded."""

import base64
import hmac
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.errors import InvalidReceipt
from poste_restante.position import (
    EPOCH_MAX,
    OFFSET_MAX,
    PARTITION_MAX,
    BundleKey,
    LogId,
    window_start,
)
from poste_restante.receipt import (
    BUNDLES_MAX,
    LOGS_MAX,
    TOKEN_CHARS_MAX,
    Reach,
    Receipt,
    Receipts,
)

TABLE, BOB = "table-1", "bob"
KEYS: list[list[str | bytes]] = [[], ["key one"], [b"\x00key two", "key one"]]
OFFSETS = st.integers(0, 50) | st.integers(0, OFFSET_MAX)


def encode(receipt: Receipt, keys: Sequence[str | bytes] = ()) -> str:
    return Receipts(keys).encode(receipt, table_id=TABLE, user_id=BOB)


def decode(token: str, keys: Sequence[str | bytes] = ()) -> Receipt:
    return Receipts(keys).decode(token, table_id=TABLE, user_id=BOB)


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    """What readings make: bundles in key order, all of them covered."""
    logs: dict[LogId, Reach] = {}
    bundles: list[BundleKey] = []
    for _ in range(draw(st.integers(0, 4))):
        log = LogId(draw(st.integers(0, EPOCH_MAX)), draw(st.integers(0, PARTITION_MAX)))
        lasts = sorted(draw(st.lists(OFFSETS, max_size=4)))
        covered = draw(st.integers(lasts[-1] if lasts else -1, OFFSET_MAX))
        if log in logs:
            continue
        passed = draw(st.integers(covered, OFFSET_MAX))
        logs[log] = Reach(passed, covered, blocked=draw(st.booleans()))
        keys = {BundleKey(*log, n, draw(st.integers(window_start(n), n))) for n in lasts}
        bundles += sorted(keys)
    boundary = draw(st.text(min_size=1, max_size=200))
    return Receipt(boundary, logs, tuple(bundles))


@given(receipts(), st.sampled_from(KEYS))
def test_a_receipt_survives_its_encoding(receipt: Receipt, keys: list[str | bytes]) -> None:
    """With its logs in their order, signed or not (G6)."""
    token = encode(receipt, keys)
    found = decode(token, keys)

    assert found == receipt
    assert list(found.logs) == list(receipt.logs)
    assert token.isascii()
    assert token.replace("-", "").replace("_", "").isalnum()  # for an address or a header


@given(
    st.text() | st.text(st.sampled_from("ABCabc019-_=+/ \n"), max_size=200) | receipts().map(encode)
)
def test_arbitrary_text_raises_nothing_but_an_invalid_receipt(token: str) -> None:
    """A gateway can hand over whatever a client sent it (G6)."""
    for keys in KEYS:
        try:
            found = decode(token, keys)
        except InvalidReceipt:
            continue
        assert encode(found, keys) == token


def seal(body: bytes, key: bytes = b"") -> str:
    """A token of arbitrary bytes with a seal that holds: what a forger can make."""
    sealed = zlib.crc32(body).to_bytes(4, "big") if not key else hmac.digest(key, body, "sha256")
    return base64.urlsafe_b64encode(body + sealed[:16]).decode().rstrip("=")


#: Version and binding of an unsigned receipt of this table and mailbox.
HEAD = base64.urlsafe_b64decode(encode(Receipt("a")) + "==")[:17]


@given(st.binary(max_size=120) | st.lists(st.integers(0, 3), max_size=40).map(bytes))
def test_a_forged_content_is_refused_or_one_that_a_reading_could_make(content: bytes) -> None:
    """Every number is checked, whatever the seal says (G6)."""
    try:
        found = decode(seal(HEAD + content))
    except InvalidReceipt:
        return
    assert 1 <= len(found.boundary.encode()) <= 1024
    for log, reach in found.logs.items():
        assert LogId.decode(log.encode()) == log
        assert -1 <= reach.covered <= reach.passed <= OFFSET_MAX
    for key in found.bundles:
        assert BundleKey.decode(key.encode()) == key
        assert key.last <= found.logs[key.log].covered
    assert len(set(found.bundles)) == len(found.bundles)


@pytest.mark.parametrize("content", [b"", b"\x00", b"\x00\x00\x00", b"\x01!\x00\x00\x00"])
def test_a_content_that_says_nothing_or_too_much_is_refused(content: bytes) -> None:
    """Without a boundary a reading could not go on; nothing may follow the bundles (G6)."""
    with pytest.raises(InvalidReceipt, match="damaged"):
        decode(seal(HEAD + content))


MADE = Receipt(
    "0001.00003.0000000000000000042.~",
    {LogId(1, 2): Reach(9, 7, blocked=True), LogId(1, 3): Reach(42, 42)},
    (BundleKey(1, 2, 7, 5), BundleKey(1, 3, 40, 40), BundleKey(1, 3, 42, 38)),
)


@pytest.mark.parametrize("keys", KEYS)
def test_every_bit_counts(keys: list[str | bytes]) -> None:
    """A receipt that was damaged on the way is refused, wherever it was (G6)."""
    token = encode(MADE, keys)
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for bit in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidReceipt):
            decode(base64.urlsafe_b64encode(flipped).decode().rstrip("="), keys)


@pytest.mark.parametrize("boundary", ["a", "ab", "abc"])
@pytest.mark.parametrize("keys", KEYS)
def test_every_character_counts(boundary: str, keys: list[str | bytes]) -> None:
    """One receipt has one spelling: no unused bits, no padding, no second alphabet (G6)."""
    token = encode(Receipt(boundary, MADE.logs, MADE.bundles), keys)
    spellings = {token + end for end in ("=", "==", " ", "\n", "A")} | {token[:-1], " " + token}
    spellings |= {token[:n] + chr(ord(c) ^ 1) + token[n + 1 :] for n, c in enumerate(token)}
    for spelling in spellings:
        with pytest.raises(InvalidReceipt):
            decode(spelling, keys)


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize(
    ("table_id", "user_id"),
    [("table-2", BOB), (TABLE, "ann"), ("table-1b", "ob"), ("table-", "1bob"), (BOB, TABLE)],
)
def test_a_receipt_is_of_one_mailbox_of_one_table(
    keys: list[str | bytes], table_id: str, user_id: str
) -> None:
    """Another's cannot be acknowledged with it (G6)."""
    with pytest.raises(InvalidReceipt, match="another mailbox or table"):
        Receipts(keys).decode(encode(MADE, keys), table_id=table_id, user_id=user_id)


def test_the_first_key_signs_and_all_verify() -> None:
    """Keys can be changed under readers at work (G6)."""
    old = encode(MADE, ["old"])

    assert decode(old, ["new", "old"]) == MADE
    assert encode(MADE, ["new", "old"]) == encode(MADE, ["new"]) != old
    with pytest.raises(InvalidReceipt, match="not ours"):
        decode(old, ["new"])


def test_with_keys_an_unsigned_receipt_is_refused() -> None:
    """Anybody can make a checksum (G6)."""
    with pytest.raises(InvalidReceipt, match="not signed"):
        decode(encode(MADE), ["key"])


def test_without_keys_a_signed_receipt_is_refused() -> None:
    """It cannot be verified (G6)."""
    with pytest.raises(InvalidReceipt, match="no receipt keys"):
        decode(encode(MADE, ["key"]))


def test_a_signed_receipt_cannot_pass_for_an_unsigned_one() -> None:
    """Nor the other way round: the version is under the seal (G6)."""
    body = base64.urlsafe_b64decode(encode(MADE) + "==")[:-4]
    with pytest.raises(InvalidReceipt):
        decode(seal(b"\x02" + body[1:]), ["key"])
    with pytest.raises(InvalidReceipt, match="version 3"):
        decode(seal(b"\x03" + body[1:]))
    assert decode(seal(b"\x02" + body[1:], b"key"), ["key"]) == MADE


@pytest.mark.parametrize("keys", ["secret", b"secret"])
def test_one_key_is_not_a_list_of_letters(keys: str | bytes) -> None:
    """It would sign with its first letter (G6)."""
    with pytest.raises(TypeError, match="a list of keys"):
        Receipts(keys)  # type: ignore[arg-type]


@pytest.mark.parametrize("keys", [[""], ["key", b""]])
def test_an_empty_key_is_refused(keys: list[str | bytes]) -> None:
    """Anybody has it (G6)."""
    with pytest.raises(ValueError, match="empty"):
        Receipts(keys)


def largest(logs: int, bundles: int) -> Receipt:
    """Every number at its longest."""
    names = [LogId(EPOCH_MAX, PARTITION_MAX - n) for n in range(logs)]
    last = window_start(OFFSET_MAX) - 1
    return Receipt(
        "x" * 1024,
        {log: Reach(OFFSET_MAX, OFFSET_MAX) for log in names},
        tuple(BundleKey(*names[n % logs], last, window_start(last)) for n in range(bundles)),
    )


def test_the_largest_receipt_is_within_its_limit() -> None:
    """What a reading can make, an acknowledgement takes (G8)."""
    receipt = largest(LOGS_MAX, BUNDLES_MAX)
    token = encode(receipt, ["key"])

    assert len(token) <= TOKEN_CHARS_MAX
    assert decode(token, ["key"]) == receipt


def test_what_is_above_the_limits_is_left_out() -> None:
    """The first bundles are listed, the last logs are kept, with no bundle of another (G8, G10)."""
    receipt = largest(LOGS_MAX + 5, BUNDLES_MAX + 8)
    found = decode(encode(receipt))

    assert list(found.logs) == list(receipt.logs)[5:]
    assert found.bundles == receipt.bundles[5:BUNDLES_MAX]


@pytest.mark.parametrize(
    "content",
    [
        b"\x01a" + b"\xe9\x07",  # 1,001 logs
        b"\x01a" + b"\x00" + b"\xe9\x07",  # 1,001 bundles
        b"\x81\x08" + b"a" * 1025 + b"\x00\x00",  # a boundary that no key has
        b"\x01a" + b"\xff" * 10 + b"\x01" + b"\x00",  # a number without end
    ],
)
def test_counts_above_the_limits_are_refused(content: bytes) -> None:
    """Nobody makes us work for a token (G8)."""
    with pytest.raises(InvalidReceipt, match="damaged"):
        decode(seal(HEAD + content))


def test_a_long_text_is_not_looked_into() -> None:
    """Its length alone refuses it (G8)."""
    with pytest.raises(InvalidReceipt):
        decode("A" * (TOKEN_CHARS_MAX + 1))
    with pytest.raises(InvalidReceipt):
        decode(b"bytes")  # type: ignore[arg-type]
