"""Output of the commands on dead letters: JSON for programs, lines for people."""

from collections.abc import Sequence
from typing import Any

from poste_restante.message import text_or_base64
from worker.cli.rendering import console, printable, shortened, text_fields, time_text
from worker.cli.stored_letter import RecordPlace, StoredDeadLetter
from worker.record import Record


def letter_object(letter: StoredDeadLetter, *, whole: bool = False) -> dict[str, Any]:
    """Return the object of one dead letter. whole: with headers and body."""
    record = letter.record
    made: dict[str, Any] = {
        **letter.place._asdict(),
        "reason": letter.reason,
        "detail": letter.detail,
        "source": None if letter.source is None else letter.source._asdict(),
        "foreign": letter.foreign or None,
        "timestamp": None if record is None else _timestamp(record),
        "bytes": None if record is None or record.value is None else len(record.value),
        **text_fields("key", None if record is None else record.key),
    }
    return made | _contents(record) if whole and record is not None else made


def record_object(record: Record) -> dict[str, Any]:
    """Return the object of a record of the topic."""
    return {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": _timestamp(record),
        **_contents(record),
    }


def _timestamp(record: Record) -> str | None:
    known = record.timestamp is not None and record.timestamp >= 0
    return time_text(record.timestamp) if known else None


def _contents(record: Record) -> dict[str, Any]:
    headers = [{"name": name, **text_fields("value", value)} for name, value in record.headers]
    data = {"data": None} if record.value is None else text_or_base64(record.value)
    return {"headers": headers, **data}


def list_object(
    topic: str, letters: Sequence[StoredDeadLetter], following: RecordPlace | None
) -> dict[str, Any]:
    """Return the object of `poste dead-letters list --json`: schemas/dead-letters-list.json."""
    return {
        "topic": topic,
        "dead_letters": [letter_object(letter) for letter in letters],
        "next": None if following is None else following._asdict(),
    }


def replay_object(letter: StoredDeadLetter, to: RecordPlace | None) -> dict[str, Any]:
    """Return the object of `poste dead-letters replay --json`: schemas/dead-letters-replay.json."""
    return {**letter_object(letter), "sent_to": None if to is None else to._asdict()}


def _key(letter: StoredDeadLetter) -> str:
    key = None if letter.record is None else letter.record.key
    return "" if key is None else printable(key.decode(errors="replace"))


def print_letters(
    topic: str, found: Sequence[StoredDeadLetter], following: RecordPlace | None
) -> None:
    """Print one line per dead letter."""
    from rich.table import Table

    if not found:
        console().print(f"no dead letter of {topic} is selected")
        return
    table = Table("place", "reason", "record", "timestamp", "key", "detail", box=None)
    for letter in found:
        made = letter_object(letter)
        reason = "foreign" if letter.reason is None else letter.reason
        detail = letter.foreign or letter.detail
        table.add_row(
            str(letter.place), reason, str(letter.source or ""), made["timestamp"] or "",
            shortened(_key(letter)), shortened(detail),
        )  # fmt: skip
    console().print(table)
    if following is not None:
        print(
            f"more behind these: go on with --partition {following.partition} --offset"
            f" {following.offset}, or raise --limit"
        )


def print_letter(made: dict[str, Any]) -> None:
    """Print one field per line. made: of `letter_object`."""
    for name, value in made.items():
        if name == "headers":
            for header in value:
                shown = header.get("value_base64", header.get("value"))
                print(f"header {printable(header['name'])}: {_text(shown)}")
        else:
            print(f"{name}: {_text(value)}")


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "/".join(map(str, value.values()))
    return printable(str(value))


def print_replayed(letter: StoredDeadLetter, topic: str, to: RecordPlace | None) -> None:
    """Print the result, or the preview, of one replay."""
    if letter.foreign:
        print(f"left out {letter.place}: {letter.foreign}")
        return
    what = "would replay" if to is None else "replayed"
    where = "" if to is None else f" -> {topic} {to}"
    print(f"{what} {letter.place} ({letter.reason}, of {letter.source}) {_key(letter)}{where}")


def print_replay_summary(count: int, left_out: int, *, yes: bool) -> None:
    if count == 0:
        print("there is nothing to replay")
    elif yes:
        print(f"done: {count} sent again")
    else:
        print(f"nothing was sent: add --yes to send {count}")
    if left_out:
        print(f"{left_out} records are no dead letters of this topic and are left out")
