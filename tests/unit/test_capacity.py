"""The capacity model: its units are the format's and the packer's, its page is what it says."""

import random
from dataclasses import replace

import pytest

from benchmarks import capacity_page
from benchmarks.capacity import (
    bundle_bytes,
    bundle_sizes,
    cursor_bytes,
    item_behind_cursor,
    item_per_message,
    lean_item_bytes,
    mailboxes,
    scan,
)
from benchmarks.capacity_inputs import Load, Machine, Prices
from benchmarks.users import Way
from poste_restante.item import item_bytes
from poste_restante.scan import FIRST_ITEMS
from tests.bundles import entries_of, item_of
from tests.pages import page, table
from tests.records import message
from worker.bundles import BundleLimits, pack

MACHINE = Machine(worker_cpu_us=50.0, scan_cpu_us=2.0)
#: A thousand messages a day to users who are away, one by one, all of them fetched.
SINGLE = Load(
    users=100, messages_per_user_day=20, offline_share=0.5, fetched_share=1, messages_per_bundle=1,
    burst_messages=1,
)  # fmt: skip


def test_a_bundles_size_is_the_one_that_is_documented() -> None:
    """And grows by the same for each message: no figure is invented."""
    sizes = {int(row[0]): row[1] for row in table(page("dynamodb"), "messages in one bundle")}

    assert f"{bundle_bytes(SINGLE, 1):,}" == sizes[1]
    for share, count, size in bundle_sizes(replace(SINGLE, messages_per_bundle=4)):
        assert size == bundle_bytes(SINGLE, count), share


@pytest.mark.parametrize(("mean", "body_bytes"), [(1, 300), (2, 300), (8, 3_000), (40, 100)])
def test_bundles_are_those_that_the_worker_packs(mean: float, body_bytes: int) -> None:
    """Bursts of geometric length, packed by the worker's own packer, its limits included."""
    load = Load(messages_per_bundle=mean, body_bytes=body_bytes)
    random_ = random.Random(5)
    items: list[int] = []
    sent = 0
    for _ in range(800):
        length = 1
        while random_.random() < 1 - 1 / mean:
            length += 1
        burst = [message(1_230_000 + n, "u" * 16, b"x" * body_bytes) for n in range(length)]
        sent += length
        for wave in pack(entries_of(burst), burst[0].position.log, BundleLimits()):
            items += [item_bytes(item_of(bundle)) for bundle in wave]
    sizes = bundle_sizes(load)
    per_bundle = sum(share * count for share, count, _ in sizes)

    assert sum(share for share, _, _ in sizes) == pytest.approx(1)
    assert sent / len(items) == pytest.approx(per_bundle, rel=0.12)
    bytes_per_message = sum(share * size for share, _, size in sizes) / per_bundle
    # A test's message has neither time nor expiry: some 20 bytes less.
    assert sum(items) / sent == pytest.approx(bytes_per_message - 20, rel=0.05)


def test_units_of_messages_that_stand_alone() -> None:
    """Put and acknowledgement, counted by hand; progress apart. A reconnect is two Queries."""
    found = mailboxes(SINGLE, MACHINE)

    assert (found.written, found.deleted) == (1_000, 0)
    # Of ten messages and four reconnects of each user, before each of the four: a message, or none.
    assert found.acknowledged == pytest.approx(400 * 10 / 14)
    assert found.progress == 1_000  # a partition that did not move writes none
    assert found.store.write_units == pytest.approx(2_000 + 400 * 10 / 14)
    assert found.store.read_units == 2 * 400
    stored = 1_000 * 31 * (bundle_bytes(SINGLE, 1) + 100)
    stored += 100 * (cursor_bytes(SINGLE) + 100)  # of each user, for good
    assert found.store.stored_gb == pytest.approx(stored / 1e9)


def test_an_acknowledgement_covers_a_burst_at_least() -> None:
    """A user who finds nothing acknowledges nothing: hardly any for who seldom comes back."""
    seldom, often = (replace(SINGLE, reconnects_per_user_day=n) for n in (0.01, 10_000))

    assert mailboxes(seldom, MACHINE).acknowledged == pytest.approx(100 * 0.01, rel=0.01)
    assert mailboxes(often, MACHINE).acknowledged == pytest.approx(1_000, rel=0.01)
    in_tens = replace(often, burst_messages=10)
    assert mailboxes(in_tens, MACHINE).acknowledged == pytest.approx(100, rel=0.01)
    # A bundle has no more than a burst: where more messages meet, bursts are as long.
    ten_meet = replace(often, messages_per_bundle=10)
    assert mailboxes(ten_meet, MACHINE).acknowledged == pytest.approx(100, rel=0.01)
    assert mailboxes(replace(SINGLE, fetched_share=0), MACHINE).acknowledged == 0


def test_what_a_way_does_not_do_is_not_paid_for() -> None:
    """A kept receipt is no acknowledgement; what is deleted is not stored, nor read past."""
    acks, keeps, deletes = (mailboxes(SINGLE, MACHINE, way) for way in Way)

    assert keeps.acknowledged == 0 < acks.acknowledged == deletes.acknowledged
    assert acks.written == keeps.written == deletes.written == deletes.deleted == 1_000
    assert (acks.queries_per_fetch, keeps.queries_per_fetch, deletes.queries_per_fetch) == (2, 2, 1)
    # A Query for each reconnect, and two for each that acknowledges.
    assert deletes.store.read_units == pytest.approx(400 + 2 * 400 * 10 / 14)
    assert deletes.store.stored_gb < acks.store.stored_gb / 20
    assert keeps.fetch_bytes < acks.fetch_bytes + bundle_bytes(SINGLE, 1)


def test_who_finds_nothing_reads_a_unit_for_each_query() -> None:
    """And who finds something reads all of it: by hand, ten a day in two bursts, two reconnects."""
    load = Load(users=1, messages_per_user_day=10, offline_share=1, fetched_share=1, body_bytes=900,
                reconnects_per_user_day=2, burst_messages=5)  # fmt: skip

    assert load.finding_per_day == 1  # of two, all ten messages
    # Of either three units of 4 KB; before it one of the cursor and some leftovers.
    assert 8_192 < 10 * lean_item_bytes(load) < 10 * bundle_bytes(load, 1) < 12_288
    assert cursor_bytes(load) + (FIRST_ITEMS - 1) * bundle_bytes(load, 1) < 4_096
    assert mailboxes(load, MACHINE).store.read_units == (1 + 3) + (1 + 1)
    assert item_behind_cursor(load).read_units == (1 + 3) + (1 + 1)
    assert item_per_message(load).read_units == 3 + 1


def test_the_usual_item_is_put_and_deleted() -> None:
    """What expires is not deleted, and is stored until then."""
    half = item_per_message(replace(SINGLE, fetched_share=0.5))

    assert item_per_message(SINGLE).write_units == 2_000
    assert half.write_units == 1_500
    assert half.stored_gb == pytest.approx(
        (500 * 4 / 24 + 500 * 31) * (lean_item_bytes(SINGLE) + 100) / 1e9
    )
    assert lean_item_bytes(SINGLE) < bundle_bytes(SINGLE, 1)


def test_the_usual_item_behind_a_cursor_is_put_and_stored() -> None:
    """An acknowledgement each time that something was found, and no delete."""
    found = item_behind_cursor(SINGLE)

    assert found.write_units == pytest.approx(1_000 + 400 * 10 / 14)
    assert found.stored_gb == pytest.approx(
        (1_000 * 31 * (lean_item_bytes(SINGLE) + 100) + 100 * (cursor_bytes(SINGLE) + 100)) / 1e9
    )


def test_more_partitions_make_a_scan_shorter_and_take_brokers() -> None:
    """By hand: three copies of 12,000 partitions are 36,000, of which a broker bears 4,000."""
    few, many = (
        scan(Load(), replace(MACHINE, scan_partitions=n), Prices()) for n in (12_000, 24_000)
    )

    assert few.brokers_of_partitions == 9
    assert many.brokers_of_partitions == 18
    assert many.bytes_per_reconnect == pytest.approx(few.bytes_per_reconnect / 2)
    assert many.brokers_of_reading == pytest.approx(few.brokers_of_reading / 2)
    assert many.cores == pytest.approx(few.cores / 2)
    # 2 µs each of what came in 4 hours, for each of the peak's reconnects, on cores half busy.
    assert few.cores == pytest.approx(500e6 / 6 / 12_000 * 2e-6 * 200e6 / 86_400 * 3 / 0.5)


@pytest.mark.parametrize("users", [1e4, 1e6, 5e7, 5e8])
@pytest.mark.parametrize("scan_cpu_us", [1.0, 40.0])
def test_a_scan_has_as_many_partitions_as_cost_least(users: float, scan_cpu_us: float) -> None:
    """None of a fine grid costs less; where processor time is dear, more than reading asks for."""
    load, machine = Load(users=users), replace(MACHINE, scan_cpu_us=scan_cpu_us)
    best = scan(load, machine, Prices())
    grid = {max(round(best.partitions * 1.02**n), 1) for n in range(-250, 250)}
    others = [scan(load, replace(machine, scan_partitions=n), Prices()) for n in grid]

    # A whole number of partitions, so of few of them the best may be missed by a little.
    assert best.dollars_per_month <= min(o.dollars_per_month for o in others) * (
        1 + 1 / best.partitions
    )
    dear = best.brokers_of_partitions > 1.1 * best.brokers_of_reading
    assert dear == (scan_cpu_us == 40)


def test_the_prices_are_those_of_the_dynamodb_page() -> None:
    """One price, wherever it is said."""
    said = page("dynamodb").replace("\n", " ")

    assert f"${Prices().million_write_units} per million write units" in said
    assert f"${Prices().million_read_units} per million read units" in said


# ---- the page and the command


def test_the_pages_tables_are_made() -> None:
    """By the function, from the benchmarks' JSON, all of them: `make capacity` writes them."""
    text = page("capacity")

    assert capacity_page.written(text) == text
    for name in capacity_page.TABLES:
        assert text.count(f"<!-- table: {name} -->") == 1


def test_the_default_bundle_is_what_was_found_without_a_linger() -> None:
    """And a longer linger never makes a smaller one."""
    found = capacity_page.bundled()

    assert Load().messages_per_bundle == found[0.0]
    assert list(found.values()) == sorted(found.values())
    assert {0.0, 5.0, 30.0} <= found.keys()


def test_a_report_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Every input is an option."""
    arguments = ["--users", "2e6", "--body-bytes", "100", "--way", "clients keep their receipt"]
    assert capacity_page.main(arguments) == 0
    printed = capsys.readouterr().out

    assert "undelivered messages a day                         20,000,000" in printed
    assert "- acknowledgements                                          0" in printed
