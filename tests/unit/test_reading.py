"""One page in the making: against an oracle that knows no bundles."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from poste_restante.item import Item, encode_bundle
from poste_restante.message import Message
from poste_restante.position import WINDOW_SIZE, BundleKey, LogId, window_start
from poste_restante.reading import PageLimits, Reading
from poste_restante.receipt import LogReach, Receipt
from poste_restante.table import Cursor
from tests.records import TOPIC, message

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LOG = LogId(1, 3)


def items_of(*bundles: Iterable[Message]) -> list[Item]:
    """The bundles' items in key order, each once."""
    items = [encode_bundle(list(bundle), TOPIC) for bundle in bundles]
    return [dict(pair) for _, pair in sorted({i["position"]["S"]: i for i in items}.items())]


def bundle(*offsets: int, partition: int = 3) -> list[Message]:
    return [message(offset, partition=partition) for offset in offsets]


def read(
    items: Iterable[Item],
    *,
    cursor: Cursor | None = None,
    inherited: bool = False,
    limits: PageLimits | None = None,
    start: Receipt | None = None,
    since: Receipt | None = None,
) -> Reading:
    """A page of all items behind a receipt, as one Query brings them."""
    made = partial(Reading, inherited=True) if inherited else Reading
    reading = made(
        user_id="bob", topic=TOPIC, now=NOW, cursor=cursor or {}, limits=limits or PageLimits(),
        start=start, since=since,
    )  # fmt: skip
    boundary = "" if start is None else start.boundary
    reading.add_items(item for item in items if item["position"]["S"] > boundary)
    return reading


def offsets(reading: Reading) -> list[int]:
    return [each.position.offset for each in reading.messages]


@dataclass(frozen=True)
class Table:
    """Messages of a mailbox in log order, and bundles of them as several lives wrote them."""

    messages: list[Message]
    items: list[Item]
    cursor: Cursor


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Lives begin at a window border and end anywhere; the first one ends with the log."""
    messages: list[Message] = []
    bundles: list[list[Message]] = []
    cursor: Cursor = {}
    for log in draw(st.lists(st.sampled_from([LOG, LogId(1, 4), LogId(2, 3)]), unique=True)):
        numbers = draw(st.sets(st.integers(WINDOW_SIZE - 15, WINDOW_SIZE + 15), max_size=14))
        mine = [draw(_messages(log, offset)) for offset in sorted(numbers)]
        messages += mine
        for task in range(draw(st.integers(1, 3))):
            begin = draw(st.sampled_from([0, WINDOW_SIZE])) if task else 0
            end = draw(st.integers(0, len(mine))) if task else len(mine)
            run = [each for each in mine[:end] if each.position.offset >= begin]
            while run:
                size = draw(st.integers(1, 5))
                window = window_start(run[0].position.offset)
                cut = [m for m in run[:size] if window_start(m.position.offset) == window]
                bundles.append(cut)
                run = run[len(cut) :]
        if draw(st.booleans()):
            cursor[log] = draw(st.integers(WINDOW_SIZE - 16, WINDOW_SIZE + 16))
    messages.sort(key=lambda each: each.position)
    return Table(messages, items_of(*bundles), cursor)


@st.composite
def _messages(draw: st.DrawFn, log: LogId, offset: int) -> Message:
    """Some expire, some are resent, some are large."""
    plain = message(offset, epoch=log.epoch, partition=log.partition)
    body = b"x" * draw(st.sampled_from([1, 1, 40, 200]))
    headers = (("name", b"value"), ("none", None))[: draw(st.integers(0, 2))]
    expiry = draw(st.sampled_from([None, None, NOW, NOW + timedelta(milliseconds=1)]))
    made = replace(plain, body=body, headers=headers, expires_at=expiry)
    if draw(st.booleans()):
        return made
    return replace(
        made, id=draw(st.sampled_from("ab")), source=draw(st.sampled_from(["/s", "/t", None]))
    )


LIMITS = st.builds(
    PageLimits, st.none() | st.integers(1, 6), st.none() | st.integers(1, 300)
)  # fmt: skip


def size(each: Message) -> int:
    return len(each.body) + sum(len(n) + len(v or b"") for n, v in each.headers)


@dataclass
class OraclePage:
    shown: list[Message]
    more: bool
    rest: list[Message]
    read_to: dict[LogId, int]


def oracle(messages: list[Message], cursor: Cursor, limits: PageLimits) -> OraclePage:
    """The page of a plain list of messages in log order, of which none was passed."""
    page = OraclePage([], False, [], {})
    seen: set[tuple[str, str, bytes]] = set()
    for index, each in enumerate(messages):
        hidden = each.position.offset <= cursor.get(each.position.log, -1)
        hidden = hidden or (each.expires_at is not None and each.expires_at <= NOW)
        identity = None if each.source is None else (each.source, each.id, each.body)
        if not hidden and identity not in seen:
            full = limits.messages_max is not None and len(page.shown) == limits.messages_max
            total = sum(map(size, page.shown)) + size(each)
            full = full or (limits.bytes_max is not None and total > limits.bytes_max)
            if page.shown and full:
                page.more, page.rest = True, messages[index:]
                return page
            page.shown.append(each)
            if identity is not None:
                seen.add(identity)
        page.read_to[each.position.log] = each.position.offset
    return page


@given(tables(), LIMITS, st.booleans())
def test_page_after_page_is_what_the_log_holds(
    table: Table, limits: PageLimits, inherited: bool
) -> None:
    """Whatever bundles overlap, wherever limits cut, and of whom the cursor is (G2, G3, G4, G5, G8,
    G12)."""
    rest, start, ackable_to = table.messages, None, dict(table.cursor)
    passed_any = False
    while True:
        reading = read(
            table.items, cursor=table.cursor, inherited=inherited, limits=limits, start=start
        )
        wanted = oracle(rest, table.cursor, limits)
        assert reading.messages == wanted.shown
        assert reading.more == wanted.more
        assert reading.messages or not reading.more

        for log, offset in wanted.read_to.items():
            passed_any = passed_any or offset > ackable_to.get(log, -1)
            ackable_to[log] = max(offset, ackable_to.get(log, -1))
        receipt = reading.receipt()
        assert (receipt is None) == (not passed_any)
        if receipt is not None:
            # The receipt has every log of the cursor. What the account has acknowledged is not a
            # device's own to acknowledge.
            assert receipt.logs == {
                log: LogReach(offset, -1, already_acknowledged=True, inherited_to=offset)
                if inherited and offset == table.cursor.get(log)
                else LogReach(
                    offset, offset, already_acknowledged=offset <= table.cursor.get(log, -1)
                )
                for log, offset in ackable_to.items()
            }
            assert list(receipt.logs) == sorted(receipt.logs)
        if not reading.more:
            break
        start, rest = receipt, wanted.rest


@given(tables(), LIMITS, st.integers(1, 6))
def test_a_scan_that_skips_returns_what_one_that_reads_all_does(
    table: Table, limits: PageLimits, items_max: int
) -> None:
    """Wherever Queries end, and with less read (G2, G4, G5, G7)."""
    whole = read(table.items, cursor=table.cursor, limits=limits)
    reading = read([], cursor=table.cursor, limits=limits)
    rest, brought = table.items, 0
    while rest:
        found, rest = rest[:items_max], rest[items_max:]
        brought += len(found)
        reading.add_items(found)
        if reading.is_ended:
            break
        above = reading.skip(found[-1]["position"]["S"])
        if above is not None:
            assert above > found[-1]["position"]["S"]
            rest = [item for item in rest if item["position"]["S"] > above]

    assert reading.messages == whole.messages
    assert reading.more == whole.more
    assert brought <= len(table.items)
    assert (reading.receipt() is None) == (whole.receipt() is None)
    if whole.receipt() is not None:
        assert reading.receipt().logs == whole.receipt().logs  # type: ignore[union-attr]


@given(tables(), LIMITS, tables())
def test_since_a_receipt_is_as_if_it_had_been_acknowledged(
    table: Table, limits: PageLimits, other: Table
) -> None:
    """In every log, and the greater of receipt and cursor counts (G4, G6)."""
    receipt = read(table.items, cursor=table.cursor, limits=limits).receipt()
    assume(receipt is not None)
    assert receipt is not None
    both = dict(other.cursor)
    for log, reach in receipt.logs.items():
        both[log] = max(reach.ackable_to, both.get(log, -1))
    since = read(table.items, cursor=other.cursor, limits=limits, since=receipt)
    acknowledged = read(table.items, cursor=both, limits=limits)

    assert since.messages == acknowledged.messages
    assert since.more == acknowledged.more
    chained = since.receipt()
    assert chained is not None  # a client that keeps its receipt always has one to keep
    assert all(chained.logs[log].ackable_to >= offset for log, offset in both.items())
    for log, reach in chained.logs.items():
        stored = max(table.cursor.get(log, -1), other.cursor.get(log, -1))
        assert reach.already_acknowledged == (reach.ackable_to <= stored)


@given(tables(), st.integers(0, 20), LIMITS)
def test_what_a_page_passes_ends_where_its_query_ended(
    table: Table, cut: int, limits: PageLimits
) -> None:
    """Items that were not read are not acknowledged (G2, G6)."""
    whole = read(table.items[:cut], cursor=table.cursor, limits=limits)
    top: dict[LogId, int] = dict(table.cursor)
    for item in table.items[:cut]:
        key = BundleKey.decode(item["position"]["S"])
        top[key.log] = max(key.last, top.get(key.log, -1))
    receipt = whole.receipt()

    for log, reach in receipt.logs.items() if receipt is not None else ():
        assert reach.ackable_to <= top[log]


@given(tables(), st.integers(0, 12))
def test_after_close_nothing_more_is_returned(table: Table, cut: int) -> None:
    """What is added then tells whether there is more, and hidden items are passed (G2, G8)."""
    reading = read(table.items[:cut], cursor=table.cursor)
    before = list(reading.messages)
    reading.close()
    reading.add_items(table.items[cut:])

    wanted = oracle(table.messages, table.cursor, PageLimits(messages_max=len(before)))
    if before:
        assert reading.messages == before
        assert reading.more == wanted.more


def test_a_limit_cuts_inside_a_bundle() -> None:
    """The receipt covers what was returned (G2, G6)."""
    items = items_of(bundle(1, 2, 3), bundle(5))
    one = read(items, limits=PageLimits(messages_max=2))
    receipt = one.receipt()

    assert (offsets(one), one.more) == ([1, 2], True)
    assert receipt is not None
    assert receipt == Receipt(LOG.after(2), {LOG: LogReach(2, 2)})
    assert offsets(read(items, start=receipt)) == [3, 5]


def test_a_message_above_the_limit_of_bytes_stands_alone() -> None:
    """At least one message is returned (G8)."""
    items = items_of([replace(message(1), body=b"x" * 100)], bundle(2))
    page = read(items, limits=PageLimits(bytes_max=10))

    assert (offsets(page), page.more) == ([1], True)


def test_hidden_messages_behind_the_last_one_are_passed() -> None:
    """A page that is full says exactly whether one more can be seen (G5, G8)."""
    resent = replace(message(1), source="/s", id="a")
    items = items_of([resent], [replace(resent, position=message(2).position)],
                     [replace(message(3), expires_at=NOW)])  # fmt: skip
    page = read(items, limits=PageLimits(messages_max=1))
    receipt = page.receipt()

    assert (offsets(page), page.more) == ([1], False)
    assert receipt is not None
    assert receipt.logs == {LOG: LogReach(3, 3)}


@pytest.mark.parametrize(
    "other", [{"source": "/t"}, {"source": None}, {"id": "b"}, {"body": b"other"}]
)
def test_a_resend_is_the_same_in_source_id_and_body(other: dict[str, object]) -> None:
    """Where identity is uncertain a message is shown again (G5, G10)."""
    one = replace(message(1), source="/s", id="a")
    two = replace(one, position=message(2).position)
    three = replace(one, position=message(3).position, **other)  # type: ignore[arg-type]
    page = read(items_of([one, two, three]))

    assert offsets(page) == [1, 3]


def test_plain_records_take_no_part_in_deduplication() -> None:
    """Two of the same body are two messages (G10)."""
    assert offsets(read(items_of(bundle(1), bundle(2)))) == [1, 2]


def garbage(key: BundleKey) -> Item:
    return {"user_id": {"S": "bob"}, "position": {"S": key.encode()}, "v": {"N": "99"}}


def test_a_bundle_at_or_below_the_cursor_is_judged_by_its_key() -> None:
    """It is never parsed (G4)."""
    items = [garbage(BundleKey(*LOG, 2, 1)), *items_of(bundle(3, 4))]

    assert offsets(read(items, cursor={LOG: 2})) == [3, 4]


@pytest.mark.parametrize(
    ("last", "above"),
    [
        ("!", "!~"), ("!phone", "!~"), ("!later~than that", "!~"),
        (BundleKey(*LOG, 7, 7).encode(), LOG.after(9)),
        (BundleKey(*LOG, 9, 8).encode(), LOG.after(9)),
        (BundleKey(*LOG, 10, 9).encode(), None),  # part of it is unread
        (BundleKey(1, 4, 7, 7).encode(), None),
        ("0001.00003.x", None),
    ],
)  # fmt: skip
def test_a_scan_skips_what_the_cursor_hides_and_no_more(last: str, above: str | None) -> None:
    """One step too far would hide a message (G2, G7)."""
    assert read([], cursor={LOG: 9}).skip(last) == above


def test_a_page_that_ends_behind_a_skip_goes_on_there() -> None:
    """What was skipped is not read for the next page (G7)."""
    items = items_of(bundle(1), bundle(1, partition=4), bundle(2, partition=4))
    page = read(items[:2], cursor={LogId(1, 4): 1})
    above = page.skip(items[1]["position"]["S"])
    receipt = page.receipt()

    assert receipt is not None
    assert above == receipt.boundary == LogId(1, 4).after(1)


def test_a_log_ahead_may_begin_with_leftovers() -> None:
    """Where the cursor names one behind this key (G7)."""
    page = read([], cursor={LOG: 9})

    assert page.may_have_leftovers("!")
    assert page.may_have_leftovers(LogId(1, 2).after(4))
    assert not page.may_have_leftovers(LOG.after(4))


def test_a_bundle_that_was_passed_is_judged_by_its_key() -> None:
    """An overlapping one that ends with what was seen is never parsed (G2, G5)."""
    items = [*items_of(bundle(1, 2, 3)), garbage(BundleKey(*LOG, 3, 2)), *items_of(bundle(4))]

    assert offsets(read(items)) == [1, 2, 3, 4]


@given(
    tables(), LIMITS, tables(), st.sampled_from(["start", "since"]), st.booleans(), st.booleans()
)
def test_what_the_account_acknowledged_is_no_devices_own_to_acknowledge(
    table: Table, limits: PageLimits, other: Table, handed: str, before: bool, now: bool
) -> None:
    """An acknowledgement covers what the device's own cursors, its receipts and its pages say, and
    a cursor that is made the account's as well (G4, G12)."""
    receipt = read(table.items, cursor=table.cursor, inherited=before, limits=limits).receipt()
    assume(receipt is not None)
    assert receipt is not None
    handed_in = {handed: receipt}
    one = read(table.items, cursor=other.cursor, inherited=now, limits=limits, **handed_in)
    found = one.receipt()
    assert found is not None
    shown = {each.position.log: each.position.offset for each in one.messages}
    own = {} if now else other.cursor

    for log, reach in found.logs.items():
        of_receipt = receipt.logs.get(log, LogReach())
        floor = max(of_receipt.ackable_to, own.get(log, -1))
        assert reach.ackable_to >= max(floor, shown.get(log, -1))
        if reach.ackable_to == floor:
            assert reach.already_acknowledged == (
                reach.ackable_to
                <= max(
                    own.get(log, -1),
                    of_receipt.ackable_to if of_receipt.already_acknowledged else -1,
                )
            )
        else:  # it has passed something itself
            assert reach.ackable_to == reach.read_to
        account = other.cursor.get(log, -1) if now else -1
        if handed == "start":
            account = max(account, of_receipt.inherited_to)
        assert reach.cursor_begins_at == max(reach.ackable_to, account)
        assert reach.inherited_to == (account if account > reach.ackable_to else -1)


def test_a_blocked_log_keeps_what_a_device_inherits_apart() -> None:
    """Three offsets differ: what was read, what was returned, what the account has (G2, G12)."""
    items = [*items_of(bundle(1)), garbage(BundleKey(*LOG, 3, 2)), *items_of(bundle(6))]
    start = read(items, start=read(items, inherited=True).receipt(), inherited=True)
    page = read(items, start=start.receipt_past_unreadable(), cursor={LOG: 4}, inherited=True)
    receipt = page.receipt()

    assert offsets(page) == [6]
    assert receipt is not None
    assert receipt.logs == {LOG: LogReach(6, 1, blocked=True, inherited_to=4)}
    assert receipt.logs[LOG].cursor_begins_at == 4


def test_a_page_ends_before_an_unreadable_item() -> None:
    """What is before it can be acknowledged, what is behind it cannot (G2)."""
    items = [*items_of(bundle(1)), garbage(BundleKey(*LOG, 3, 2)), *items_of(bundle(4))]
    page = read(items)
    receipt = page.receipt()

    assert (offsets(page), page.more) == ([1], True)
    assert page.unreadable is not None
    assert "99" in page.unreadable.reason
    assert receipt is not None
    assert receipt.logs == {LOG: LogReach(1, 1)}


def test_behind_an_unreadable_item_nothing_of_its_log_is_covered() -> None:
    """It is shown; other logs go on as ever, page after page (G2, G10)."""
    items = [
        *items_of(bundle(1)), garbage(BundleKey(*LOG, 3, 2)),
        *items_of(bundle(4), bundle(5), bundle(7, partition=4)),
    ]  # fmt: skip
    start = read(items, start=read(items).receipt()).receipt_past_unreadable()
    page = read(items, start=start, limits=PageLimits(messages_max=1))
    last = read(items, start=page.receipt())
    receipt = last.receipt()

    assert (offsets(page), offsets(last)) == ([4], [5, 7])
    assert receipt is not None
    assert receipt.logs == {LOG: LogReach(5, 1, blocked=True), LogId(1, 4): LogReach(7, 7)}


@pytest.mark.parametrize(
    ("key", "blocked"),
    [
        ("0001.00003.0000000000000000003.0000000000000000009", True),  # ends before it begins
        ("0001.00003.x", True),
        ("0001.00003x", True),
        ("0001.00002.x", False),
        ("0001.000031.x", False),
        ("0001.0000", False),
        ("later", False),
    ],
)
def test_a_key_of_another_version_blocks_the_log_that_it_names(key: str, blocked: bool) -> None:
    """Whatever follows the log in it (G2)."""
    page = read([{"user_id": {"S": "bob"}, "position": {"S": key}}])
    start = page.receipt_past_unreadable()

    assert page.more
    assert start.boundary == key
    assert start.logs.get(LOG, LogReach()).blocked is blocked


def test_an_item_between_two_pages_is_not_gone_past() -> None:
    """A later version's key may begin with one that was read: it is the next page's (G2, G10)."""
    key = BundleKey(*LOG, 2, 1).encode() + ".later"
    later: Item = {"user_id": {"S": "bob"}, "position": {"S": key}}
    items = [*items_of(bundle(1, 2)), later, *items_of(bundle(3))]
    page = read(items)
    behind = read(items, start=page.receipt())

    assert (offsets(page), page.more) == ([1, 2], True)
    assert (offsets(behind), behind.more) == ([], True)
    assert behind.unreadable is not None
    assert behind.unreadable.key == key
    assert offsets(read(items, start=behind.receipt_past_unreadable())) == [3]


def test_cursors_of_devices_are_no_messages() -> None:
    """They stand before the bundles (G10, G12)."""
    device: Item = {"user_id": {"S": "bob"}, "position": {"S": "!phone"}}

    assert offsets(read([device, *items_of(bundle(1))])) == [1]


def test_nothing_read_is_nothing_to_acknowledge() -> None:
    """An empty mailbox gives no receipt (G6)."""
    assert read([]).receipt() is None
    assert read([], cursor={LOG: 7}).receipt() is None


def test_a_page_that_passed_nothing_new_gives_the_receipt_it_went_on_from() -> None:
    """So the last page's receipt covers the whole reading (G6)."""
    start = read(items_of(bundle(1))).receipt()

    assert read([], start=start).receipt() == start


@pytest.mark.parametrize(("late_ms", "shown"), [(1, [1]), (0, []), (-1, [])])
def test_a_message_is_not_returned_at_or_after_its_expiry(late_ms: int, shown: list[int]) -> None:
    """But passed, so that it can be acknowledged (G2)."""
    expiring = replace(message(1), expires_at=NOW + timedelta(milliseconds=late_ms))
    page = read(items_of([expiring]))
    receipt = page.receipt()

    assert offsets(page) == shown
    assert receipt is not None
    assert receipt.logs == {LOG: LogReach(1, 1)}


def test_a_page_ends_exactly_where_its_limit_of_bytes_does() -> None:
    """Bodies, names and values of headers count; a value that is null has none (G8)."""
    headers = (("ab", b"cd"), ("x", None))
    eight = [replace(message(n), body=b"123", headers=headers) for n in (1, 2)]

    full, cut = (read(items_of(eight), limits=PageLimits(bytes_max=n)) for n in (16, 15))
    assert (offsets(full), full.more) == ([1, 2], False)
    assert (offsets(cut), cut.more) == ([1], True)


def test_a_page_that_ends_behind_offset_0_goes_on_behind_it() -> None:
    """The first offset of a log is passed as any other (G2, G6)."""
    items = items_of(bundle(0, 1))
    receipt = read(items, limits=PageLimits(messages_max=1)).receipt()

    assert receipt == Receipt(LOG.after(0), {LOG: LogReach(0, 0)})
    assert offsets(read(items, start=receipt)) == [1]


def test_a_page_that_ends_before_offset_0_of_a_log_has_not_passed_it() -> None:
    """Else the first message of a log would be acknowledged unseen (G2)."""
    items = items_of(bundle(5), bundle(0, partition=4))
    receipt = read(items, limits=PageLimits(messages_max=1)).receipt()

    assert receipt == Receipt(BundleKey(*LOG, 5, 5).encode(), {LOG: LogReach(5, 5)})


def test_only_a_cursor_at_offset_0_hides_it() -> None:
    """Neither no cursor, nor a receipt that covers nothing (G2, G4)."""
    items, key = items_of(bundle(0)), BundleKey(*LOG, 0, 0).encode()
    nothing = Receipt("!~", {LOG: LogReach()})

    assert offsets(read(items, since=nothing)) == offsets(read(items, start=nothing)) == [0]
    assert read(items).skip(key) is None
    assert offsets(read(items, cursor={LOG: 0})) == []
    assert read(items, cursor={LOG: 0}).skip(key) == LOG.after(0)


def test_a_log_that_is_blocked_from_its_begin_has_nothing_to_acknowledge() -> None:
    """No cursor covers anything of it, and neither does the page (G2, G6)."""
    items = [garbage(BundleKey(*LOG, 3, 2)), *items_of(bundle(4))]
    page = read(items, start=read(items).receipt_past_unreadable())
    receipt = page.receipt()

    assert offsets(page) == [4]
    assert receipt is not None
    assert receipt.logs == {LOG: LogReach(4, -1, blocked=True, already_acknowledged=True)}


def test_since_a_receipt_that_covers_nothing_of_a_log_its_first_offset_is_acknowledged() -> None:
    """No cursor has covered it: it is not acknowledged (G4, G12)."""
    nothing = Receipt("!~", {LOG: LogReach(4, -1, blocked=True, already_acknowledged=True)})
    receipt = read(items_of(bundle(0)), since=nothing).receipt()

    assert receipt is not None
    assert receipt.logs == {LOG: LogReach(0, 0)}


def test_a_device_inherits_nothing_where_the_account_stands_at_its_page() -> None:
    """It was shown as much itself (G12)."""
    start = Receipt("!~", {LOG: LogReach(5, 5)})
    receipt = read([], cursor={LOG: 5}, inherited=True, start=start).receipt()

    assert receipt is not None
    assert receipt.logs == {LOG: LogReach(5, 5)}


def test_a_cursor_is_the_readers_own_unless_it_is_said_to_be_inherited() -> None:
    """An acknowledgement then has nothing to make (G6, G12)."""
    page = Reading(user_id="bob", topic=TOPIC, now=NOW, cursor={LOG: 2, LogId(1, 4): 5})
    page.add_items(items_of(bundle(3)))
    receipt = page.receipt()

    assert receipt is not None
    assert receipt.logs == {
        LOG: LogReach(3, 3),
        LogId(1, 4): LogReach(5, 5, already_acknowledged=True),
    }
