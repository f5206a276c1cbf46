"""The stored format, parsed on its own: docs/format.md is the source, not the product's code."""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: Offsets of a window (docs/format.md): no bundle crosses a border.
WINDOW_SIZE = 10_000

Item = Mapping[str, Mapping[str, Any]]


class Log(NamedTuple):
    """One partition log."""

    epoch: int
    partition: int


def mailbox_key(user: str) -> str:
    """The partition key of a user's mailbox: one `!` more where it begins with one."""
    return "!" + user if user.startswith("!") else user


def progress_key(topic: str, partition: int) -> str:
    return f"!progress/{topic}/{partition}"


def sort_key_from(log: Log, offset: int) -> str:
    """At or below every bundle of a log that ends at or behind `offset`, above all others of it."""
    return f"{log.epoch:04}.{log.partition:05}.{offset:019}."


def sort_key_end(log: Log) -> str:
    """Above every bundle of a log."""
    return f"{log.epoch:04}.{log.partition:05}.~"


@dataclass(frozen=True)
class Bundle:
    """One item: what its key says, and what it holds: offset to checksum of the body."""

    log: Log
    first: int
    last: int
    bodies: Mapping[int, int]


@dataclass
class Mailbox:
    """All items of one user, in key order. cursor: the account's. devices: those of devices, by
    name. unreadable: sort keys of items that break the format."""

    cursor: dict[Log, int] = field(default_factory=dict)
    devices: dict[str, dict[Log, int]] = field(default_factory=dict)
    bundles: list[Bundle] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def add(self, items: Iterable[Item]) -> None:
        for item in items:
            key = item["position"]["S"]
            if key == "!":
                self.cursor = parse_cursor(item)
            elif key.startswith("!"):
                self.devices[key[1:]] = parse_cursor(item)
            else:
                bundle = parse_bundle(item)
                if bundle is None:
                    self.unreadable.append(key)
                else:
                    self.bundles.append(bundle)

    def cursor_of(self, device: str | None) -> dict[Log, int]:
        """What a device reads from: its own cursor, else the account's."""
        return self.cursor if device is None else self.devices.get(device, self.cursor)

    def holds(self, log: Log, offset: int) -> bool:
        """Whether some bundle has it."""
        return any(offset in bundle.bodies for bundle in self.bundles if bundle.log == log)


def parse_cursor(item: Item) -> dict[Log, int]:
    """Attributes named <epoch:04>.<partition:05>; others are not ours."""
    cursor = {}
    for name, value in item.items():
        epoch, dot, partition = name.partition(".")
        if dot and len(epoch) == 4 and len(partition) == 5 and (epoch + partition).isdigit():
            cursor[Log(int(epoch), int(partition))] = int(value["N"])
    return cursor


def parse_bundle(item: Item) -> Bundle | None:
    """None: no bundle that the format allows."""
    parts = item["position"]["S"].split(".")
    if [len(part) for part in parts] != [4, 5, 19, 19] or not all(p.isdigit() for p in parts):
        return None
    epoch, partition, last, first = map(int, parts)
    if first > last or first // WINDOW_SIZE != last // WINDOW_SIZE:
        return None
    if item.get("v", {}).get("N") != "1":
        return None
    maps = [entry["M"] for entry in item["messages"]["L"]]
    offsets = [int(each["o"]["N"]) for each in maps]
    if not offsets or offsets != sorted(set(offsets)) or (offsets[0], offsets[-1]) != (first, last):
        return None
    bodies = {int(each["o"]["N"]): zlib.crc32(bytes(each["b"]["B"])) for each in maps}
    return Bundle(Log(epoch, partition), first, last, bodies)


class Progress(NamedTuple):
    """What a partition's progress item says."""

    epoch: int
    next: int
    origin: int


def parse_progress(item: Item) -> Progress:
    return Progress(*(int(item[name]["N"]) for name in ("epoch", "next", "origin")))
