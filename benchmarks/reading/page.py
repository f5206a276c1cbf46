"""The read path's tables and picture, from what was found. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks.made import markdown, number
from benchmarks.picture import Series, plot
from benchmarks.report import Found


def _ms(seconds: float) -> str:
    return number(seconds * 1000)


def _spread(values: list[float]) -> str:
    """One figure where they are all the same: that is what is to be seen."""
    return number(values[0]) if min(values) == max(values) else (
        f"{number(min(values))} to {number(max(values))}"
    )  # fmt: skip


def fetch_counts(found: Found) -> str:
    """What a fetch reads, over all tables."""

    def rows() -> Iterator[list[str]]:
        for mailbox in _mailboxes(found):
            all_tables = [row for row in found["fetch"] if row["mailbox"] == mailbox]
            yield [f"{mailbox:,}"] + [
                _spread([row[what] for row in all_tables])
                for what in ("queries", "read_units", "bytes", "cpu_us", "cpu_us_per_message")
            ]

    header = ("messages in the mailbox", "Queries", "read units", "bytes of items",
              "CPU, µs a fetch", "CPU, µs a message")  # fmt: skip
    return markdown(header, rows())


def fetch_times(found: Found) -> str:
    """p50 / p99 by mailbox and table."""
    tables = _tables(found)

    def rows() -> Iterator[list[str]]:
        for mailbox in _mailboxes(found):
            by_table = {row["table"]: row for row in found["fetch"] if row["mailbox"] == mailbox}
            yield [f"{mailbox:,}"] + [
                f"{_ms(by_table[size]['p50_s'])} / {_ms(by_table[size]['p99_s'])}"
                for size in tables
            ]

    return markdown(["messages in the mailbox", *(f"{size:,}" for size in tables)], rows())


def processor(found: Found) -> str:
    """Microseconds per fetch, and per message."""
    names = ("fetch", "query", "per message", "call")

    def cell(row: dict[str, Any], name: str) -> str:
        each = row["cpu_us"][name]
        count = row["messages"]
        return number(each) if count < 2 else f"{number(each)} ({number(each / count)})"

    # Files of before do not say how many rounds there were.
    rows = [[f"{row['messages']:,}", *(cell(row, name) for name in names),
             str(row.get("rounds", "-"))]
            for row in found["processor"]]  # fmt: skip
    header = ("messages fetched", "`fetch`", "aioboto3, the same items",
              "aioboto3, an item per message", "the call alone", "rounds")  # fmt: skip
    return markdown(header, rows)


def collector(found: Found) -> str:
    """What looking for cycles among all objects does to a large fetch's tail."""
    if "collector" not in found:
        return "Not measured yet.\n"
    rows = [
        ["frozen" if row["frozen"] else "as they are",
         f"{_ms(row['cpu_s_p50'])} / {_ms(row['cpu_s_p99'])}",
         f"{row['collections']} in {row['fetches']}", _ms(row["collection_s_max"])]
        for row in found["collector"]
    ]  # fmt: skip
    messages = found["collector"][0]["messages"]
    header = ("objects of the process", f"CPU of a fetch of {messages:,}, ms: p50 / p99",
              "full collections in fetches", "longest, ms")  # fmt: skip
    return markdown(header, rows)


def acknowledged(found: Found) -> str:
    alone = {row["bundles"]: row["cpu_us"] for row in found["processor_ack"]}
    rows = [
        [f"{row['bundles']:,}", number(row["calls"]), number(row["write_units"]),
         number(alone[row["bundles"]]), f"{_ms(row['p50_s'])} / {_ms(row['p99_s'])}"]
        for row in found["ack"]
    ]  # fmt: skip
    header = ("bundles of a page", "calls", "write units", "CPU, µs a page", "p50 / p99, ms")
    return markdown(header, rows)


def reconnects(found: Found) -> str:
    def tail(row: dict[str, Any], what: str) -> str:
        return " / ".join(number(each) for each in row["percentiles_s"][what].values())

    rows = [
        [row["store"], f"{row['users']:,}", str(sum(row["errors"].values())),
         number(row["users_per_s"]), tail(row, "fetched"), tail(row, "acknowledged"),
         number(row["cpu_us_per_user"]), number(row["busy"]),
         number(row["store_busy"]) if "store_busy" in row else "?",
         f"{number(row['before_mb'])} / {number(row['peak_mb'])}"]
        for row in found["storm"]
    ]  # fmt: skip
    header = ("store", "users", "errors", "users/s", "fetched after, s: p50 / p99 / p99.9 / max",
              "acknowledged after, s", "CPU, µs a user", "gateway busy, cores",
              "store busy, cores", "memory before / peak, MB")  # fmt: skip
    return markdown(header, rows)


def times_picture(found: Found) -> str:
    """Flat lines: a fetch does not see how large the table is."""
    # As many lines as are told apart: p50 and p99 of three mailboxes.
    series = [
        Series(
            f"{mailbox:,} messages, {name}",
            [(row["table"], 1000 * row[what]) for row in found["fetch"]
             if row["mailbox"] == mailbox],
        )
        for mailbox in (0, 10, 1_000)
        for name, what in (("p50", "p50_s"), ("p99", "p99_s"))
    ]  # fmt: skip
    return plot(
        "A fetch, by the size of the table", "messages in the table", "milliseconds", series
    )


def _mailboxes(found: Found) -> list[int]:
    return sorted({row["mailbox"] for row in found["fetch"]})


def _tables(found: Found) -> list[int]:
    return sorted({row["table"] for row in found["fetch"]})


TABLES: Mapping[str, Callable[[Found], str]] = {
    "fetch_counts": fetch_counts, "fetch_times": fetch_times, "fetch_processor": processor,
    "fetch_collector": collector,
    "acknowledged": acknowledged, "reconnects": reconnects,
}  # fmt: skip
PICTURES: Mapping[str, Callable[[Found], str]] = {"reading.svg": times_picture}
