"""Export of all data about one user, as JSON objects."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from poste_restante.errors import MailboxError
from poste_restante.item import Item, decode_bundle
from poste_restante.mailbox_store import query_pages
from poste_restante.message import Message, text_or_base64
from poste_restante.position import CURSOR_KEY, device_of, mailbox_key
from poste_restante.store import DynamoDBMailboxStore
from poste_restante.table import PURGED_AT_ATTRIBUTE, TTL_ATTRIBUTE, decode_cursor
from worker.cli.bar import ProgressBar
from worker.cli.dead_letter_rendering import letter_object, record_object
from worker.cli.dead_letter_topic import DeadLetterTopic, open_dead_letter_topic
from worker.cli.deadline_store import open_deadline_store
from worker.cli.rendering import text_fields, time_text
from worker.cli.stored_letter import DeadLetterSelection
from worker.dynamodb.progress_store import DynamoDBProgress
from worker.dynamodb.retrying_store import mailbox_store
from worker.errors import OperatorError
from worker.kafka.admin import missing_topic, open_kafka_admin
from worker.kafka.log_reader import LogReader, open_log_reader
from worker.kafka.options import client_options
from worker.settings import Settings

ExportLine = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Export:
    """Reads the data about a user. `open_export` opens it. partitions: of the topic."""

    user_id: str
    topic: str
    mailboxes: DynamoDBMailboxStore
    dead_letters: DeadLetterTopic
    reader: LogReader
    partitions: int

    async def lines(self, bar: ProgressBar, *, records: bool) -> AsyncIterator[ExportLine]:
        """Yield an object per cursor, message and dead letter, and per record if `records` is set.
        The last object states that nothing is missing. Raises OperatorError."""
        count = 0
        try:
            async for line in self._mailbox_lines():
                count += 1
                yield line
        except MailboxError as error:
            raise OperatorError(str(error)) from error
        key = self.user_id.encode()
        async for letter in self.dead_letters.letters(DeadLetterSelection(), bar):
            if letter.record is not None and letter.record.key == key:
                count += 1
                yield {"kind": "dead_letter", **letter_object(letter, whole=True)}
        if records:
            ranges = await self.reader.ranges(range(self.partitions))
            bar.begin(sum(wanted.size for wanted in ranges.values()))
            for partition, wanted in ranges.items():
                async for part in self.reader.read(partition, wanted):
                    bar.advance(part.next - part.first)
                    for record in part.records:
                        if record.key == key:
                            count += 1
                            yield {"kind": "record", **record_object(record)}
        yield {"kind": "end", "user_id": self.user_id, "lines": count, "records": records}

    async def _mailbox_lines(self) -> AsyncIterator[ExportLine]:
        async for found in query_pages(self.mailboxes, mailbox_key(self.user_id)):
            for item in found.items:
                for line in self._item_lines(item):
                    yield line

    def _item_lines(self, item: Item) -> list[ExportLine]:
        """Return the lines of an item. An unreadable one is unchanged."""
        position = item["position"]["S"]
        try:
            if position == CURSOR_KEY or device_of(position) is not None:
                return [_cursor(item)]
            return [_message(m) for m in decode_bundle(item, self.user_id, self.topic)]
        except ValueError as error:
            return [{"kind": "item", "error": str(error), "item": _json(item)}]


def _cursor(item: Item) -> ExportLine:
    return {
        "kind": "cursor",
        "device": device_of(item["position"]["S"]),
        "acknowledged": [
            {**log._asdict(), "offset": offset}
            for log, offset in sorted(decode_cursor(item).items())
        ],
        "purged_at": _number(item, PURGED_AT_ATTRIBUTE, 1),
        "expires_at": _number(item, TTL_ATTRIBUTE, 1000),
    }


def _number(item: Item, name: str, factor: int) -> str | None:
    return time_text(int(item[name]["N"]) * factor) if name in item else None


def _message(message: Message) -> ExportLine:
    return {
        "kind": "message",
        **message.position._asdict(),
        "id": message.id,
        "source": message.source,
        "type": message.type,
        "time": _time(message.time),
        "content_type": message.content_type,
        "expires_at": _time(message.expires_at),
        "headers": [
            {"name": name, **text_fields("value", value)} for name, value in message.headers
        ],
        **text_or_base64(message.body),
    }


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat().replace("+00:00", "Z")


def _json(value: Any) -> Any:
    """Return DynamoDB's item with base64 for bytes."""
    if isinstance(value, dict):
        return {name: _json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_json(each) for each in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes | bytearray) else value


@asynccontextmanager
async def open_export(settings: Settings, user_id: str) -> AsyncIterator[Export]:
    """Open all sources before the first line. Raises OperatorError."""
    kafka = settings.kafka
    async with open_deadline_store(settings.dynamodb) as store:
        table = settings.dynamodb.table
        await DynamoDBProgress(store, table, kafka.topic).table()
        async with (
            open_kafka_admin(kafka) as admin,
            open_dead_letter_topic(kafka) as dead_letters,
            open_log_reader(client_options(kafka), kafka.topic) as reader,
        ):
            topic = await admin.topic(kafka.topic)
            if topic is None:
                raise missing_topic(kafka.topic)
            mailboxes = mailbox_store(store, table)
            yield Export(user_id, kafka.topic, mailboxes, dead_letters, reader, topic.partitions)
