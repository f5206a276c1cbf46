"""A cache of the items that Queries returned beyond a page, for the next page of the mailbox. Pure.

A Query is limited in items and a page in messages, so a page may use a hundredth of the 1 MB that
was read and paid for. The next page of the mailbox, soon after in the same process, takes the rest
from this cache.

A kept run is never too short: it holds consecutive keys of one log, read after the page's end. A
message that became visible since sorts after every message of its log that was visible before, so
after the run. A bundle that a replay wrote into the run holds messages that the run has too. A run
is never too long: the next page reads the cursor, and everything before the run, again.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from poste_restante.item import Attribute, Item
from poste_restante.position import LogId

#: Bytes of memory of all kept items: of some thirty users who read a deep mailbox of messages of
#: 1 KB at the same time.
PREFETCH_BYTES_MAX = 64 * 1024 * 1024
#: Seconds that they are kept: a client fetches the next page at once, or not at all.
PREFETCH_S_MAX = 30.0
#: Bytes of memory of a value besides its content: 1 MB of short messages, as DynamoDB counts it,
#: takes 40 MB.
_VALUE_BYTES = 400


@dataclass(frozen=True, slots=True)
class PrefetchedItems:
    """A run of items of one mailbox. boundary: the sort key after which it begins.

    sizes: bytes of memory by sort key, of the items counted so far.
    """

    boundary: str
    items: list[Item]
    sizes: Mapping[str, int] = field(default_factory=dict, compare=False)

    @property
    def last(self) -> Item:
        """Return the start key of the Query after the run."""
        return {name: self.items[-1][name] for name in ("user_id", "position")}


def select_prefetched(
    boundary: str, unread: Iterable[Item], before: PrefetchedItems | None = None
) -> PrefetchedItems | None:
    """Return the items after `boundary`, the end of a page, that belong to its log, or None.

    before: the run that the page began with. Its sizes are reused.
    """
    try:
        head = LogId.decode(".".join(boundary.split(".")[:2])).encode() + "."
    except ValueError:
        return None
    items = []
    for item in unread:
        if not item["position"]["S"].startswith(head):
            break  # of another log: messages of the first log may still arrive before it
        items.append(item)
    return PrefetchedItems(boundary, items, before.sizes if before else {}) if items else None


def memory_bytes(item: Item) -> int:
    """Return the approximate bytes of memory of an item."""
    return sum(map(_value_memory, item.values()))


def _value_memory(value: Attribute) -> int:
    ((kind, content),) = value.items()
    if kind == "M":
        return _VALUE_BYTES + sum(map(_value_memory, content.values()))
    if kind == "L":
        return _VALUE_BYTES + sum(map(_value_memory, content))
    return _VALUE_BYTES + (len(content) if kind in {"S", "B", "N"} else 0)


class PrefetchCache:
    """The runs of many mailboxes. Each is taken once, and the oldest is evicted first.

    `key` is the partition key of a mailbox. Times are epoch seconds.
    """

    def __init__(self, bytes_max: int = PREFETCH_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._runs: OrderedDict[str, tuple[PrefetchedItems, int, float]] = OrderedDict()
        self.bytes = 0

    def take(self, key: str, now_s: float) -> PrefetchedItems | None:
        """Remove and return the run of a mailbox, or None."""
        self._drop_old(now_s)
        return self._remove(key)

    def keep(self, key: str, ahead: PrefetchedItems, now_s: float) -> None:
        self._remove(key)
        sizes = {}
        for item in ahead.items:
            at = item["position"]["S"]
            sizes[at] = ahead.sizes.get(at) or memory_bytes(item)
        size = sum(sizes.values())
        self._runs[key] = replace(ahead, sizes=sizes), size, now_s
        self.bytes += size
        self._drop_old(now_s)
        while self.bytes > self._bytes_max:
            self._remove(next(iter(self._runs)))

    def _drop_old(self, now_s: float) -> None:
        while self._runs:
            key, (_, _, since_s) = next(iter(self._runs.items()))
            if 0 <= now_s - since_s < PREFETCH_S_MAX:
                return
            self._remove(key)

    def _remove(self, key: str) -> PrefetchedItems | None:
        if key not in self._runs:
            return None
        ahead, size, _ = self._runs.pop(key)
        self.bytes -= size
        return ahead
