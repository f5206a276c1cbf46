"""Server properties of the suite's broker, for JVM children and Docker."""

#: One node: no replicas, and internal topics of few partitions.
ONE_NODE = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "3",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
}

#: For the suite, which kills brokers and waits for their periodic tasks.
QUICK_INTERVALS = {
    # A killed broker can register again after this; the default is 9 s.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    # Records are removed soon, for tests of retention.
    "log.retention.check.interval.ms": "1000",
    "log.initial.task.delay.ms": "1000",
}

#: Heaps that let two services fit a small machine.
KAFKA_HEAP, DYNAMODB_HEAP, TOOL_HEAP = "-Xmx768m", "-Xmx768m", "-Xmx256m"
#: Compile once: a JVM that lives for minutes spends more on the second compiler than it gains. Half
#: the processor time of DynamoDB Local was that compiler's (26 of 50 s, in two minutes of tests).
COMPILED_ONCE = "-XX:TieredStopAtLevel=1"


def as_lines(properties: dict[str, str]) -> str:
    """Return the lines of a `server.properties`."""
    return "".join(f"{name}={value}\n" for name, value in properties.items())
