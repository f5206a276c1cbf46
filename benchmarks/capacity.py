"""What a service of some size needs and pays: partitions, workers, units, storage, dollars. Pure.

    make capacity                                      the tables of docs/capacity.md, made again
    python -m benchmarks.capacity_page --users 2e6     one service, with figures of your own

Ways to keep what waits for users who are away, from the same inputs:

*Mailboxes*: this project. A bundle per mailbox and flush, which TTL removes, one conditional update
per acknowledgement, two Queries per reconnect. Where clients keep their receipt there is no
acknowledgement; with `delete_acknowledged` bundles are deleted, and a reconnect is one Query.
*Item per message*: what is usually written. Put, Query, delete, each message on its own; no
acknowledgement and no progress is kept, so it is charged for neither.
*Item behind a cursor*: the same item, left to TTL. An update per acknowledgement; a reconnect reads
the cursor, then what is above it.
*Scan*: no store. A gateway reads its user's partition from when they left.

Every mean is taken as the case: users are alike, and each reconnect that finds something finds as
much as any other, so a Query that is rounded up is counted up to one read unit short. Not counted:
the topic itself, which all of them need, backups, traffic, and what a replay writes twice.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from benchmarks.capacity_inputs import Load, Machine, Prices
from benchmarks.users import Way
from poste_restante.item import READ_UNIT_BYTES, WRITE_UNIT_BYTES, encode_bundle, item_bytes
from poste_restante.message import Message
from poste_restante.position import CURSOR_KEY, LogId, Position
from poste_restante.scan import FIRST_ITEMS
from worker.bundles import BundleLimits

DAY_S, MONTH_DAYS = 86_400, 30
#: A Query reads at most so much (API reference, "Query"): more is another call.
QUERY_BYTES_MAX = 1024 * 1024
#: DynamoDB's index overhead per stored item ("Item sizes and formats"), billed as storage alone.
STORED_ITEM_OVERHEAD_BYTES = 100
#: Of each partition: what brokers bear is counted with them.
COPIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """What a table is asked, per day, and holds."""

    write_units: float
    read_units: float
    stored_gb: float

    def dollars_per_month(self, prices: Prices) -> float:
        units = (
            self.write_units * prices.million_write_units
            + self.read_units * prices.million_read_units
        )
        return units * MONTH_DAYS / 1e6 + self.stored_gb * prices.storage_gb_month


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailboxes:
    """This project's need.

    written, acknowledged, deleted, progress: write units per day, which sum up to the store's.
    fetch_bytes: that a reconnect's Queries read in the mean, what was acknowledged before, too.
    """

    store: Store
    written: float
    acknowledged: float
    deleted: float
    progress: float
    messages_per_s_peak: float
    partitions: int
    worker_cores: float
    workers: int
    write_units_per_s_peak: float
    fetch_bytes: float
    queries_per_fetch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What it takes to answer each reconnect by reading its partition.

    brokers: the larger of what sends the bytes and what bears the partitions. In parts: there are
    smaller ones for a part of the price, and a cluster is there anyway, for the topic.
    """

    partitions: int
    clusters: int
    bytes_per_reconnect: float
    cpu_s_per_reconnect: float
    sent_gb_per_s_peak: float
    brokers_of_reading: float
    brokers_of_partitions: float
    cores: float
    dollars_per_month: float

    @property
    def brokers(self) -> float:
        return max(self.brokers_of_reading, self.brokers_of_partitions)


def bundle_bytes(load: Load, messages: int) -> int:
    """DynamoDB's size of a bundle of plain messages, from the item format itself."""
    topic = "undelivered-messages"
    time = datetime(2026, 1, 31, 12, microsecond=123_000, tzinfo=UTC)
    made = []
    for n in range(messages):
        position = Position(1, 3, 1_230_000 + n)
        made.append(
            Message(user_id="u" * load.user_id_bytes, id=position.id(topic), position=position,
                    body=b"x" * load.body_bytes, time=time,
                    expires_at=time + timedelta(days=load.retention_days))
        )  # fmt: skip
    return item_bytes(encode_bundle(made, topic))


def cursor_bytes(load: Load) -> int:
    """DynamoDB's size of a cursor, of one partition: it has no expiry, and stays."""
    return item_bytes({
        "user_id": {"S": "u" * load.user_id_bytes}, "position": {"S": CURSOR_KEY},
        LogId(1, 3).encode(): {"N": "1234567"},
    })  # fmt: skip


def bundle_sizes(load: Load) -> list[tuple[float, int, int]]:
    """Share, messages and bytes of the bundles of each size, the largest being the worker's limit.

    A burst goes on with the same probability after each of its messages: so one that the limit
    cuts goes on in the next bundle as if it began there.
    """
    first = bundle_bytes(load, 1)
    more = bundle_bytes(load, 2) - first
    limits = BundleLimits()
    most = max(min(limits.messages_max, limits.bytes_max // more), 1)
    goes_on = 1 - 1 / load.messages_per_bundle
    shares = [(1 - goes_on) * goes_on**n for n in range(most - 1)] + [goes_on ** (most - 1)]
    return [(share, n + 1, first + n * more) for n, share in enumerate(shares)]


def lean_item_bytes(load: Load) -> int:
    """DynamoDB's size of one message as the usual item: two keys, body, expiry; no id, no time."""
    return item_bytes({
        "user_id": {"S": "u" * load.user_id_bytes}, "sort": {"S": "0" * 20},
        "body": {"B": b"x" * load.body_bytes}, "expires_at": {"N": "1769860800"},
    })  # fmt: skip


def mailboxes(load: Load, machine: Machine, way: Way = Way.ACKNOWLEDGE) -> Mailboxes:
    """What this project needs."""
    sizes = bundle_sizes(load)
    bundles = load.undelivered_per_day / sum(share * n for share, n, _ in sizes)
    fetched = bundles * load.fetched_share
    units = sum(share * math.ceil(size / WRITE_UNIT_BYTES) for share, _, size in sizes)
    size = sum(share * size for share, _, size in sizes)

    # One covers all that was found.
    acknowledged = 0.0 if way is Way.KEEP_RECEIPT else load.finding_per_day
    removed = fetched * units if way is Way.DELETE else 0.0
    peak = load.undelivered_per_day / DAY_S * load.peak_factor
    partitions = _partitions(peak, machine)
    progress = min(partitions * DAY_S / machine.commit_interval_s, load.undelivered_per_day)

    kept_days = load.wait_h / 24 if way is Way.DELETE else load.stored_days
    leftovers = fetched * max(kept_days - load.wait_h / 24, 0) / load.users
    has_cursor = way is not Way.KEEP_RECEIPT
    cursor = cursor_bytes(load) if has_cursor else 0
    front = cursor + min(leftovers, FIRST_ITEMS - has_cursor) * size
    reads = _read_units(load, new=fetched * size, front=front, skips=leftovers >= 1)
    if way is Way.DELETE:  # every cursor is looked up, and the keys of what they have passed
        found = load.finding_per_day
        reads += found * (1 + math.ceil(fetched * size / found / READ_UNIT_BYTES)) if found else 0
    stored = (fetched * kept_days + (bundles - fetched) * load.stored_days) * (
        size + STORED_ITEM_OVERHEAD_BYTES
    )
    stored += load.users * (cursor + STORED_ITEM_OVERHEAD_BYTES) * has_cursor
    writes = bundles * units + removed + acknowledged + progress
    cores = peak * machine.worker_cpu_us / 1e6 / machine.utilization
    new_bytes = fetched * size / load.reconnects_per_day
    return Mailboxes(
        store=Store(write_units=writes, read_units=reads, stored_gb=stored / 1e9),
        written=bundles * units, acknowledged=acknowledged, deleted=removed, progress=progress,
        messages_per_s_peak=peak, partitions=partitions, worker_cores=cores,
        workers=min(max(math.ceil(cores), 2), partitions),  # 2: one may be killed
        write_units_per_s_peak=writes / DAY_S * load.peak_factor,
        fetch_bytes=new_bytes + front,
        queries_per_fetch=max(math.ceil(new_bytes / QUERY_BYTES_MAX), 1) + (leftovers >= 1),
    )  # fmt: skip


def _read_units(load: Load, *, new: float, front: float, skips: bool) -> float:
    """Of a day's strongly consistent Queries: `new` bytes a day, of which a reconnect that finds
    something reads its part, and `front`, which every one reads. skips: by a Query of its own. An
    empty one costs 1."""
    found = load.finding_per_day
    of_new = new / found if found else 0
    parts_found, parts_else = ([front, of_new], [front, 0.0])
    if not skips:
        parts_found, parts_else = [front + of_new], [front]
    units_found, units_else = (
        sum(max(math.ceil(n / READ_UNIT_BYTES), 1) for n in parts)
        for parts in (parts_found, parts_else)
    )
    return found * units_found + (load.reconnects_per_day - found) * units_else


def _partitions(peak: float, machine: Machine) -> int:
    """A power of two that bears the peak: so that it is not soon changed, which costs order."""
    wanted = max(peak / machine.partition_messages_per_s, machine.partitions_min)
    return int(2 ** math.ceil(math.log2(wanted)))


def item_per_message(load: Load) -> Store:
    """What the usual table is asked: a put and, once fetched, a delete for each message."""
    size = lean_item_bytes(load)
    units = math.ceil(size / WRITE_UNIT_BYTES)
    fetched, expired = load.fetched_per_day, load.undelivered_per_day - load.fetched_per_day
    stored = fetched * load.wait_h / 24 + expired * load.stored_days
    return Store(
        write_units=(load.undelivered_per_day + fetched) * units,
        read_units=_read_units(load, new=fetched * size, front=0, skips=False),
        stored_gb=stored * (size + STORED_ITEM_OVERHEAD_BYTES) / 1e9,
    )


def item_behind_cursor(load: Load) -> Store:
    """What it is asked where a cursor says what was fetched, and TTL removes it."""
    size = lean_item_bytes(load)
    units = math.ceil(size / WRITE_UNIT_BYTES)
    cursor = cursor_bytes(load)
    stored = load.undelivered_per_day * load.stored_days * (size + STORED_ITEM_OVERHEAD_BYTES)
    stored += load.users * (cursor + STORED_ITEM_OVERHEAD_BYTES)
    return Store(
        write_units=load.undelivered_per_day * units + load.finding_per_day,
        read_units=_read_units(
            load, new=load.fetched_per_day * size, front=cursor, skips=True
        ),
        stored_gb=stored / 1e9,
    )  # fmt: skip


def scan(load: Load, machine: Machine, prices: Prices) -> Scan:
    """What it takes without a store. Each reconnect reads its partition since its user left."""
    missed = load.undelivered_per_day * load.away_h / 24
    peak = load.reconnects_per_day / DAY_S * load.peak_factor
    record_bytes = (load.body_bytes + machine.record_bytes_more) * machine.compression
    # Were all of the topic one partition:
    reading = peak * missed * record_bytes / 1e6 / machine.broker_read_mb_per_s
    cores = peak * missed * machine.scan_cpu_us / 1e6 / machine.utilization
    bearing = COPIES / machine.broker_partitions
    partitions = machine.scan_partitions or _least_cost(
        reading * prices.broker_month, cores * prices.vcpu_month, bearing * prices.broker_month
    )
    brokers = max(reading / partitions, bearing * partitions)
    return Scan(
        partitions=partitions,
        clusters=math.ceil(brokers / machine.cluster_brokers),
        bytes_per_reconnect=missed / partitions * record_bytes,
        cpu_s_per_reconnect=missed / partitions * machine.scan_cpu_us / 1e6,
        sent_gb_per_s_peak=peak * missed / partitions * record_bytes / 1e9,
        brokers_of_reading=reading / partitions,
        brokers_of_partitions=bearing * partitions,
        cores=cores / partitions,
        dollars_per_month=brokers * prices.broker_month + cores / partitions * prices.vcpu_month,
    )


def _least_cost(reading: float, cores: float, bearing: float) -> int:
    """The partitions n of least max(reading / n, bearing * n) + cores / n, all of it dollars.

    Up to where brokers send as much as they bear, more partitions cost less; from there on as long
    as they save more processor time than they add brokers.
    """
    return max(round(math.sqrt(max(reading, cores) / bearing)), 1)
