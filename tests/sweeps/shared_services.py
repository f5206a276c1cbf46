"""What the runs of one session share: the services, and connections of our own to them.

A run needs a topic, a table and a group; to make them by `poste init` costs a process, and to ask
for progress by `poste progress` another one every time. Here it is the same code, called.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aioboto3
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.protocol.group import LeaveGroupRequest

from local import Services
from tests.deployment import Deployment, deployment_environment
from tests.store_client import store_on
from worker.cli.provisioning import init
from worker.config_file import load_settings
from worker.kafka.admin import Kafka, coordinated

#: What a run's workers are told beside their addresses. Small bundles make waves, small batches
#: flushes; a store that is slow is given up early, and who hangs is gone soon.
QUICK = {
    "POSTE_KAFKA__COMMIT_INTERVAL_S": "0.1",
    "POSTE_BUNDLE__MESSAGES_MAX": "2",
    "POSTE_DYNAMODB__TIMEOUT_S": "1",
    "POSTE_DRAIN_S": "5",
    "POSTE_LEAVE_S": "10",
}


@dataclass
class SharedServices:
    """Open connections. directory: of the workers' logs. kafka: for requests that the admin client
    has no method for. Made by `open_shared_services`."""

    services: Services
    directory: Path
    session: Any
    client: Any
    admin: AIOKafkaAdminClient
    kafka: AIOKafkaClient

    async def deployment(self, name: str, *, partitions: int = 2) -> Deployment:
        """A topic, a table and a group of a run's own, made."""
        unique = f"{name}-{uuid.uuid4().hex[:8]}"
        topic, table, group = f"undelivered-{unique}", f"mailboxes-{unique}", f"group-{unique}"
        environment = deployment_environment(
            self.services.environment, topic=topic, table=table, group=group
        )
        environment |= {**QUICK, "PYTHONPATH": str(Path.cwd())}
        directory = self.directory / unique
        directory.mkdir(parents=True)
        settings = load_settings(None, environment)
        found = init(
            settings, Kafka(self.admin, {}), store_on(self.client),
            check=False, partitions=partitions, replication=1,
        )  # fmt: skip
        async for _ in found:
            pass
        return Deployment(
            environment=environment, directory=directory, tool=None,
            topic=topic, table=table, group=group,
        )  # fmt: skip

    async def committed(self, deployment: Deployment) -> Mapping[int, int]:
        """The group's offset of each partition that has one."""
        found = await coordinated(lambda: self.admin.list_consumer_group_offsets(deployment.group))
        return {tp.partition: at.offset for tp, at in found.items() if at.offset >= 0}

    async def evict_members(self, deployment: Deployment) -> None:
        """The group forgets its members, which are dead: no need to wait out their sessions."""
        answers = await coordinated(lambda: self.admin.describe_consumer_groups([deployment.group]))
        members = [
            member[0] for answer in answers for group in answer.groups for member in group[5]
        ]
        if not members:
            return
        coordinator = await self.kafka.coordinator_lookup(CoordinationType.GROUP, deployment.group)
        for member in members:
            request = LeaveGroupRequest(deployment.group, member)
            await self.kafka.send(coordinator, request, group=ConnectionGroup.COORDINATION)

    async def clear(self, deployment: Deployment) -> None:
        """What a run that went well needs no longer; the services stay small."""
        deployment.end()
        await self.client.delete_table(TableName=deployment.table)
        await self.admin.delete_topics([deployment.topic, f"{deployment.topic}.dead-letters"])


@asynccontextmanager
async def open_shared_services(
    services: Services, directory: Path
) -> AsyncIterator[SharedServices]:
    """Connections to services that run."""
    async with AsyncExitStack() as opened:
        session = aioboto3.Session()  # one: it reads the service's model once
        client = await opened.enter_async_context(
            session.client("dynamodb", endpoint_url=services.endpoint)
        )
        admin = AIOKafkaAdminClient(bootstrap_servers=services.bootstrap)
        opened.push_async_callback(admin.close)
        await admin.start()
        kafka = AIOKafkaClient(bootstrap_servers=services.bootstrap)
        opened.push_async_callback(kafka.close)
        await kafka.bootstrap()
        yield SharedServices(services, directory, session, client, admin, kafka)


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float) -> None:
    """Wait for an asynchronous condition. Raises TimeoutError with `what`."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - another process is asked
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise TimeoutError(f"not within {seconds:.0f} s: {what}") from None


#: Seconds between two looks at Kafka and the table: a run is a few seconds.
_POLL_S = 0.05
