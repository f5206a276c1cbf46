"""Claims: the instant and the offset up to which workers have made partitions durable. Pure.

A claim (T, N) for a partition states that every record appended to it before T, and every record
below offset N, is durable. A true claim stays true. Each worker keeps one item:

    user_id     S  !fresh
    position    S  the lowest partition that it claims, five digits
    v           N  1
    table_id    S
    epoch       N
    partitions  N  of the topic, as the worker knows them
    claims      M  partition -> L of two N: T in epoch milliseconds, and N
    expires_at  N  epoch seconds, for DynamoDB's TTL

The next worker that claims the lowest partition overwrites the item, so there are never more items
than partitions. Readers ignore other attributes, and items with another `v`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from poste_restante.item import FORMAT_VERSION, Item
from poste_restante.partitioners import Partitioner
from poste_restante.position import OFFSET_MAX, PARTITION_DIGITS, PARTITION_MAX
from poste_restante.table import TTL_ATTRIBUTE, TableRecord

#: Partition key of all claims.
CLAIMS_KEY = "!fresh"
#: Default of the seconds by which the clocks of workers and gateways may differ.
CLOCK_SKEW_S = 1.0
#: Partitions added in one epoch above which a partitioner narrows too little to be used.
PARTITIONS_ADDED_MAX = 64
#: Seconds until TTL removes an item that no worker writes any more.
EXPIRES_S = 24 * 3600


class Claim(NamedTuple):
    """The claim of one partition. as_of_ms: every record appended before this instant (epoch
    milliseconds) is durable. below: so is every record below this offset."""

    as_of_ms: int
    below: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerClaims:
    """The claims of one worker. partitions: the topic's number, as the worker knows it."""

    table_id: str
    epoch: int
    partitions: int
    claims: Mapping[int, Claim]

    def encode(self, expires_at_s: int) -> Item:
        """Return the item of at least one claim."""
        return {
            "user_id": {"S": CLAIMS_KEY},
            "position": {"S": f"{min(self.claims):0{PARTITION_DIGITS}}"},
            "v": {"N": str(FORMAT_VERSION)},
            "table_id": {"S": self.table_id},
            "epoch": {"N": str(self.epoch)},
            "partitions": {"N": str(self.partitions)},
            "claims": {
                "M": {
                    str(partition): {"L": [{"N": str(number)} for number in claim]}
                    for partition, claim in sorted(self.claims.items())
                }
            },
            TTL_ATTRIBUTE: {"N": str(expires_at_s)},
        }

    @classmethod
    def decode(cls, item: Item) -> Self:
        """Return the claims of an item. Raises ValueError with the reason for an unusable item."""
        try:
            version = int(item["v"]["N"])
            if version != FORMAT_VERSION:
                raise ValueError(f"claims have format version {version}, not {FORMAT_VERSION}")
            partitions = int(item["partitions"]["N"])
            claims = {
                int(partition): Claim(*(int(number["N"]) for number in pair["L"]))
                for partition, pair in item["claims"]["M"].items()
            }
            found = cls(
                table_id=item["table_id"]["S"],
                epoch=int(item["epoch"]["N"]),
                partitions=partitions,
                claims=claims,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the item of claims is damaged: {error!r}") from error
        if not 1 <= partitions <= PARTITION_MAX + 1:
            raise ValueError(f"the item of claims is damaged: {partitions} partitions")
        for partition, claim in claims.items():
            if not (0 <= partition < partitions and 0 <= claim.below <= OFFSET_MAX):
                raise ValueError(f"the item of claims is damaged: {partition}: {claim}")
        return found


@dataclass(frozen=True, slots=True)
class Freshness:
    """The combined claims of all workers.

    partitions_at_first, partitions: the topic's number when the epoch began, and now. epoch: the
    claims' epoch. claims: the greatest of each claimed partition.
    """

    partitions_at_first: int
    partitions: int
    epoch: int
    claims: Mapping[int, Claim] = field(default_factory=dict)

    def as_of_ms(self, partitions: Collection[int]) -> int | None:
        """Return the instant, in epoch milliseconds, up to which these partitions are durable.
        None: one of them has no claim."""
        if not partitions or any(partition not in self.claims for partition in partitions):
            return None
        return min(self.claims[partition].as_of_ms for partition in partitions)

    def covers(self, offsets: Mapping[int, int]) -> bool:
        """Return whether the records at these offsets, by partition, are durable."""
        return all(
            (claim := self.claims.get(partition)) is not None and claim.below > offset
            for partition, offset in offsets.items()
        )

    def partitions_of(self, user_id: str, partitioner: Partitioner | None) -> Collection[int]:
        """Return the partitions to which messages of a user may be appended.

        Without a partitioner these are all. With one, they are the user's partition for every
        number of partitions since the epoch began: some producers notice added partitions late, and
        what was appended before may not be durable yet.

        Raises ValueError or TypeError for a partitioner that returns no partition of the topic.
        """
        numbers = range(self.partitions_at_first, self.partitions + 1)
        if partitioner is None or len(numbers) > PARTITIONS_ADDED_MAX:
            return range(self.partitions)
        key = user_id.encode()
        return {_partition(partitioner, key, number) for number in numbers}


def _partition(partitioner: Partitioner, key: bytes, partitions: int) -> int:
    partition = partitioner(key, partitions)
    if isinstance(partition, bool) or not isinstance(partition, int):
        raise TypeError(f"the partitioner returned {partition!r}, not a partition's number")
    if not 0 <= partition < partitions:
        raise ValueError(f"the partitioner returned {partition}, of {partitions} partitions")
    return partition


def combine(
    items: Iterable[Item],
    record: TableRecord,
    *,
    now_ms: float,
    skew_ms: float,
    on_unusable: Callable[[str], object] = lambda _: None,
) -> Freshness:
    """Combine the items of all workers, for the table of `record` and its epoch.

    Claims of another table or epoch are ignored. So are claims of the future, because the clocks
    then differ by more than `skew_ms`. on_unusable: called with one line for each damaged claim or
    item, and for each claim of the future.
    """
    partitions = record.partitions
    claims: dict[int, Claim] = {}
    for item in items:
        try:
            found = WorkerClaims.decode(item)
        except ValueError as error:
            on_unusable(str(error))
            continue
        if (found.table_id, found.epoch) != (record.table_id, record.epoch):
            continue
        partitions = max(partitions, found.partitions)
        for partition, claim in found.claims.items():
            if claim.as_of_ms > now_ms + skew_ms:
                ahead_s = (claim.as_of_ms - now_ms) / 1000
                on_unusable(
                    f"a worker's clock is {ahead_s:.1f} s ahead of this one's, and clock_skew_s is"
                    f" {skew_ms / 1000:g}"
                )
                continue
            before = claims.get(partition, claim)
            claims[partition] = Claim(*map(max, before, claim))
    return Freshness(record.partitions, partitions, record.epoch, claims)
