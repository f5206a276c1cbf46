"""What Queries brought beyond the end of a page, kept for the next page of the same mailbox. Pure.

A Query is asked for items and a page is limited in messages: of 1 MB that was read and paid for a
page may return a hundredth. The next page of the mailbox, a moment later in the same process, takes
the rest from here instead of reading it again.

Why what is kept is never too little: it is a run of keys of one log, read after the page's end with
nothing in between. A message that became visible since sorts behind every one that was visible
in its log, so behind the run; a bundle that a replay wrote into the run holds messages that the
run has as well. Why it is never too much: whoever takes it reads the cursor anew, and all that
sorts up to where the run begins.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from poste_restante.item import Attribute, Item
from poste_restante.position import LogId

#: Bytes of memory that the kept items take in all: of some thirty users who read a deep mailbox of
#: messages of 1 KB at the same time.
PREFETCH_BYTES_MAX = 64 * 1024 * 1024
#: Seconds that they are kept: a client asks for the next page at once, or does not.
PREFETCH_S_MAX = 30.0
#: Bytes that a value takes in memory beside its content, in a dict and as an object: 1 MB of short
#: messages, as DynamoDB counts them, takes 40 MB.
_VALUE_BYTES = 400


@dataclass(frozen=True, slots=True)
class PrefetchedItems:
    """A run of items of one mailbox. boundary: the sort key behind which it begins.

    sizes: bytes of memory by sort key, of items for which they were counted already.
    """

    boundary: str
    items: list[Item]
    sizes: Mapping[str, int] = field(default_factory=dict, compare=False)

    @property
    def last(self) -> Item:
        """The key behind which the reading goes on, for a Query to start with."""
        return {name: self.items[-1][name] for name in ("user_id", "position")}


def prefetched(
    boundary: str, unread: Iterable[Item], before: PrefetchedItems | None = None
) -> PrefetchedItems | None:
    """What may be kept of the items behind a page that ends at `boundary`: those of its log.

    before: the run that the page began with. Its sizes hold: each item is counted once.
    """
    try:
        head = LogId.decode(".".join(boundary.split(".")[:2])).encode() + "."
    except ValueError:
        return None
    items = []
    for item in unread:
        if not item["position"]["S"].startswith(head):
            break  # of another log: messages of the log before it may still come in between
        items.append(item)
    return PrefetchedItems(boundary, items, before.sizes if before else {}) if items else None


def memory_bytes(item: Item) -> int:
    """About what an item takes in memory."""
    return sum(map(_value_memory, item.values()))


def _value_memory(value: Attribute) -> int:
    ((kind, content),) = value.items()
    if kind == "M":
        return _VALUE_BYTES + sum(map(_value_memory, content.values()))
    if kind == "L":
        return _VALUE_BYTES + sum(map(_value_memory, content))
    return _VALUE_BYTES + (len(content) if kind in {"S", "B", "N"} else 0)


class PrefetchCache:
    """The runs of many mailboxes, each taken once. What is oldest goes first.

    A mailbox is named by its partition key. Times are epoch seconds.
    """

    def __init__(self, bytes_max: int = PREFETCH_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._runs: OrderedDict[str, tuple[PrefetchedItems, int, float]] = OrderedDict()
        self.bytes = 0

    def take(self, key: str, now_s: float) -> PrefetchedItems | None:
        """The run of a mailbox, which is then no longer kept. None: there is none."""
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
