"""The tables of docs/capacity.md, and a report for figures of your own: `make capacity`."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.capacity import Store, item_behind_cursor, item_per_message, mailboxes, scan
from benchmarks.capacity_inputs import Load, Machine, Prices
from benchmarks.md_tables import fill, markdown, number, seconds, size
from benchmarks.users import Way
from worker.assignment import BatchLimits

PAGE = Path(__file__).parent.parent / "docs" / "capacity.md"
USERS = (1e6, 50e6, 500e6)
#: Seconds of the linger where a table has one: a day's burst is cut into fewer than two then.
LINGER_S = 30.0
#: Records of a batch at most, by the worker's default.
BATCH = BatchLimits().records_max
BURSTS = (1, 1.5, 2, 3, 5, 10)
BODIES = (100, 300, 1_000, 3_000, 10_000)
RECONNECTS = (0.1, 0.5, 1, 4, 20)
#: Of the topic that is scanned: 0 is as many as cost least; up to what nobody runs.
SCAN_PARTITIONS = (10_000, 60_000, 0, 1_000_000)
RETENTIONS_DAYS = (7, 14, 30)


def measured() -> Machine:
    """The machine of the benchmarks' JSON: a worker's processor time is that of its longest run, on
    which its start weighs least."""
    found = report.figures(report.read("contenders"), "worker cpu us")
    return Machine(worker_cpu_us=found["1,000,000 records"])


def bundled() -> dict[float, float]:
    """By `batch.linger_s`: messages in a bundle on the realistic day of the benchmarks' JSON."""
    found = report.figures(report.read("units"), "messages in a bundle")
    return {float(linger_s): round(mean, 2) for linger_s, mean in found.items()}


def dollars(value: float) -> str:
    return "$" + number(value)


def columns(loads: Sequence[Load], machine: Machine, way: Way, prices: Prices) -> list[list[str]]:
    """A row per quantity, a column per load."""
    rows: dict[str, list[str]] = {}
    for load in loads:
        ours, usual = mailboxes(load, machine, way), item_per_message(load)
        behind = item_behind_cursor(load)
        scanned = scan(load, machine, prices)
        table, rival = ours.store.dollars_per_month(prices), usual.dollars_per_month(prices)
        processors = max(ours.worker_cores, 1) * prices.vcpu_month
        messages = load.undelivered_per_day
        for name, cell in {
            "undelivered messages a day": number(messages),
            "of them at the peak, per second": number(ours.messages_per_s_peak),
            "partitions": str(ours.partitions),
            f"- a batch of {BATCH:,} records comes to one, at the peak, in": seconds(
                BATCH * ours.partitions / ours.messages_per_s_peak),
            "workers; processor cores at the peak":
                f"{ours.workers}; {number(ours.worker_cores)}",
            "write units a day": number(ours.store.write_units),
            "- bundles": number(ours.written),
            "- acknowledgements": number(ours.acknowledged),
            "- deletes": number(ours.deleted),
            "- progress": number(ours.progress),
            "write units per message": f"{ours.store.write_units / messages:.2f}",
            "write units per second at the peak": number(ours.write_units_per_s_peak),
            "read units a day": number(ours.store.read_units),
            "a reconnect reads, in the mean": size(ours.fetch_bytes),
            "stored": size(ours.store.stored_gb * 1e9),
            "**the table, a month**": f"**{dollars(table)}**",
            "the workers' cores, a month": dollars(processors),
            "item per message: write units per message": f"{usual.write_units / messages:.2f}",
            "item per message: stored": size(usual.stored_gb * 1e9),
            "**item per message: the table, a month**": f"**{dollars(rival)}**",
            "item behind a cursor: stored": size(behind.stored_gb * 1e9),
            "**item behind a cursor: the table, a month**":
                f"**{dollars(behind.dollars_per_month(prices))}**",
            "scan: partitions; clusters":
                f"{number(scanned.partitions)}; {scanned.clusters}",
            "scan: a reconnect reads": size(scanned.bytes_per_reconnect),
            "scan: processor time of a reconnect": f"{number(scanned.cpu_s_per_reconnect)} s",
            "scan: sent at the peak, per second": size(scanned.sent_gb_per_s_peak * 1e9),
            "scan: brokers; gateway cores":
                f"{number(scanned.brokers)}; {number(scanned.cores)}",
            "**scan: brokers and cores, a month**": f"**{dollars(scanned.dollars_per_month)}**",
        }.items():  # fmt: skip
            rows.setdefault(name, []).append(cell)
    return [[name, *cells] for name, cells in rows.items()]


def assumptions() -> str:
    """Every input with its default."""
    given = {**_defaults(Load()), **_defaults(measured()), **_defaults(Prices())}
    return markdown(["input", "value"], ([f"`{n}`", _plain(v)] for n, v in given.items()))


def services() -> str:
    """The three sizes, with the default settings: no linger."""
    loads = [Load(users=users) for users in USERS]
    header = ["", *(f"{number(users / 1e6)} million users" for users in USERS)]
    return markdown(header, columns(loads, measured(), Way.ACKNOWLEDGE, Prices()))


def lingers() -> str:
    """With the bundles that a linger was found to make. The rivals have none, so they cost the same
    in every row: the services' table has it."""
    loads = {
        f"{linger_s:g} s, {mean:g}": Load(messages_per_bundle=mean)
        for linger_s, mean in bundled().items()
    }
    return _against("linger, messages in a bundle", loads, rivals=False)


def bursts() -> str:
    """What bundling saves, by how many messages of a mailbox meet in a flush."""
    return _against("messages in a bundle", {str(n): Load(messages_per_bundle=n) for n in BURSTS})


def bodies() -> str:
    """By the size of a body, at `LINGER_S`."""
    mean = bundled()[LINGER_S]
    loads = {f"{n:,}": Load(body_bytes=n, messages_per_bundle=mean) for n in BODIES}
    return _against("bytes of a body", loads)


def retentions() -> str:
    """By how long what was acknowledged is stored, without a linger."""
    return _against("days of retention", {
        f"{n}": Load(retention_days=n) for n in RETENTIONS_DAYS
    })  # fmt: skip


def reconnects() -> str:
    """By how often a user comes back, without a linger."""
    return _against("reconnects per user and day", {
        f"{often:g}": Load(reconnects_per_user_day=often, away_h=16 / often, wait_h=16 / often)
        for often in RECONNECTS
    })  # fmt: skip


def _against(what: str, loads: dict[str, Load], *, rivals: bool = True) -> str:
    """Dollars of the table a month: each way, and each item per message. rivals: with columns of
    theirs."""
    rows = []
    for name, load in loads.items():
        usual = item_per_message(load)
        stores: list[Store] = [mailboxes(load, measured(), way).store for way in Way]
        if rivals:
            stores += [item_behind_cursor(load), usual]
        paid = [store.dollars_per_month(Prices()) for store in stores]
        ratio = paid[0] / usual.dollars_per_month(Prices())
        rows.append([name, f"**{ratio:.2f}**", *map(dollars, paid)])
    header = [what, "ratio", "mailboxes", "clients keep their receipt", "`delete_acknowledged`"]
    header += ["item behind a cursor", "item per message"] if rivals else []
    return markdown(header, rows)


def scans() -> str:
    """The largest service's scan, by the partitions of its topic."""
    load, rows = Load(users=USERS[-1]), []
    for partitions in SCAN_PARTITIONS:
        found = scan(load, dataclasses.replace(measured(), scan_partitions=partitions), Prices())
        rows.append([
            number(found.partitions), size(found.bytes_per_reconnect),
            number(found.brokers_of_reading), number(found.brokers_of_partitions),
            str(found.clusters), number(found.cores), dollars(found.dollars_per_month),
        ])  # fmt: skip
    header = ["partitions", "a reconnect reads", "brokers for what is read", "for the partitions",
              "clusters", "gateway cores", "a month"]  # fmt: skip
    return markdown(header, rows)


TABLES = {
    table.__name__: table
    for table in (assumptions, services, scans, lingers, bursts, bodies, retentions, reconnects)
}


def written(text: str) -> str:
    """The page with its tables made again."""
    return fill(text, TABLES)


def _defaults(of: Load | Machine | Prices) -> dict[str, float]:
    return {field.name: getattr(of, field.name) for field in dataclasses.fields(of)}


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Without options: the page's tables are written again. With one: a report is printed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity_page", description=__doc__)
    parts = (Load(), measured(), Prices())
    for part in parts:
        for name, default in _defaults(part).items():
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--way", type=Way, choices=list(Way), default=Way.ACKNOWLEDGE)
    given = parser.parse_args(arguments)
    if arguments == [] or (arguments is None and len(sys.argv) == 1):
        PAGE.write_text(written(PAGE.read_text()))
        print(f"{PAGE.name}: its tables are made again")
        return 0
    load, machine, prices = (
        dataclasses.replace(part, **{name: getattr(given, name) for name in _defaults(part)})
        for part in parts
    )
    assert isinstance(load, Load)
    assert isinstance(machine, Machine)
    assert isinstance(prices, Prices)
    for name, cell in columns([load], machine, given.way, prices):
        print(f"{name.replace('*', ''):44} {cell.replace('*', ''):>16}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
