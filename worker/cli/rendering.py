"""Output of the commands: JSON objects for programs (worker/cli/schemas), tables for people."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from poste_restante.message import text_or_base64

if TYPE_CHECKING:
    from rich.console import Console

    from poste_restante import Device, Message, Page
    from poste_restante.claims import Freshness
    from worker.cli.admin_client import AdminClient, PartitionStatus
    from worker.cli.provisioning import InitFinding

#: Characters of a body in a table.
_SHOWN_MAX = 60
#: Columns of piped output: more than any table has.
_PIPED_COLUMNS = 250


def state_word(finding: "InitFinding") -> str:
    """Return the first word of a finding's line."""
    if finding.is_missing:
        return "missing"
    if finding.is_unverified:
        return "unknown"
    return "made" if finding.is_created else "ok"


def page_object(user_id: str, page: "Page", *, complete: bool | None = None) -> dict[str, Any]:
    """Return the object of `poste fetch --json` (schemas/fetch.json). complete: of `--fresh`."""
    return {
        "user_id": user_id,
        "messages": [
            {"event": message.to_cloudevent(), **message.position._asdict()}
            for message in page.messages
        ],
        "receipt": page.receipt,
        "more": page.more,
        "fresh_as_of": None if page.fresh_as_of is None else _rfc3339(page.fresh_as_of),
        **({} if complete is None else {"complete": complete}),
    }


def print_page(user_id: str, page: "Page", *, complete: bool | None = None) -> None:
    """Print a page: a table, and the lines to continue with. complete: of `--fresh`."""
    from rich.table import Table
    from rich.text import Text

    out = console()
    if page.messages:
        table = Table("position", "time", "type", "body", box=None)
        for message in page.messages:
            position = "/".join(map(str, message.position))
            time = message.time.isoformat(timespec="seconds") if message.time else ""
            table.add_row(position, time, printable(message.type or ""), Text(_body(message)))
        out.print(table)
    else:
        out.print(f"nothing waits for {user_id}")
    if page.more:
        out.print("more waits behind this page")
    if page.receipt is not None:
        print(f"receipt: {page.receipt}")
    if page.fresh_as_of is not None:
        print(f"fresh as of {_rfc3339(page.fresh_as_of)}")
    elif complete is not None:
        print("nothing is known about freshness: no worker claims every partition of the topic")
    if complete:
        print("complete: nothing that was sent before this command began is missing")


def _body(message: "Message") -> str:
    found = text_or_base64(message.body)
    text = found.get("data")
    if text is None:
        return f"({len(message.body)} bytes)"
    return shortened(text)


def shortened(text: str) -> str:
    """Return a text as one line for a table, shortened if it is long."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= _SHOWN_MAX else line[: _SHOWN_MAX - 1] + "…"


def printable(text: str) -> str:
    """Replace control characters, which could control the reader's terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def devices_object(user_id: str, devices: Sequence["Device"]) -> dict[str, Any]:
    """Return the object of `poste devices --json`: worker/cli/schemas/devices.json."""
    return {
        "user_id": user_id,
        "devices": [
            {
                "device": device.name,
                "acknowledged": None
                if device.acknowledged is None
                else [
                    {**log._asdict(), "offset": offset}
                    for log, offset in sorted(device.acknowledged.items())
                ],
            }
            for device in devices
        ],
    }


def print_devices(user_id: str, devices: Sequence["Device"]) -> None:
    """Print one line per device."""
    from rich.table import Table

    out = console()
    if not devices:
        out.print(f"no device of {user_id} has a cursor of its own")
        return
    table = Table("device", "acknowledged up to", box=None)
    for device in devices:
        cursor = device.acknowledged
        positions = [f"{'/'.join(map(str, log))}/{o}" for log, o in sorted((cursor or {}).items())]
        text = "the cursor cannot be read" if cursor is None else ", ".join(positions) or "nothing"
        table.add_row(device.name, text)
    out.print(table)


def progress_object(
    admin: "AdminClient", partition_statuses: Sequence["PartitionStatus"], freshness: "Freshness"
) -> dict[str, Any]:
    """Return the object of `poste progress --json`: worker/cli/schemas/progress.json."""
    return {
        "topic": admin.table.topic,
        "table": admin.settings.dynamodb.table,
        "table_id": admin.table.table_id,
        "group": admin.settings.kafka.group,
        "epoch": admin.table.epoch,
        "partitions": [_partition(status, freshness) for status in partition_statuses],
    }


def _partition(partition_status: "PartitionStatus", freshness: "Freshness") -> dict[str, Any]:
    progress = partition_status.progress
    return {
        "partition": partition_status.partition,
        "epoch": progress.epoch if progress else None,
        "origin": progress.origin if progress else None,
        "next": progress.next if progress else None,
        "log_start": partition_status.log.start,
        "log_end": partition_status.log.end,
        "stable_end": partition_status.log.stable_end,
        "lag": partition_status.lag,
        "group_offset": partition_status.group,
        "dead_letters_in_a_row": progress.consecutive_dead_letters if progress else 0,
        "written_at": time_text(progress.written_at_ms if progress else None),
        "caught_up_at": time_text(progress.caught_up_at_ms if progress else None),
        "fresh_as_of": time_text(freshness.as_of_ms([partition_status.partition])),
    }


def text_fields(name: str, content: bytes | None) -> dict[str, str | None]:
    """Return bytes as the field `name` if they are UTF-8, else as `<name>_base64`."""
    if content is None:
        return {name: None}
    return {key.replace("data", name): text for key, text in text_or_base64(content).items()}


def time_text(milliseconds: int | None) -> str | None:
    """Return epoch milliseconds as RFC 3339 in UTC."""
    if milliseconds is None:
        return None
    return _rfc3339(datetime.fromtimestamp(milliseconds / 1000, tz=UTC))


def _rfc3339(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def print_progress(
    admin: "AdminClient", partition_statuses: Sequence["PartitionStatus"], freshness: "Freshness"
) -> None:
    """Print one line per partition."""
    from rich.table import Table

    columns = ("partition", "epoch", "origin", "next", "start", "stable end", "end", "lag", "group",
               "dead", "written at", "fresh as of")  # fmt: skip
    table = Table(*columns, box=None)
    names = ("partition", "epoch", "origin", "next", "log_start", "stable_end", "log_end", "lag",
             "group_offset",
             "dead_letters_in_a_row", "written_at", "fresh_as_of")  # fmt: skip
    for partition_status in partition_statuses:
        found = _partition(partition_status, freshness)
        table.add_row(*("-" if found[name] is None else str(found[name]) for name in names))
    console().print(f"{admin.table.topic} -> {admin.settings.dynamodb.table}", style="bold")
    console().print(table)
    for partition_status in partition_statuses:
        if partition_status.log.held_back:
            print(_held_back(admin, partition_status))


def _held_back(admin: "AdminClient", partition_status: "PartitionStatus") -> str:
    """Explain what holds a partition back, and the remedy."""
    from worker.kafka.transactions import how_to_abort

    partition, log = partition_status.partition, partition_status.log
    brokers = admin.settings.kafka.bootstrap_servers
    return (
        f"partition {partition}: an open transaction holds back {log.held_back} offsets from"
        f" {log.stable_end} on; if that lasts, "
        + how_to_abort(brokers, admin.table.topic, partition, log.stable_end)
    )


def console() -> "Console":
    """Return standard output as a console. Piped output is plain and not wrapped."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _PIPED_COLUMNS
    return Console(highlight=False, markup=False, width=width)
