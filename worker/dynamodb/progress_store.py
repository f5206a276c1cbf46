"""The progress of partitions in the table: conditional writes that lower nothing unnoticed."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from poste_restante.item import Item
from poste_restante.position import CURSOR_KEY, TABLE_RECORD_KEY, progress_key
from poste_restante.table import TableRecord
from worker.dynamodb.retrying_store import RetryingStore
from worker.errors import (
    Bug,
    ConditionFailed,
    OperatorError,
    ProgressChanged,
    ProgressMovedBack,
    TableReplaced,
)
from worker.progress import Progress

#: What an advance sets, or removes where it is absent.
_CHANGING = frozenset(
    ("next", "last_crc", "last_time", "group", "dead_in_a_row", "written_at", "caught_up_at")
)
#: Attempts of one update. It is tried again only where another writer moved the item between a
#: refusal and the look at it, which takes one write of a zombie each time.
_ATTEMPTS_MAX = 10


class DynamoDBProgress:
    """The ProgressStore of a table. store: its calls wait for a store that is away."""

    def __init__(self, store: RetryingStore, table: str, topic: str) -> None:
        self._store = store
        self._table = table
        self._topic = topic

    async def table(self) -> TableRecord:
        item = await self._get(TABLE_RECORD_KEY)
        if item is None:
            raise OperatorError(f"the table {self._table!r} has no table record: run `poste init`")
        try:
            record = TableRecord.decode(item)
        except ValueError as error:
            raise OperatorError(
                f"cannot use the table {self._table!r}: {error}; name another one in dynamodb.table"
            ) from error
        if record.topic != self._topic:
            raise OperatorError(
                f"the table {self._table!r} serves the topic {record.topic!r}, not"
                f" {self._topic!r}: one table per topic; name another one in dynamodb.table and"
                " run `poste init`"
            )
        return record

    async def read(self, partition: int) -> Progress | None:
        item = await self._get(progress_key(self._topic, partition))
        if item is None:
            return None
        try:
            return Progress.decode(item)
        except ValueError as error:
            raise OperatorError(
                f"{self._name(partition)}: {error}: it was written by another version"
            ) from error

    async def create(self, partition: int, progress: Progress) -> Progress:
        # Refused: there is another worker's, or our own attempt's whose answer was lost.
        with suppress(ConditionFailed):
            await self._store.put_item(
                TableName=self._table,
                Item=progress.encode(self._topic, partition),
                ConditionExpression="attribute_not_exists(user_id)",
            )
        return self._ours(partition, await self.read(partition), progress)

    async def advance(self, partition: int, seen: Progress, new: Progress) -> Progress:
        for _ in range(_ATTEMPTS_MAX):
            if new.next > seen.next and await self._raise_progress(partition, seen, new):
                return new
            stored = self._ours(partition, await self.read(partition), seen)
            if stored.next < seen.next:
                raise ProgressMovedBack(
                    f"{self._name(partition)}: stored progress {stored.next} is below"
                    f" {seen.next}, which this worker last saw: it was moved, or the table was"
                    " restored, with workers running; start the worker again"
                )
            if stored.next >= new.next:
                return stored
        raise Bug(f"{self._name(partition)}: progress changed under {_ATTEMPTS_MAX} updates")

    async def _raise_progress(self, partition: int, seen: Progress, new: Progress) -> bool:
        """Update all but `origin`, on a condition. Returns False where that does not hold."""
        present = new.changing()
        absent = _CHANGING - present.keys()
        update = "SET " + ", ".join(f"#{name} = :{name}" for name in present)
        if absent:
            update += " REMOVE " + ", ".join(f"#{name}" for name in sorted(absent))
        condition = "#table_id = :table_id AND #epoch = :epoch AND #next >= :seen AND #next < :next"
        numbers = {**present, "epoch": new.epoch, "seen": seen.next}
        try:
            await self._store.update_item(
                TableName=self._table,
                Key=_key(progress_key(self._topic, partition)),
                UpdateExpression=update,
                ConditionExpression=condition,
                # Every name: "next" and "group" are reserved words of the expression language.
                ExpressionAttributeNames={f"#{n}": n for n in {*_CHANGING, "table_id", "epoch"}},
                ExpressionAttributeValues={
                    ":table_id": {"S": new.table_id},
                    **{f":{name}": {"N": str(value)} for name, value in numbers.items()},
                },
            )
        except ConditionFailed:
            return False
        return True

    async def move(self, partition: int, old: Progress, new: Progress) -> None:
        try:
            await self._store.put_item(
                TableName=self._table,
                Item=new.encode(self._topic, partition),
                ConditionExpression="#table_id = :table_id AND #epoch = :epoch AND #next = :next",
                ExpressionAttributeNames={f"#{n}": n for n in ("table_id", "epoch", "next")},
                ExpressionAttributeValues={
                    ":table_id": {"S": old.table_id},
                    ":epoch": {"N": str(old.epoch)},
                    ":next": {"N": str(old.next)},
                },
            )
        except ConditionFailed:
            stored = await self.read(partition)
            if stored != new:  # else an attempt of our own landed, its answer was lost
                found = "gone" if stored is None else f"{stored.next} in epoch {stored.epoch}"
                raise ProgressChanged(
                    f"{self._name(partition)}: progress changed meanwhile, it is {found}: is a"
                    " worker running? Stop all workers and try again"
                ) from None

    async def open_epoch(self, table: TableRecord, *, partitions: int) -> None:
        """Write the table record's next epoch, the last step of its opening. Repeating is safe.

        Raises OperatorError where the table record is not what was read.
        """
        renewed = replace(table, epoch=table.epoch + 1, partitions=partitions)
        try:
            await self._store.put_item(
                TableName=self._table,
                Item=renewed.encode(),
                ConditionExpression="#table_id = :table_id AND #epoch = :epoch",
                ExpressionAttributeNames={"#table_id": "table_id", "#epoch": "epoch"},
                ExpressionAttributeValues={
                    ":table_id": {"S": table.table_id},
                    ":epoch": {"N": str(table.epoch)},
                },
            )
        except ConditionFailed:
            if await self.table() != renewed:  # else an attempt of our own landed
                raise OperatorError(
                    "the table record changed meanwhile: check `poste progress`, and try again"
                ) from None

    def _ours(self, partition: int, stored: Progress | None, seen: Progress) -> Progress:
        """Return what is stored, if it is of the same table and epoch as what was seen before."""
        if stored is None:
            found = "has no progress any more"
        elif stored.table_id != seen.table_id:
            found = f"belongs to table id {stored.table_id}, not {seen.table_id}"
        elif stored.epoch != seen.epoch:
            found = f"is in epoch {stored.epoch}, not {seen.epoch}"
        else:
            return stored
        raise TableReplaced(
            f"{self._name(partition)} {found}: the table was replaced, or an epoch opened, while"
            " this worker ran; start the worker again"
        )

    async def _get(self, key: str) -> Item | None:
        return await self._store.get_item(self._table, _key(key))

    def _name(self, partition: int) -> str:
        return f"{self._topic}-{partition} in table {self._table!r}"


def _key(key: str) -> dict[str, Any]:
    return {"user_id": {"S": key}, "position": {"S": CURSOR_KEY}}
