"""Progress: per partition, the next offset to materialize, as an item; and the port to its store.

    user_id        S  !progress/<topic>/<partition>
    position       S  !
    v              N  1
    table_id       S
    epoch          N
    next           N
    origin         N
    last_crc       N  absent: no last record is known
    last_time      N  epoch milliseconds; absent: the last record has no timestamp
    group          N  absent: not confirmed
    dead_in_a_row  N
    written_at     N  epoch milliseconds
    caught_up_at   N  epoch milliseconds; absent: never

Other attributes are ignored; any other `v` makes the item unreadable.
"""

from dataclasses import dataclass
from typing import Protocol, Self

from poste_restante.item import FORMAT_VERSION, Item
from poste_restante.position import CURSOR_KEY, progress_key
from poste_restante.table import TableRecord
from worker.record import Fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one partition is materialized.

    table_id, epoch: of the table it was written in. next: every offset below it, from `origin` on,
    is in a mailbox or a dead letter; always a flush border, a window border or an origin. origin:
    below it this table does not hold the log. last: of the record at next - 1; None after a start,
    a skip, a gap or a rewind. group: the group's offset as last confirmed; None: not confirmed, or
    forgotten by a lower start. consecutive_dead_letters: directly below `next`. written_at_ms,
    caught_up_at_ms: epoch milliseconds.
    """

    table_id: str
    epoch: int
    next: int
    origin: int
    last: Fingerprint | None = None
    group: int | None = None
    consecutive_dead_letters: int = 0
    written_at_ms: int
    caught_up_at_ms: int | None = None

    def encode(self, topic: str, partition: int) -> Item:
        """Return the whole item."""
        return {
            "user_id": {"S": progress_key(topic, partition)},
            "position": {"S": CURSOR_KEY},
            "v": {"N": str(FORMAT_VERSION)},
            "table_id": {"S": self.table_id},
            "epoch": {"N": str(self.epoch)},
            "origin": {"N": str(self.origin)},
            **{name: {"N": str(value)} for name, value in self.changing().items()},
        }

    def changing(self) -> dict[str, int]:
        """Return the attributes, all numbers, that an advance sets, as far as they are present."""
        found = {
            "next": self.next,
            "last_crc": None if self.last is None else self.last.crc,
            "last_time": None if self.last is None else self.last.timestamp_ms,
            "group": self.group,
            "dead_in_a_row": self.consecutive_dead_letters,
            "written_at": self.written_at_ms,
            "caught_up_at": self.caught_up_at_ms,
        }
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def decode(cls, item: Item) -> Self:
        """Inverse of `encode`. Raises ValueError, with the reason, for an unusable item."""
        try:
            version = int(item["v"]["N"])
            if version != FORMAT_VERSION:
                raise ValueError(f"progress has format version {version}, not {FORMAT_VERSION}")
            crc = _number(item, "last_crc")
            return cls(
                table_id=item["table_id"]["S"],
                epoch=int(item["epoch"]["N"]),
                next=int(item["next"]["N"]),
                origin=int(item["origin"]["N"]),
                last=None if crc is None else Fingerprint(_number(item, "last_time"), crc),
                group=_number(item, "group"),
                consecutive_dead_letters=int(item["dead_in_a_row"]["N"]),
                written_at_ms=int(item["written_at"]["N"]),
                caught_up_at_ms=_number(item, "caught_up_at"),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"the progress item is damaged: {error!r}") from error


def _number(item: Item, name: str) -> int | None:
    return int(item[name]["N"]) if name in item else None


class ProgressStore(Protocol):
    """Progress of the partitions of one topic, in one table.

    Every method waits for an unavailable store. Every method may be repeated, and handles an
    earlier attempt of its own that landed although its answer was lost.
    """

    async def table(self) -> TableRecord:
        """Return the table record. Raises OperatorError if there is no usable one."""
        ...

    async def read(self, partition: int) -> Progress | None:
        """Return what is stored now, strongly consistent. None: the partition has no progress."""
        ...

    async def create(self, partition: int, progress: Progress) -> Progress:
        """Store the first progress of a partition, unless there is one; return what is stored
        then."""
        ...

    async def advance(self, partition: int, seen: Progress, new: Progress) -> Progress:
        """Raise progress from what this worker last saw to what it made durable.

        Returns what is stored afterwards: `new`, or unaltered what another writer stored that is as
        far or further, which is success. `new` at or below `seen` (a replay) alters nothing, and is
        still checked. `origin` is never altered.

        Raises TableReplaced if the stored table id or epoch differs or nothing is stored, and
        ProgressMovedBack if what is stored is below `seen`.
        """
        ...

    async def move(self, partition: int, old: Progress, new: Progress) -> None:
        """Move progress deliberately, in any direction, from what was read.

        Raises ProgressChanged if something else is stored by now.
        """
        ...
