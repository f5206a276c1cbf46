"""A producer whose every record is known again in the log."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.audit.journal import AUDIT_HEADER, Journal, Outgoing, Produced

#: Seconds that one batch waits for its acknowledgement; then its outcome is not known.
ACKNOWLEDGED_S_MAX = 60.0
#: Seconds that a producer of a broker that is away may take to close.
_STOP_S_MAX = 5.0
#: Largest request: the tests' largest record, with room.
_REQUEST_BYTES_MAX = 20 * 1024 * 1024


class AuditedProducer:
    """Idempotent, acks=all. An async context manager; connects at the first record.

    A broker that is away fails records, whose outcome is then not known: the log will say.
    """

    def __init__(self, journal: Journal, bootstrap: str, topic: str, **options: Any) -> None:
        self._journal = journal
        self._topic = topic
        self._options = {
            "bootstrap_servers": bootstrap, "acks": "all", "enable_idempotence": True,
            "max_request_size": _REQUEST_BYTES_MAX, **options,
        }  # fmt: skip
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def produce(self, *records: Outgoing | tuple[str, bytes]) -> list[Produced]:
        """All of them, in order; (user, body) is a good record. Returns when each was
        acknowledged or has failed: then its `place` is None."""
        return await self.produce_all(records)

    async def produce_all(self, records: Iterable[Outgoing | tuple[str, bytes]]) -> list[Produced]:
        """As `produce`."""
        sent = [self._journal.sending(_outgoing(record)) for record in records]
        try:
            await asyncio.wait_for(self._send(sent), ACKNOWLEDGED_S_MAX)
        except (KafkaError, OSError, TimeoutError):
            await self._close()  # an idempotent producer does not survive a gap in its sequence
        return sent

    async def _send(self, sent: list[Produced]) -> None:
        if self._producer is None:
            self._producer = AIOKafkaProducer(**self._options)
            await self._producer.start()
        futures = []
        for produced in sent:
            record = produced.outgoing
            future = await self._producer.send(
                self._topic, key=record.key, value=record.value, partition=record.partition,
                timestamp_ms=record.timestamp_ms,
                headers=[*record.headers, (AUDIT_HEADER, b"%d" % produced.number)],
            )  # fmt: skip
            futures.append(future)
        results = await asyncio.gather(*futures, return_exceptions=True)
        for produced, result in zip(sent, results, strict=True):
            if not isinstance(result, BaseException):
                self._journal.sent(produced, result.partition, result.offset)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        # It has said what is wrong by every record that was not acknowledged.
        with suppress(KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(producer.stop(), _STOP_S_MAX)


def _outgoing(record: Outgoing | tuple[str, bytes]) -> Outgoing:
    if isinstance(record, Outgoing):
        return record
    user, body = record
    return Outgoing(key=user.encode(), value=body)
