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
    group          N  absent: none was confirmed
    dead_in_a_row  N
    written_at     N  epoch milliseconds
    caught_up_at   N  epoch milliseconds; absent: never

Attributes that are not listed are ignored; any other `v` makes the item unreadable.
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
    is in a mailbox or a dead letter; only ever a flush border, a window border or an origin.
    origin: below it this table does not hold the log. last: of the record at next - 1; None after a
    start, a skip, a gap or a rewind. group: the group's offset as last confirmed; None: none was,
    or a lower start has forgotten it. consecutive_dead_letters: dead letters with which the log
    ends at `next`. written_at_ms, caught_up_at_ms: epoch milliseconds.
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
        """The whole item."""
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
        """The attributes, all numbers, that an advance sets, as far as they are present."""
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
        """Inverse of `encode`. Raises ValueError, saying why, for an item we cannot use."""
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

    A store that is away is waited for, in every method. Every method may be repeated, and copes
    with an attempt of its own that landed although the answer was lost.
    """

    async def table(self) -> TableRecord:
        """The table record. Raises OperatorError where there is none that we can use."""
        ...

    async def read(self, partition: int) -> Progress | None:
        """What is stored now, strongly consistent. None: the partition has no progress."""
        ...

    async def create(self, partition: int, progress: Progress) -> Progress:
        """Stores the first progress of a partition, unless there is one; what is stored then."""
        ...

    async def advance(self, partition: int, seen: Progress, new: Progress) -> Progress:
        """Raises progress from what this worker last saw to what it made durable.

        Returns what is stored afterwards: `new`, or what another writer stored that is as far
        or further, unaltered: that is success. `new` at or below `seen` (a replay) alters
        nothing, and is still checked. `origin` is never altered.

        Raises TableReplaced where the stored table id or epoch is another one, or nothing is
        stored, and ProgressMovedBack where what is stored is below `seen`.
        """
        ...

    async def move(self, partition: int, old: Progress, new: Progress) -> None:
        """A deliberate move, in any direction, from what was read.

        Raises ProgressChanged where something else is stored by now.
        """
        ...
