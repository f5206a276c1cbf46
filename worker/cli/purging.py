"""Erases a user's items from the table, so that no replay brings them back.

    1  each cursor is marked, loses its expiry, and is raised to the log's end in every partition
    2  the bundles at or below that end, or of a log that is gone, are deleted
    3  cursors that appeared meanwhile are raised as well
    4  each cursor whose mark is still there expires when nothing below that end can come back

The cursors come first, so that a bundle written meanwhile, or by a replay, is hidden. The account's
cursor keeps the purged offsets too, at which a device's first cursor begins. The expiry comes last,
on the condition of the mark. An acknowledgement removes mark and expiry, so that later acknowledged
messages stay hidden. After an interruption the cursors have no expiry, and the same command
continues.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poste_restante.devices import Cursors, require_cursor
from poste_restante.errors import MailboxError
from poste_restante.item import Item
from poste_restante.mailbox_store import query_pages
from poste_restante.position import CURSOR_KEY, CURSORS_END, BundleKey, LogId, mailbox_key
from poste_restante.table import PURGED_AT_ATTRIBUTE, PURGED_PREFIX, TTL_ATTRIBUTE
from worker.cli.admin_client import PartitionStatus, admin_client_of
from worker.cli.deadline_store import open_deadline_store
from worker.dynamodb.retrying_store import RetryingStore, mailbox_store
from worker.errors import ConditionFailed, OperatorError
from worker.kafka.admin import open_kafka_admin
from worker.settings import Settings

#: Logs of one update of a cursor: an expression may have 4 KB (API reference, "Constraints").
LOGS_PER_UPDATE = 50
#: Searches for cursors that appeared while the others were raised.
ROUNDS_MAX = 10
#: Attempts to delete the bundles of one page of a Query.
DELETE_ATTEMPTS_MAX = 10
#: Milliseconds that the cursors stay after the hidden items, because TTL may take days.
SPARE_MS = 7 * 24 * 3600 * 1000

#: Kafka's default of `segment.ms`.
_SEGMENT_MS = 7 * 24 * 3600 * 1000
#: Set for good if a deleted message never expires: a replay may write it at any time.
_KEPT_ATTRIBUTE = "purge_kept"


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the topic and the table may hold a record, in milliseconds.

    topic: includes the time until its segment is closed. None: for ever or unknown, for the reason
    `why`.
    """

    topic: int | None
    table: int
    why: str = ""

    @classmethod
    def of(cls, config: Mapping[str, str], unread: str, retention_days: float) -> "Retention":
        """Return the retention. config, unread: of the topic, as in `TopicState`."""
        table = int(retention_days * 24 * 3600 * 1000)
        if unread:
            return cls(
                None, table, "the topic's retention cannot be read: grant DescribeConfigs on it"
            )
        topic = int(config["retention.ms"])
        if topic < 0:
            return cls(None, table, "the topic keeps its records for ever")
        return cls(topic + int(config.get("segment.ms", _SEGMENT_MS)), table)

    def cursor_expiry_ms(self, appended_ms: int) -> int | None:
        """Return when nothing that was appended until then can come back. None: never."""
        if self.topic is None:
            return None
        return appended_ms + max(self.topic, self.table) + SPARE_MS


@dataclass(slots=True)
class PurgeResult:
    """The result, or the preview, of a purge.

    cursors: raised. bundles: deleted. newer: bundles with messages after the end, which stay.
    changed: cursors that were acknowledged on meanwhile, and do not expire. expires_at_ms: None:
    the cursors stay, because of `kept_because`. behind: per partition, offsets below the end that
    are not materialized.
    """

    partitions: int
    cursors: int = 0
    bundles: int = 0
    newer: int = 0
    changed: int = 0
    expires_at_ms: int | None = None
    kept_because: str = ""
    behind: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogEnds:
    """Per log of the topic's epoch, the last purged offset. behind: as in `PurgeResult`."""

    offsets: dict[LogId, int]
    behind: dict[int, int]

    @classmethod
    def of(cls, epoch: int, statuses: Sequence[PartitionStatus]) -> "LogEnds":
        """Return the true ends, which include open transactions, or progress if it is above the end
        of a re-created topic."""
        offsets, behind = {}, {}
        for status in statuses:
            progress = status.progress
            ours = progress is not None and progress.epoch == epoch
            end = max(status.log.end, progress.next if progress and ours else 0)
            if end > 0:
                offsets[LogId(epoch, status.partition)] = end - 1
            if status.lag > 0:
                behind[status.partition] = status.lag
        return cls(offsets, behind)

    def covers(self, key: str) -> bool:
        """Return whether everything in an item is purged. That includes items of another version,
        and of a log that the topic no longer has."""
        try:
            bundle = BundleKey.decode(key)
        except ValueError:
            return True
        return bundle.last <= self.offsets.get(bundle.log, bundle.last)


class MailboxPurge:
    """The purge of one mailbox. now_ms: epoch milliseconds."""

    def __init__(
        self, store: RetryingStore, table: str, user_id: str, *, ends: LogEnds,
        retention: Retention, now_ms: int,
    ) -> None:  # fmt: skip
        self._store = store
        self._table = table
        self._key = mailbox_key(user_id)
        self._ends = ends
        self._retention = retention
        self._now_ms = now_ms
        self._mailboxes = mailbox_store(store, table)
        self._cursors = Cursors(self._mailboxes)
        #: The latest append time of the deleted messages, at least `now_ms`.
        self._appended_ms = now_ms
        self._expires_at_ms = 0
        self._never_expires = False
        self._purged = PurgeResult(len(ends.offsets), behind=ends.behind)

    async def preview(self) -> PurgeResult:
        """Return the result that `purge` would have."""
        self._purged.cursors = len(await self._cursor_keys())
        async for keys in self._bundles():
            self._purged.bundles += len(keys)
        return self._with_expiry()

    async def purge(self) -> PurgeResult:
        """Purge. May be repeated, and run beside workers and gateways."""
        raised: set[str] = set()
        await self._raise_new_cursors(raised)
        async for keys in self._bundles():
            await self._delete(keys)
            self._purged.bundles += len(keys)
        await self._raise_new_cursors(raised)
        self._purged.cursors = len(raised)
        purged = self._with_expiry()
        for position in sorted(raised):
            self._purged.changed += not await self._let_expire(position)
        return purged

    def _with_expiry(self) -> PurgeResult:
        """Return the result with the expiry of the cursors."""
        purged = self._purged
        expires_at_ms = self._retention.cursor_expiry_ms(self._appended_ms)
        if expires_at_ms is None:
            purged.kept_because = self._retention.why
        elif self._never_expires:
            purged.kept_because = "a message was deleted that never expires"
        else:
            purged.expires_at_ms = max(expires_at_ms, self._expires_at_ms)
        return purged

    async def _cursor_keys(self) -> set[str]:
        """Return the sort keys of the cursors, including the account's, and note their expiry."""
        found = {CURSOR_KEY}
        async for item in self._cursors.cursor_items(self._key):
            require_cursor(item)  # raises for a damaged one
            self._never_expires |= _KEPT_ATTRIBUTE in item
            expires_at = item.get(TTL_ATTRIBUTE, {}).get("N", "0")
            self._expires_at_ms = max(self._expires_at_ms, int(expires_at) * 1000)
            found.add(item["position"]["S"])
        return found

    async def _raise_new_cursors(self, raised: set[str]) -> None:
        """Raise cursors until no new ones are left."""
        for _ in range(ROUNDS_MAX):
            new = await self._cursor_keys() - raised
            if not new:
                return
            for position in sorted(new):
                await self._raise_cursor(position)
                raised.add(position)
        raise OperatorError(
            "devices are added all the time: run `poste purge` again when the user is offline"
        )

    async def _raise_cursor(self, position: str) -> None:
        """Mark a cursor and raise it to the end of each log. The account's is created if it is
        missing; a device's is not."""
        update = _CursorUpdate(self._store, self._table, self._key, position)
        if not await update.mark(self._now_ms):
            return  # the device was removed meanwhile
        logs = sorted(self._ends.offsets.items())
        for begin in range(0, len(logs), LOGS_PER_UPDATE):
            some = logs[begin : begin + LOGS_PER_UPDATE]
            if position == CURSOR_KEY:
                await update.note_purged(some)
            if not await update.raise_to(some):
                for log in some:  # one of them is further already
                    await update.raise_to([log])

    async def _let_expire(self, position: str) -> bool:
        """Set a cursor's expiry, or note that it has none because a deleted message never expires.

        Returns False if the cursor was acknowledged on, or removed, meanwhile. Returns True, and
        sets nothing, if only the topic's retention keeps the cursors.
        """
        update = _CursorUpdate(self._store, self._table, self._key, position)
        if self._purged.expires_at_ms is None:
            return not self._never_expires or await update.mark_kept(self._now_ms)
        return await update.let_expire(self._now_ms, -(-self._purged.expires_at_ms // 1000))

    async def _bundles(self) -> AsyncIterator[list[str]]:
        """Yield the sort keys of purged items, page by page, and count newer ones."""
        self._purged.newer = 0
        async for found in query_pages(self._mailboxes, self._key, above=CURSORS_END):
            keys = []
            for item in found.items:
                if not self._ends.covers(item["position"]["S"]):
                    self._purged.newer += 1
                    continue
                keys.append(item["position"]["S"])
                self._note_expiry(item)
            if keys:
                yield keys

    def _note_expiry(self, item: Item) -> None:
        """Note the latest expiry: a timestamp in the future keeps a record in the topic for
        longer."""
        expires_at = item.get(TTL_ATTRIBUTE)
        if expires_at is None:
            self._never_expires = True
        else:
            appended_ms = int(expires_at["N"]) * 1000 - self._retention.table
            self._appended_ms = max(self._appended_ms, appended_ms)

    async def _delete(self, keys: Sequence[str]) -> None:
        """Delete items until the store has confirmed all."""
        with self._store.waiting("batch_write_item") as waiting:
            for _ in range(DELETE_ATTEMPTS_MAX):
                if await self._mailboxes.delete(self._key, keys) == len(keys):
                    return
                await waiting.wait("deletes are left over")
        raise OperatorError(
            "the store throttles: not everything is deleted yet. What is left is hidden: run"
            " `poste purge` again"
        )


class _CursorUpdate:
    """Updates of one cursor. Each returns whether its condition was true."""

    def __init__(self, store: RetryingStore, table: str, key: str, position: str) -> None:
        self._store = store
        self._table = table
        self._key = {"user_id": {"S": key}, "position": {"S": position}}
        self._is_account = position == CURSOR_KEY

    async def mark(self, now_ms: int) -> bool:
        """Mark the cursor, so that acknowledgements are noticed."""
        condition = {} if self._is_account else {"ConditionExpression": _EXISTS}
        return await self._update(
            UpdateExpression="SET #purged = :purged REMOVE #expires",
            ExpressionAttributeNames=_NAMES,
            ExpressionAttributeValues={":purged": {"N": str(now_ms)}},
            **condition,
        )

    async def raise_to(self, offsets: Sequence[tuple[LogId, int]]) -> bool:
        """Raise all of these logs, or none if one is there or further."""
        numbered = list(enumerate(offsets))
        return await self._update(
            UpdateExpression="SET " + ", ".join(f"#l{n} = :l{n}" for n, _ in numbered),
            ConditionExpression=" AND ".join(
                ([] if self._is_account else [_EXISTS])
                + [f"(attribute_not_exists(#l{n}) OR #l{n} < :l{n})" for n, _ in numbered]
            ),
            ExpressionAttributeNames={f"#l{n}": log.encode() for n, (log, _) in numbered},
            ExpressionAttributeValues={f":l{n}": {"N": str(o)} for n, (_, o) in numbered},
        )

    async def note_purged(self, offsets: Sequence[tuple[LogId, int]]) -> None:
        """Store where a device's later cursor begins."""
        numbered = list(enumerate(offsets))
        await self._update(
            UpdateExpression="SET " + ", ".join(f"#l{n} = :l{n}" for n, _ in numbered),
            ExpressionAttributeNames={
                f"#l{n}": PURGED_PREFIX + log.encode() for n, (log, _) in numbered
            },
            ExpressionAttributeValues={f":l{n}": {"N": str(o)} for n, (_, o) in numbered},
        )

    async def let_expire(self, now_ms: int, expires_at_s: int) -> bool:
        """Set the expiry of a cursor that is still marked."""
        return await self._update(
            UpdateExpression="SET #expires = :expires",
            ConditionExpression="#purged = :purged",
            ExpressionAttributeNames=_NAMES,
            ExpressionAttributeValues={
                ":purged": {"N": str(now_ms)}, ":expires": {"N": str(expires_at_s)},
            },
        )  # fmt: skip

    async def mark_kept(self, now_ms: int) -> bool:
        """Mark the cursor as not to expire, for later purges."""
        return await self._update(
            UpdateExpression="SET #kept = :true",
            ConditionExpression="#purged = :purged",
            ExpressionAttributeNames={
                "#purged": PURGED_AT_ATTRIBUTE, "#kept": _KEPT_ATTRIBUTE,
            },
            ExpressionAttributeValues={":purged": {"N": str(now_ms)}, ":true": {"BOOL": True}},
        )  # fmt: skip

    async def _update(self, **arguments: Any) -> bool:
        try:
            await self._store.update_item(TableName=self._table, Key=self._key, **arguments)
        except ConditionFailed:
            return False
        return True


_EXISTS = "attribute_exists(user_id)"
_NAMES = {"#purged": PURGED_AT_ATTRIBUTE, "#expires": TTL_ATTRIBUTE}


async def purge(settings: Settings, user_id: str, *, now_ms: int, yes: bool) -> PurgeResult:
    """Purge a mailbox, or preview it without `yes`. Raises OperatorError."""
    async with (
        open_kafka_admin(settings.kafka) as kafka,
        open_deadline_store(settings.dynamodb) as store,
        admin_client_of(settings, kafka, store) as admin,
    ):
        topic = await kafka.topic(settings.kafka.topic)
        assert topic is not None, "the admin client has found it"
        work = MailboxPurge(
            store, settings.dynamodb.table, user_id,
            ends=LogEnds.of(admin.table.epoch, await admin.partition_statuses()),
            retention=Retention.of(topic.config, topic.unread, settings.retention_days),
            now_ms=now_ms,
        )  # fmt: skip
        try:
            return await (work.purge() if yes else work.preview())
        except MailboxError as error:
            raise OperatorError(str(error)) from error
