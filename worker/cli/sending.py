"""`poste send`: one message, as a producer of CloudEvents in binary mode would publish it."""

import asyncio
from datetime import datetime

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.errors import OperatorError
from worker.kafka.admin import ANSWER_S_MAX, missing_topic, open_kafka_admin
from worker.kafka.errors import connections_watched, fault_of
from worker.kafka.options import client_options
from worker.settings import KafkaSettings


async def send_text(
    kafka: KafkaSettings,
    user_id: str,
    text: str,
    *,
    id_: str,
    source: str,
    type_: str,
    expires_at: datetime | None,
) -> tuple[int, int]:
    """Partition and offset, once all in-sync replicas have it. Raises OperatorError."""
    async with open_kafka_admin(kafka) as admin:
        if await admin.topic(kafka.topic) is None:
            raise missing_topic(kafka.topic)
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", id_.encode()),
        ("ce_source", source.encode()),
        ("ce_type", type_.encode()),
        ("content-type", b"text/plain; charset=utf-8"),
    ]
    if expires_at is not None:
        headers.append(("ce_expirytime", expires_at.isoformat().encode()))
    producer = AIOKafkaProducer(**client_options(kafka), acks="all", enable_idempotence=True)
    with connections_watched() as connections:
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                await producer.start()
                sent = await producer.send_and_wait(
                    kafka.topic, key=user_id.encode(), value=text.encode(), headers=headers
                )
        except MessageSizeTooLargeError:
            raise OperatorError(
                f"a text of {len(text.encode())} bytes is too large for Kafka"
            ) from None
        except (KafkaError, TimeoutError) as error:
            fault = fault_of(error, connections.failed, kafka)
            raise OperatorError(f"not sent: {fault.text}") from None
        finally:
            await producer.stop()
    return sent.partition, sent.offset
