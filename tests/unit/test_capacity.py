"""The capacity model: its units are the format's and the packer's, its page is what it says."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import capacity_page
from benchmarks import made as figures
from benchmarks.capacity import (
    Store,
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
from benchmarks.units import page as units_page
from benchmarks.units.measuring import Size
from benchmarks.users import DAYS, Day, User, Way
from benchmarks.users import users as histories
from poste_restante.item import item_bytes
from poste_restante.scan import FIRST_ITEMS
from tests.bundles import entries_of, item_of
from tests.pages import ROOT, page, table
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


def test_reconnects_that_find_something_are_those_of_the_played_day() -> None:
    """User by user, as often as in the histories that the units' JSON is of; and users who are
    alike find more: what the model says is never too little for us."""
    day, since = Day(), DAYS / 2
    people = list(histories(day, Size().users))
    days = DAYS - since
    rates = [
        (sum(at >= since for at, _ in user.messages) / days,
         sum(at >= since for at in user.returns) / days)
        for user in people
    ]  # fmt: skip
    played = sum(_finding(user, since) for user in people) / days
    played /= sum(messages for messages, _ in rates)

    assert _acknowledged(rates, day) == pytest.approx(played, rel=0.03)
    messages, returns = (sum(values) / len(rates) for values in zip(*rates, strict=True))
    assert _acknowledged([(messages, returns)], day) > 1.2 * _acknowledged(rates, day)


def _finding(user: User, since: float) -> int:
    """Returns with a message behind the return before."""
    found, before = 0, 0.0
    for now in user.returns:
        found += now >= since and any(before < at <= now for at, _ in user.messages)
        before = now
    return found


def _acknowledged(rates: Sequence[tuple[float, float]], day: Day) -> float:
    """Acknowledgements a message, by messages and returns a day of each user."""
    found = [
        Load(users=1, messages_per_user_day=messages, offline_share=1, fetched_share=1,
             reconnects_per_user_day=returns, burst_messages=day.burst_messages).finding_per_day
        for messages, returns in rates if messages and returns
    ]  # fmt: skip
    return sum(found) / sum(messages for messages, _ in rates)


def units_json() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((capacity_page.RESULTS / "units.json").read_text())["found"]
    return found


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


def test_bundling_saves_write_units_and_never_more_than_there_are() -> None:
    """Monotone in how many messages meet."""
    units = [
        mailboxes(Load(messages_per_bundle=n), MACHINE).store.write_units
        for n in (1, 1.5, 2, 3, 5, 10, 30)
    ]

    assert units == sorted(units, reverse=True)
    assert units[-1] > 0


def test_the_usual_item_behind_a_cursor_is_put_and_stored() -> None:
    """An acknowledgement each time that something was found, and no delete."""
    found = item_behind_cursor(SINGLE)

    assert found.write_units == pytest.approx(1_000 + 400 * 10 / 14)
    assert found.stored_gb == pytest.approx(
        (1_000 * 31 * (lean_item_bytes(SINGLE) + 100) + 100 * (cursor_bytes(SINGLE) + 100)) / 1e9
    )


def test_a_shorter_retention_stores_less_and_nothing_else() -> None:
    """Of what is left to TTL: writes and reads are the same."""
    week, month = (mailboxes(Load(retention_days=n), MACHINE) for n in (7, 30))

    assert week.store.write_units == month.store.write_units
    assert week.store.read_units == month.store.read_units
    assert week.store.stored_gb < month.store.stored_gb / 3


def test_a_mailbox_above_a_query_is_several() -> None:
    """G7 ends at 1 MB: the model says so."""
    often, seldom = (
        Load(body_bytes=10_000, reconnects_per_user_day=n, messages_per_user_day=400)
        for n in (4, 0.5)
    )

    assert mailboxes(often, MACHINE).queries_per_fetch == 2
    assert mailboxes(seldom, MACHINE).queries_per_fetch == 3  # 180 messages


def test_a_table_grows_with_the_messages_and_a_scan_of_fixed_partitions_with_their_square() -> None:
    """No unit depends on how many users there are (G7)."""
    small, large = Load(users=1e8), Load(users=1e9)
    tables = [item_per_message(load) for load in (small, large)]
    ours = [mailboxes(load, MACHINE) for load in (small, large)]
    fixed = replace(MACHINE, scan_partitions=10_000)
    scans = [scan(load, fixed, Prices()) for load in (small, large)]
    best = [scan(load, MACHINE, Prices()) for load in (small, large)]

    assert tables[1].write_units == pytest.approx(10 * tables[0].write_units)
    assert ours[1].store.read_units == pytest.approx(10 * ours[0].store.read_units)
    assert ours[1].store.write_units == pytest.approx(10 * ours[0].store.write_units, rel=0.001)
    assert ours[1].fetch_bytes == pytest.approx(ours[0].fetch_bytes)
    assert scans[1].bytes_per_reconnect == pytest.approx(10 * scans[0].bytes_per_reconnect)
    assert scans[1].brokers_of_reading == pytest.approx(100 * scans[0].brokers_of_reading)
    assert scans[1].cores == pytest.approx(100 * scans[0].cores)
    # With partitions that grow along it grows as the tables do: as large a read, for each.
    assert best[1].partitions == pytest.approx(10 * best[0].partitions, rel=0.001)
    assert best[1].bytes_per_reconnect == pytest.approx(best[0].bytes_per_reconnect, rel=0.001)
    assert best[1].dollars_per_month == pytest.approx(10 * best[0].dollars_per_month, rel=0.001)


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


@pytest.mark.parametrize("partitions", [1, 400, 15_000, 40_000, 400_000])
def test_a_scan_pays_for_the_larger_number_of_brokers(partitions: int) -> None:
    """For what is read, or for having the partitions, in parts of one: one rule for every size; and
    there are as many clusters as these brokers take."""
    found = scan(Load(), replace(MACHINE, scan_partitions=partitions), Prices())
    brokers = max(found.brokers_of_reading, found.brokers_of_partitions)
    dollars = brokers * Prices().broker_month + found.cores * Prices().vcpu_month

    assert found.partitions == partitions
    assert found.dollars_per_month == pytest.approx(dollars)
    assert found.clusters == math.ceil(brokers / MACHINE.cluster_brokers)


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


def test_a_cursor_is_the_one_that_an_acknowledgement_makes() -> None:
    """One attribute for each partition, by its name in the format: of one, and less than 60."""
    written = {
        "user_id": {"S": "u" * 16}, "position": {"S": "!"}, "0001.00003": {"N": "1234567"},
    }  # fmt: skip

    assert cursor_bytes(Load(user_id_bytes=16)) == item_bytes(written) < 60


def test_workers_and_partitions_bear_the_peak() -> None:
    """Two workers at least, partitions a power of two, never more workers than partitions."""
    for users in (1e3, 1e6, 5e7, 5e8, 1e10):
        found = mailboxes(Load(users=users), MACHINE)
        assert found.messages_per_s_peak <= found.partitions * MACHINE.partition_messages_per_s
        assert math.log2(found.partitions).is_integer()
        assert 2 <= found.workers <= found.partitions
        assert found.worker_cores <= found.workers


def test_dollars_are_units_by_their_prices() -> None:
    """A million a day of each, for a month, and 10 GB."""
    store = Store(write_units=1e6, read_units=1e6, stored_gb=10)

    assert store.dollars_per_month(Prices()) == pytest.approx(30 * 0.625 + 30 * 0.125 + 2.5)


def test_the_prices_are_those_of_the_dynamodb_page() -> None:
    """One price, wherever it is said."""
    said = page("dynamodb").replace("\n", " ")

    assert f"${Prices().million_write_units} per million write units" in said
    assert f"${Prices().million_read_units} per million read units" in said


@pytest.mark.parametrize(
    "wrong",
    [{"users": 0}, {"offline_share": 1.1}, {"fetched_share": -0.1}, {"messages_per_bundle": 0.5},
     {"reconnects_per_user_day": 0}, {"retention_days": 0}, {"burst_messages": 0.5}],
)  # fmt: skip
def test_a_load_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    """Rather than a figure of it."""
    with pytest.raises(ValueError, match=r"\w+"):
        Load(**wrong)  # type: ignore[arg-type]


# ---- the page and the command


def test_the_pages_tables_are_made() -> None:
    """By the function, from the benchmarks' JSON, all of them: `make capacity` writes them."""
    text = page("capacity")

    assert capacity_page.written(text) == text
    for name in capacity_page.TABLES:
        assert text.count(f"<!-- made: {name} -->") == 1


def test_the_default_bundle_is_what_was_found_without_a_linger() -> None:
    """And a longer linger never makes a smaller one."""
    found = capacity_page.bundled()

    assert Load().messages_per_bundle == found[0.0]
    assert list(found.values()) == sorted(found.values())
    assert {0.0, 5.0, 30.0} <= found.keys()


def test_a_worker_is_as_dear_as_in_its_longest_run() -> None:
    """Not as in a short one: a peak is a backlog."""
    measured = (ROOT / "benchmarks" / "README.md").read_text()
    rows = table(measured, "contender", "records", "CPU, µs")
    longest = max((int(r[1].replace(",", "")), float(r[2])) for r in rows if r[0] == "worker")

    assert longest[0] >= 1_000_000
    assert capacity_page.measured().worker_cpu_us == longest[1]


def test_what_the_page_says_of_the_scan_is_so() -> None:
    """Where it is the cheaper way, by how much, and what it leaves out."""
    text, machine, prices = prose(), capacity_page.measured(), Prices()
    for users in capacity_page.USERS:
        load = Load(users=users)
        scanned = scan(load, machine, prices).dollars_per_month
        usual = item_per_message(load).dollars_per_month(prices)
        ours = mailboxes(load, machine).store.dollars_per_month(prices)
        assert ours < scanned < usual
    assert "costs less than an item per message and more than mailboxes at every size" in text
    assert "The scan costs nearly as much as the usual table" in text
    lingering = replace(load, messages_per_bundle=capacity_page.bundled()[capacity_page.LINGER_S])
    least = mailboxes(lingering, machine).store.dollars_per_month(prices)
    options = {"broker_partitions": 1000, "broker_read_mb_per_s": 62.5, "broker_month": 147.0}
    said = " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in options.items())
    on_small = scan(
        load,
        replace(machine, broker_partitions=1000, broker_read_mb_per_s=62.5),
        replace(prices, broker_month=147.0),
    )
    assert least < on_small.dollars_per_month < ours
    assert (
        f"make it ${figures.number(on_small.dollars_per_month)} (kafka.m7g.large, "
        f"{on_small.brokers:.0f} of them: `{said}`): less than mailboxes without a linger, and "
        f"more than with one of 30 s, at ${figures.number(least)}."
    ) in text

    best = scan(load, machine, prices)
    rows = table(page("capacity"), "partitions", "a reconnect reads")
    assert rows[2][0] == figures.number(best.partitions)
    assert "the third row costs least" in text
    assert (
        f"{best.brokers:.0f} brokers with {figures.number(best.partitions * 3)} copies of "
        f"partitions in {best.clusters} clusters"
    ) in text
    weeks = 7 * 24 / load.away_h
    assert (
        f"After a week a reconnect reads {figures.size(weeks * best.bytes_per_reconnect)}" in text
    )
    assert f"takes a gateway {weeks * best.cpu_s_per_reconnect:.2f} s of" in text
    assert f"spends {1000 * best.cpu_s_per_reconnect:.0f} ms of processor time" in text
    remembered = Load().reconnects_per_day * 30 / 1e6 * prices.million_write_units
    assert f"is ${figures.number(remembered)} a month for 50 million users" in text
    # Two thirds are in another zone, at $0.01 a GB for each of the two sides.
    between_zones = best.sent_gb_per_s_peak / load.peak_factor * 86_400 * 30 * 2 / 3 * 0.02
    assert between_zones > best.brokers * prices.broker_month


def test_what_the_page_says_of_what_mailboxes_cost_is_so() -> None:
    """Against both items per message, and by linger and retention."""
    text, prices, load = prose(), Prices(), Load()
    machine = capacity_page.measured()

    def dollars(load: Load) -> float:
        return mailboxes(load, machine).store.dollars_per_month(prices)

    usual, behind = (
        store(load).dollars_per_month(prices) for store in (item_per_message, item_behind_cursor)
    )
    assert f"mailboxes cost {100 * (1 - dollars(load) / usual):.0f} % less than an item" in text
    assert 1 < dollars(load) / behind < 1.03
    by_linger = {
        at: dollars(replace(load, messages_per_bundle=mean))
        for at, mean in capacity_page.bundled().items()
    }
    assert by_linger[1.0] > behind > by_linger[5.0]
    assert "From a linger of 5 s on, mailboxes are cheaper than the leaner item" in text
    assert "about a fifth less than an item per message and its delete" in text
    assert 0.77 < by_linger[0.0] / usual < 0.83
    assert "with [a linger of 15 s](#what-bundling-saves) a third less" in text
    assert 0.62 < by_linger[15.0] / usual < 0.67
    week = dollars(replace(load, retention_days=7))
    assert f"saves {100 * (1 - week / dollars(load)):.0f} % of the table" in text


def test_what_the_page_says_of_the_linger_and_the_acknowledgements_is_so() -> None:
    """Ratios of the model against those of the day, and how far a linger reaches at the peak."""
    text, machine, load = prose(), capacity_page.measured(), Load()
    units = units_json()
    for row in units_page.day_rows(units):
        lingering = replace(load, messages_per_bundle=capacity_page.bundled()[row["linger_s"]])
        ours = mailboxes(lingering, machine).store.dollars_per_month(Prices())
        model = ours / item_per_message(lingering).dollars_per_month(Prices())
        day = units_page.ratio(units, row, Way.ACKNOWLEDGE.name)
        assert 0 <= round(day - model, 2) <= 0.02
    assert "are higher by up to 0.02" in text

    found = mailboxes(load, machine)
    at_peak = capacity_page.BATCH * found.partitions / found.messages_per_s_peak
    assert f"mean that is {at_peak * load.peak_factor:.0f} s here, but [{at_peak:.0f} s at" in text
    assert at_peak < capacity_page.LINGER_S < at_peak * load.peak_factor
    assert figures.seconds(at_peak) in table(page("capacity"), "", "1 million users")[3][2]
    fast = [r["ratio"] for r in units["scale"] if (r["per_s"], r["linger_s"]) == (500, 30)]
    assert f"30 s come to a ratio of [{fast[0]:.2f}]" in text
    four_times = mailboxes(load, replace(machine, partition_messages_per_s=125))
    assert four_times.partitions == 4 * found.partitions
    assert 4 * at_peak > capacity_page.LINGER_S
    more = 100 * (four_times.store.write_units / found.store.write_units - 1)
    assert f"for {more:.1f} % more units" in text

    per_message = found.acknowledged / load.undelivered_per_day
    played = units_page.day_rows(units)[0][Way.ACKNOWLEDGE.name]["ack_units"] / 1000
    assert f"{per_message:.2f} acknowledgements a message here" in text
    assert f"whose users differ, it is {played:.2f}." in text


def test_what_the_page_says_of_the_quotas_is_so() -> None:
    """40,000 units a second of a table, by default: who comes close, who is above."""
    middle, large = (mailboxes(Load(users=n), MACHINE) for n in (5e7, 5e8))

    assert 18_000 < middle.write_units_per_s_peak < 22_000
    assert large.write_units_per_s_peak > 40_000
    assert large.store.read_units / 86_400 * Load().peak_factor > 40_000
    assert "50 million users need half of it for writes, for 500 million both have" in prose()


def prose() -> str:
    """The page, its lines joined."""
    return " ".join(page("capacity").split())


def test_a_report_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Every input is an option."""
    arguments = ["--users", "2e6", "--body-bytes", "100", "--way", "clients keep their receipt"]
    assert capacity_page.main(arguments) == 0
    printed = capsys.readouterr().out

    assert "undelivered messages a day                         20,000,000" in printed
    assert "- acknowledgements                                          0" in printed


def test_the_command_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands between the marks is made again, the prose is kept."""
    made = tmp_path / "capacity.md"
    made.write_text("before\n<!-- made: bursts -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(capacity_page, "PAGE", made)
    assert capacity_page.main([]) == 0

    text = made.read_text()
    assert text.startswith("before\n<!-- made: bursts -->\n| messages in a bundle")
    assert text.endswith("|\n<!-- end -->\nafter\n")
    assert "old" not in text
