"""`poste send`: publish one message as a CloudEvent in binary mode."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import BinaryIO

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.errors import OperatorError
from worker.kafka.admin import ANSWER_S_MAX, missing_topic, open_kafka_admin
from worker.kafka.errors import connections_watched, fault_of
from worker.kafka.options import client_options
from worker.record import RecordHeader
from worker.settings import KafkaSettings

#: Bytes read from standard input. Kafka's default limit of a record is lower.
STDIN_BYTES_MAX = 64 * 1024 * 1024


def standard_input(stream: BinaryIO) -> bytes:
    """Read one message's body. Raises OperatorError if it is too long."""
    body = stream.read(STDIN_BYTES_MAX + 1)
    if len(body) > STDIN_BYTES_MAX:
        raise OperatorError(f"a text of more than {STDIN_BYTES_MAX} bytes is too large for Kafka")
    return body


def event_headers(
    body: bytes, *, id_: str, source: str, type_: str, expires_at: datetime | None
) -> list[RecordHeader]:
    """Return the headers of a CloudEvent in binary mode, with the content type of its body."""
    headers: list[RecordHeader] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", id_.encode()),
        ("ce_source", source.encode()),
        ("ce_type", type_.encode()),
        ("content-type", _content_type(body)),
    ]
    if expires_at is not None:
        headers.append(("ce_expirytime", expires_at.isoformat().encode()))
    return headers


def _content_type(body: bytes) -> bytes:
    try:
        body.decode()
    except UnicodeDecodeError:
        return b"application/octet-stream"
    return b"text/plain; charset=utf-8"


async def send_body(
    kafka: KafkaSettings, user_id: str, body: bytes, headers: Sequence[RecordHeader]
) -> tuple[int, int]:
    """Send a body; return its partition and offset when all in-sync replicas have it.

    Raises OperatorError.
    """
    async with open_kafka_admin(kafka) as admin:
        if await admin.topic(kafka.topic) is None:
            raise missing_topic(kafka.topic)
    producer = AIOKafkaProducer(**client_options(kafka), acks="all", enable_idempotence=True)
    with connections_watched() as connections:
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                await producer.start()
                sent = await producer.send_and_wait(
                    kafka.topic, key=user_id.encode(), value=body, headers=list(headers)
                )
        except MessageSizeTooLargeError:
            raise OperatorError(f"a text of {len(body)} bytes is too large for Kafka") from None
        except (KafkaError, TimeoutError) as error:
            fault = fault_of(error, connections.failed, kafka)
            raise OperatorError(f"not sent: {fault.text}") from None
        finally:
            await producer.stop()
    return sent.partition, sent.offset
