"""What a storm stands on: services of its own, and the names in them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from local import DYNAMODB_ADDRESS, KAFKA_ADDRESS, KafkaService, new_dynamodb, new_kafka
from local.choose import LOCAL_AWS
from tests.deployment import Deployment, deployment_environment


@contextmanager
def own_services(directory: Path) -> Iterator[tuple[KafkaService, str]]:
    """Both services, of the storm's own: Kafka, and DynamoDB's endpoint.

    Outside of the event loop: their start blocks it, and it would not see a Ctrl-C.
    """
    with ExitStack() as stack:
        kafka, dynamodb = new_kafka(directory), new_dynamodb(directory)
        stack.callback(kafka.stop)
        stack.callback(dynamodb.stop)
        kafka.start()
        dynamodb.start()
        yield kafka, dynamodb.endpoint


def storm_deployment(directory: Path, kafka: KafkaService, upstream: str) -> Deployment:
    """Commands go to the store itself: an operator tries until it is done."""
    topic, table, group = "undelivered-storm", "mailboxes-storm", "group-storm"
    services = {KAFKA_ADDRESS: kafka.bootstrap, DYNAMODB_ADDRESS: upstream, **LOCAL_AWS}
    return Deployment(
        environment=deployment_environment(services, topic=topic, table=table, group=group),
        directory=directory, tool=kafka.tool, topic=topic, table=table, group=group,
    )  # fmt: skip
