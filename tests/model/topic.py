"""A topic: logs that grow and are eaten by retention, the group's offsets, the dead letters."""

import random as randomness
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from poste_restante.position import LogId
from tests.model.scheduler import Scheduler
from tests.records import NEW_YEAR_MS, TOPIC, MadeRecord
from worker.record import Fingerprint, fingerprint
from worker.resume import LogState

USERS = ("ann", "bob")
#: Seconds after the world's beginning at which messages that expire do so.
EXPIRY_S = 3600


@dataclass
class Log:
    """One partition log. flaky: offsets that some workers make dead letters of."""

    id: LogId
    start: int = 0
    end: int = 0
    records: dict[int, MadeRecord] = field(default_factory=dict)
    flaky: set[int] = field(default_factory=set)

    def of(self, user: str) -> list[int]:
        """Offsets of a user's messages, ascending."""
        return [o for o, record in self.records.items() if record.key == user.encode()]

    def append(self, random: randomness.Random) -> None:
        """One record: a message, a resend, one that expires, one without a user; or a marker."""
        offset, kind = self.end, random.random()
        self.end += 1
        if kind < 0.06:
            return  # a transaction's marker: an offset without a record
        user = random.choice(USERS)
        body = f"{self.id.epoch}/{self.id.partition}/{offset}".encode()
        headers: list[tuple[str, bytes | None]] = []
        resent = [r for r in self.records.values() if r.headers and r.key == user.encode()]
        if kind < 0.16 and resent:
            again = random.choice(resent)
            body, headers = again.value or b"", list(again.headers)
        elif kind < 0.40:
            headers = [("ce_id", body), ("ce_source", b"chat")]
            if kind < 0.24:
                headers.append(("ce_expirytime", b"2026-01-01T01:00:00Z"))
        self.records[offset] = MadeRecord(
            key=b"" if kind > 0.95 else user.encode(),
            value=body,
            headers=headers,
            offset=offset,
            timestamp=NEW_YEAR_MS,
            partition=self.id.partition,
            topic=TOPIC,
        )
        if random.random() < 0.15:
            self.flaky.add(offset)


class Topic:
    """The broker as the worker's ports see it (`opening.Log`, `operations.Groups`)."""

    def __init__(self, scheduler: Scheduler, partitions: int) -> None:
        self._scheduler = scheduler
        self.epoch = 1
        self.logs: dict[LogId, Log] = {}
        self.groups: dict[int, int | None] = dict.fromkeys(range(partitions))
        #: Positions whose dead letter the broker has acknowledged.
        self.dead: set[tuple[LogId, int]] = set()
        self.begin_incarnation()

    def begin_incarnation(self) -> None:
        for partition in self.groups:
            log = LogId(self.epoch, partition)
            self.logs[log] = Log(log)

    def current(self, partition: int) -> Log:
        return self.logs[LogId(self.epoch, partition)]

    def fetch(self, log: Log, offset: int, records_max: int) -> list[MadeRecord]:
        """Records from an offset on, as far as they are still there."""
        if log.id.epoch != self.epoch:
            return []
        found = [log.records[o] for o in range(max(offset, log.start), log.end) if o in log.records]
        return found[:records_max]

    # ---- the ports

    async def states(self, partitions: Iterable[int]) -> dict[int, LogState]:
        await self._scheduler.gate("states")
        logs = {p: self.current(p) for p in partitions}
        return {p: LogState(log.start, log.end, stable_end=log.end) for p, log in logs.items()}

    async def group_offsets(self, partitions: Iterable[int]) -> dict[int, int | None]:
        return {p: self.groups[p] for p in partitions}

    async def offsets_at(self, partitions: Iterable[int], time_ms: int) -> dict[int, int]:
        raise AssertionError("nobody here starts at a time")

    async def fingerprints(self, offsets: Mapping[int, int]) -> dict[int, Fingerprint | None]:
        found = {}
        for partition, offset in offsets.items():
            log = self.current(partition)
            record = log.records.get(offset) if offset >= log.start else None
            found[partition] = None if record is None else fingerprint(record)
        return found

    async def require_no_members(self, group: str) -> None:
        """Workers are stopped for a move."""

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        await self._scheduler.gate("commit")
        self.groups.update(offsets)


def expires(record: MadeRecord) -> bool:
    return any(name == "ce_expirytime" for name, _ in record.headers)


def identity(record: MadeRecord) -> Sequence[bytes | None] | None:
    """What a resend has in common with the first sending; None: a plain record."""
    named = dict(record.headers)
    return (named["ce_id"], record.value) if "ce_id" in named else None
