"""What an operator changes at a broker, by librdkafka's admin client.

Kafka's own tools do the same; each of them is a JVM, and takes two seconds of the processor.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

#: Seconds until the broker must have answered.
ANSWER_S_MAX = 30.0

#: Offsets by name.
_OFFSETS = {"earliest": OffsetSpec.earliest, "latest": OffsetSpec.latest}
#: How a password of SCRAM is kept; the fewest iterations that Kafka takes.
_SCRAM = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)


class KafkaAdmin:
    """Each method returns when the broker has done it. Raises KafkaException where it refuses."""

    def __init__(self, bootstrap: str) -> None:
        self._client = AdminClient({"bootstrap.servers": bootstrap})

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config))
        _done(self._client.create_topics([topic]))

    def delete_topic(self, name: str) -> None:
        _done(self._client.delete_topics([name]))

    def add_partitions(self, topic: str, total: int) -> None:
        _done(self._client.create_partitions([NewPartitions(topic, total)]))

    def set_topic_config(self, topic: str, name: str, value: str) -> None:
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        _done(self._client.incremental_alter_configs([resource]))

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """As retention does."""
        _done(self._client.delete_records([TopicPartition(topic, partition, before)]))

    def ends(self, topic: str) -> dict[int, int]:
        """The log's end of every partition."""
        return self._offsets(topic, OffsetSpec.latest())

    def _offsets(self, topic: str, spec: OffsetSpec) -> dict[int, int]:
        found = self._client.list_topics(topic, timeout=ANSWER_S_MAX).topics[topic].partitions
        asked = self._client.list_offsets({TopicPartition(topic, p): spec for p in found})
        return {tp.partition: at.result(ANSWER_S_MAX).offset for tp, at in asked.items()}

    def move_group(self, group: str, topic: str, to: int | str) -> None:
        """Set the group's offset of every partition: to a number, "earliest" or "latest". The group
        has no members."""
        if isinstance(to, str):
            offsets = self._offsets(topic, _OFFSETS[to]())
        else:
            offsets = dict.fromkeys(self.ends(topic), to)
        moved = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        asked = [ConsumerGroupTopicPartitions(group, moved)]
        for future in self._client.alter_consumer_group_offsets(asked).values():
            for answered in future.result(ANSWER_S_MAX).topic_partitions:
                if answered.error is not None:  # of one partition: the call has succeeded
                    raise KafkaException(answered.error)

    def delete_group(self, group: str) -> None:
        _done(self._client.delete_consumer_groups([group]))

    def allow(self, user: str, operations: Iterable[str], kind: str, name: str) -> None:
        """Let a user do this on a resource: `allow("bob", ["READ"], "TOPIC", "t")`."""
        _done(
            self._client.create_acls([
                AclBinding(*_acl(user, operation, kind, name)) for operation in operations
            ])
        )  # fmt: skip

    def take_back(self, user: str, operations: Iterable[str], kind: str, name: str) -> None:
        """Remove what was allowed; it is asserted that there was something."""
        filters = [AclBindingFilter(*_acl(user, operation, kind, name)) for operation in operations]
        for future in self._client.delete_acls(filters).values():
            assert future.result(ANSWER_S_MAX), f"{user} was not allowed {operations} on {name}"

    def set_scram_password(self, user: str, password: str) -> None:
        """By SCRAM-SHA-512. Connections that are open stay."""
        change = UserScramCredentialUpsertion(user, _SCRAM, password.encode())
        _done(self._client.alter_user_scram_credentials([change]))


def _acl(user: str, operation: str, kind: str, name: str) -> tuple[Any, ...]:
    return (
        ResourceType[kind], name, ResourcePatternType.LITERAL, f"User:{user}", "*",
        AclOperation[operation], AclPermissionType.ALLOW,
    )  # fmt: skip


def _done(futures: Mapping[Any, Any]) -> None:
    for future in futures.values():
        future.result(ANSWER_S_MAX)


__all__ = ["KafkaAdmin", "KafkaException"]
