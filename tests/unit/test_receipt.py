"""Receipts: opaque, bound, sealed, bounded."""

import base64
import hmac
import zlib
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poste_restante.errors import InvalidReceipt
from poste_restante.position import (
    EPOCH_MAX,
    OFFSET_MAX,
    PARTITION_MAX,
    WINDOW_SIZE,
    BundleKey,
    LogId,
    window_start,
)
from poste_restante.receipt import (
    TOKEN_CHARS_MAX,
    LogReach,
    Receipt,
    Receipts,
)

TABLE, BOB = "table-1", "bob"
KEYS: list[list[str | bytes]] = [[], ["key one"], [b"\x00key two", "key one"]]
OFFSETS = st.integers(0, 50) | st.integers(0, OFFSET_MAX)


def encode(receipt: Receipt, keys: Sequence[str | bytes] = (), device: str | None = None) -> str:
    return Receipts(keys).encode(receipt, table_id=TABLE, user_id=BOB, device=device)


def decode(token: str, keys: Sequence[str | bytes] = (), device: str | None = None) -> Receipt:
    return Receipts(keys).decode(token, table_id=TABLE, user_id=BOB, device=device)


LOGS = st.builds(LogId, st.integers(0, EPOCH_MAX), st.integers(0, PARTITION_MAX))
KEYS_OF_BUNDLES = st.builds(
    lambda log, last, run: BundleKey(
        log.epoch, log.partition, last, max(window_start(last), last - run)
    ).encode(),
    LOGS, OFFSETS, st.integers(0, WINDOW_SIZE),
)  # fmt: skip
BOUNDARIES = (
    st.text(min_size=1, max_size=200) | KEYS_OF_BUNDLES | st.builds(LogId.after, LOGS, OFFSETS)
)


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    """What readings make."""
    logs: dict[LogId, LogReach] = {}
    for log in draw(st.lists(LOGS, max_size=4, unique=True)):
        ackable_to = draw(st.integers(-1, OFFSET_MAX))
        read_to = draw(st.integers(ackable_to, OFFSET_MAX))
        blocked, already_acknowledged = draw(st.booleans()), draw(st.booleans())
        inherited_to = -1
        if ackable_to < read_to and draw(st.booleans()):
            inherited_to = draw(st.integers(ackable_to + 1, read_to))
        logs[log] = LogReach(
            read_to,
            ackable_to,
            blocked=blocked,
            already_acknowledged=already_acknowledged,
            inherited_to=inherited_to,
        )
    return Receipt(draw(BOUNDARIES), logs)


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
        assert -1 <= reach.ackable_to <= reach.read_to <= OFFSET_MAX
        assert reach.inherited_to == -1 or reach.ackable_to < reach.inherited_to <= reach.read_to


@pytest.mark.parametrize("content", [b"", b"\x00", b"\x00\x00\x00", b"\x00\x01!\x00\x00"])
def test_a_content_that_says_nothing_or_too_much_is_refused(content: bytes) -> None:
    """Without a boundary a reading could not go on; nothing may follow the logs (G6)."""
    with pytest.raises(InvalidReceipt, match="damaged"):
        decode(seal(HEAD + content))


MADE = Receipt(
    "0001.00003.0000000000000000042.~",
    {
        LogId(1, 2): LogReach(9, 7, blocked=True),
        LogId(1, 3): LogReach(42, 42, already_acknowledged=True),
    },
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
    token = encode(Receipt(boundary, MADE.logs), keys)
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
def test_a_receipt_of_another_user_or_table_is_refused(
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
    with pytest.raises(InvalidReceipt, match="no receipt key"):
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
        decode(seal(b"\x04" + body[1:]), ["key"])
    with pytest.raises(InvalidReceipt, match="version 5"):
        decode(seal(b"\x05" + body[1:]))
    assert decode(seal(b"\x04" + body[1:], b"key"), ["key"]) == MADE


@pytest.mark.parametrize("version", [b"\x01", b"\x02"])
@pytest.mark.parametrize("size", [80, 48 * 1024 - 1])  # 64 * 1024 characters
def test_a_receipt_of_an_earlier_version_is_refused_with_what_to_do(
    version: bytes, size: int
) -> None:
    """It listed the keys of bundles; a client may still hold one (G6)."""
    token = base64.urlsafe_b64encode(version + bytes(size)).decode().rstrip("=")
    for keys in KEYS:
        with pytest.raises(InvalidReceipt, match=rf"version {version[0]},.* fetch again"):
            decode(token, keys)


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize(
    ("made_for", "given_for"), [(None, "phone"), ("phone", None), ("phone", "pad")]
)
def test_a_receipt_of_another_device_is_refused_and_said(
    keys: list[str | bytes], made_for: str | None, given_for: str | None
) -> None:
    """It would acknowledge what this device never had (G6, G12)."""
    token = encode(MADE, keys, made_for)

    assert decode(token, keys, made_for) == MADE
    mine = "the account" if given_for is None else f"the device '{given_for}'"
    with pytest.raises(InvalidReceipt, match=f"another device, not to {mine}$"):
        decode(token, keys, given_for)


def test_an_ordinary_receipt_has_about_a_hundred_characters() -> None:
    """A client can keep it anywhere (G8)."""
    log = LogId(12, 345)
    reach = {log: LogReach(9_876_543_210, 9_876_543_210)}
    for boundary in (BundleKey(*log, 9_876_543_210, 9_876_543_000).encode(), log.after(10**12)):
        assert len(encode(Receipt(boundary, reach))) <= 75
        assert len(encode(Receipt(boundary, reach), ["key"])) <= 90


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


def largest(logs: int, **flags: bool) -> dict[LogId, LogReach]:
    """Every number at its longest, in key order."""
    first = PARTITION_MAX - logs
    return {LogId(EPOCH_MAX, first + n): LogReach(OFFSET_MAX, -1, **flags) for n in range(logs)}


@pytest.mark.parametrize("logs", [26, 27, 1_000])
def test_the_largest_receipt_is_within_its_limit(logs: int) -> None:
    """1 KB, whatever it has passed (G8)."""
    made = largest(logs)
    boundary = BundleKey(*list(made)[-1], OFFSET_MAX, window_start(OFFSET_MAX)).encode()
    for keys in KEYS:
        token = encode(Receipt(boundary, made), keys)

        assert len(token) <= 1024
        assert list(decode(token, keys).logs) == list(made)[-26:]


def test_behind_a_key_of_any_length_a_receipt_can_be_made() -> None:
    """An item that cannot be read may stand at any key (G8)."""
    receipt = Receipt("\N{EURO SIGN}" * 341 + "a", within(690, ()))
    token = encode(receipt, ["key"])

    assert len(token) <= TOKEN_CHARS_MAX == 2390  # by which a gateway may bound a client's text
    assert decode(token, ["key"]) == receipt


SMALL = LogReach(126, -1)  # with epoch and partition below 128: five numbers of one byte each


def within(size: int, older: Iterable[LogId]) -> dict[LogId, LogReach]:
    """Older logs, and newer ones that take so many bytes."""
    newer = (LogId(2 + n // 100, n % 100) for n in range(size // 5))
    return dict.fromkeys((*older, *newer), SMALL)


def test_logs_of_690_bytes_are_kept_and_none_beyond() -> None:
    """The oldest are forgotten from the first on for which there is no room (G8)."""
    full, one_byte_short = within(690, ()), within(685, [LogId(1, 1), LogId(1, 128)])

    assert decode(encode(Receipt("a", full))).logs == full
    assert decode(encode(Receipt("a", within(690, [LogId(1, 1)])))).logs == full
    assert decode(encode(Receipt("a", one_byte_short))).logs == within(685, ())


def test_logs_for_which_there_is_no_room_come_again_the_oldest_first() -> None:
    """Of those that the cursor covers already nothing is lost (G8, G10)."""
    old = {LogId(1, n): LogReach(OFFSET_MAX, 0) for n in range(5)}
    known = largest(30, already_acknowledged=True)
    found = decode(encode(Receipt(LogId(1, 2).after(3), old | known))).logs

    assert list(found) == list(old) + list(known)[-len(found) + 5 :]
    assert 20 < len(found) < 35


def test_what_blocks_a_log_is_not_forgotten() -> None:
    """Else what was not returned could be acknowledged (G2, G8)."""
    blocked = {LogId(1, 1): LogReach(7, 3, blocked=True)}
    here = {LogId(1, 2): LogReach(9, 9)}
    found = decode(encode(Receipt(LogId(1, 2).after(9), blocked | here | largest(50)))).logs

    assert found.items() >= (blocked | here).items()
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01a" + b"\xb3\x05",  # 691 logs
        b"\x00\x81\x08" + b"a" * 1025 + b"\x00",  # a boundary that no key has
        b"\x00\x01a" + b"\xff" * 10 + b"\x01",  # a number without end
        b"\x03\x01a\x00",  # a boundary of another kind
        b"\x01\x01\x03\x05\x06\x00",  # ... that ends before it begins
        b"\x00\x01a\x01\x01\x03\x05\x06\x00",  # a log that covers less than nothing
        b"\x00\x01a\x01\x01\x03\x05\x00\x08",  # ... with a flag that there is not
        b"\x00\x01a\x01\x01\x03\x05\x00\x04\x00",  # ... that inherits what it covers
        b"\x00\x01a\x01\x01\x03\x05\x02\x04\x02",
        b"\x00\x01a\x01\x01\x03\x05\x02\x04",  # ... that inherits, and does not say what
        b"\x00\x01a" + b"\x00" * 1000,
        b"\x00\x01a" + b"\x80" * 10 + b"\x00",  # a number of 11 bytes
        b"\x00\x01a\x01\x01\x03\x05\x00\x80",  # ... that is cut off
        b"\x00\x01a\x01\x01\x03\x81" + b"\x80" * 8 + b"\x01\x00\x00",  # an offset above 64 bits
        b"\x00\x01a\x02" + b"\x01\x03\x05\x00\x00" * 2,  # a log twice
    ],
)
def test_what_no_reading_makes_is_refused(content: bytes) -> None:
    """Nobody makes us work for a token (G6, G8)."""
    with pytest.raises(InvalidReceipt, match="damaged"):
        decode(seal(HEAD + content))


def test_a_long_text_is_not_looked_into() -> None:
    """Its length alone refuses it (G8)."""
    with pytest.raises(InvalidReceipt):
        decode("A" * (TOKEN_CHARS_MAX + 1))
    with pytest.raises(InvalidReceipt, match="not a receipt"):
        decode(base64.urlsafe_b64encode(b"\x01" + bytes(48 * 1024 - 1)).decode() + "AA")
    with pytest.raises(InvalidReceipt):
        decode(b"bytes")  # type: ignore[arg-type]


def test_a_receipt_shorter_than_its_binding_is_refused() -> None:
    """By its length, before any part of it is looked at (G6)."""
    with pytest.raises(InvalidReceipt, match="too short"):
        decode(seal(HEAD[:-1]))


@pytest.mark.parametrize(
    "boundary",
    ["0001.00003.9999999999999999999.~", "0001.00003.5.~", "1.3.0000000000000000005.~"],
)
def test_a_boundary_that_only_resembles_one_of_ours_is_kept_as_it_is(boundary: str) -> None:
    """A later version's key may look like that (G2, G10)."""
    assert decode(encode(Receipt(boundary))).boundary == boundary


def test_every_number_of_a_receipt_may_be_the_largest() -> None:
    """And takes no more room than one of as many bits (G6, G8)."""
    log = LogId(EPOCH_MAX, PARTITION_MAX)
    made = [
        Receipt(
            log.after(offset), {log: LogReach(offset, -1, blocked=True, already_acknowledged=True)}
        )
        for offset in (OFFSET_MAX, OFFSET_MAX - 1)
    ]

    assert [decode(encode(each)) for each in made] == made
    assert len(encode(made[0])) - len(encode(made[1])) <= 4  # one bit more, in two numbers


def test_the_format_is_what_is_documented() -> None:
    """Clients keep receipts longer than readers keep a version of theirs (G6, G10)."""
    assert encode(MADE) == "A1hlSva8NJ9SAuSI-b3F2mcCAQMqAgECCgIBAQMrAAL2bzaz"
    assert encode(MADE, ["key one"], "phone") == (
        "BFhlSva8NJ9SAuSI-b20GuICAQMqAgECCgIBAQMrAAIbViLXL1eFmXkNVO3-n6qh"
    )


def test_the_format_of_an_inherited_log_is_what_is_documented() -> None:
    """A flag, and one number more: a reader that does not know it refuses the receipt (G12)."""
    inherited = LogReach(42, 7, inherited_to=40)
    plain, found = (
        base64.urlsafe_b64decode(encode(Receipt("a", {LogId(1, 3): reach})) + "==")
        for reach in (LogReach(42, 7), inherited)
    )

    assert plain[17:-4] == b"\x00\x01a" + b"\x01\x01\x03\x2b\x23\x00"
    assert found[17:-4] == b"\x00\x01a" + b"\x01\x01\x03\x2b\x23\x04\x02"


@pytest.mark.parametrize(
    ("reach", "begins_at"),
    [
        (LogReach(), -1),
        (LogReach(0, -1, inherited_to=0), 0),
        (LogReach(9, 3), 3),
        (LogReach(9, 3, inherited_to=7), 7),
    ],
)
def test_a_cursor_that_is_made_covers_what_it_inherits(reach: LogReach, begins_at: int) -> None:
    """Else what the account had acknowledged would come back to its device (G12)."""
    assert reach.cursor_begins_at == begins_at


def test_a_reach_begins_before_offset_0() -> None:
    """Nothing is covered until it was passed (G2)."""
    assert LogReach() == LogReach(
        -1, -1, blocked=False, already_acknowledged=False, inherited_to=-1
    )
