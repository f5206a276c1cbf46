"""A consumer group for a deliberate move: whether it has members, and its offsets.

aiokafka describes only groups of the classic protocol; for a group of the new protocol (KIP-848) a
broker answers as for a missing one. ListGroups reports the state of a group of either protocol from
version 4 on (KIP-518), which every broker with the new protocol has.
"""

from collections.abc import Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    IllegalGenerationError,
    IncompatibleBrokerVersion,
    NoError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.types import (
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from worker.errors import OperatorError

#: States of a group without members.
_WITHOUT_MEMBERS = frozenset({"", "Empty", "Dead"})
#: A broker's answers to a commit from outside a group that has members.
_HAS_MEMBERS = (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError)


class ListGroupsResponse_v4(Response):  # type: ignore[misc] # noqa: N801 - as aiokafka names it
    API_KEY = 16
    API_VERSION = 4
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "groups",
            CompactArray(
                ("group", CompactString("utf-8")),
                ("protocol_type", CompactString("utf-8")),
                ("state", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class ListGroupsRequest_v4(RequestStruct):  # type: ignore[misc] # noqa: N801 - as above
    API_KEY = 16
    API_VERSION = 4
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = ListGroupsResponse_v4
    SCHEMA = Schema(("states_filter", CompactArray(CompactString("utf-8"))), ("tags", TaggedFields))


class ListGroupsRequest(Request[ListGroupsRequest_v4]):  # type: ignore[misc]
    """Lists every group of a coordinator that the client may describe, with its state."""

    API_KEY = 16

    def build(self, request_struct_class: type[ListGroupsRequest_v4]) -> ListGroupsRequest_v4:
        return request_struct_class([], {})


async def require_no_members(admin: AIOKafkaAdminClient, group: str) -> None:
    """Raise OperatorError while the group has members of either protocol, KafkaError if that cannot
    be determined."""
    coordinator = await admin.find_coordinator(group)
    for answer in await admin.describe_consumer_groups([group], coordinator):
        for error, _, _, _, _, members, *_ in answer.groups:
            if for_code(error) is not NoError:
                raise for_code(error)(group)
            if members:
                raise OperatorError(
                    f"{len(members)} workers of the group {group!r} are running: stop them, and try"
                    " again"
                )
    if await _state(admin, group, coordinator) not in _WITHOUT_MEMBERS:
        raise has_members(group)


async def _state(admin: AIOKafkaAdminClient, group: str, coordinator: int) -> str:
    """Return the group's state; empty if there is no such group, or if the broker is too old to
    report it, and so has only the classic protocol."""
    try:
        answer = await _asked(admin, ListGroupsRequest(), coordinator)
    except (IncompatibleBrokerVersion, NotImplementedError):  # aiokafka's, for one and the other
        return ""
    if for_code(answer.error_code) is not NoError:
        raise for_code(answer.error_code)(group)
    states = {listed[0]: listed[2] for listed in answer.groups}
    return str(states.get(group, ""))


async def commit(
    admin: AIOKafkaAdminClient, group: str, topic: str, offsets: Mapping[int, int]
) -> None:
    """Set offsets of a group from outside, all or none.

    Raises OperatorError if it has members, and KafkaError for any other refusal; nothing is
    committed then.
    """
    request = OffsetCommitRequest(
        group,
        OffsetCommitRequest.DEFAULT_GENERATION_ID,
        "",
        OffsetCommitRequest.DEFAULT_RETENTION_TIME,
        [(topic, [(partition, offset, "") for partition, offset in offsets.items()])],
    )
    answer = await _asked(admin, request, await admin.find_coordinator(group))
    for _, partitions in answer.topics:
        for partition, code in partitions:
            error = for_code(code)
            if error in _HAS_MEMBERS:
                raise has_members(group)
            if error is not NoError:
                raise error(f"{topic}-{partition} of the group {group}")


def has_members(group: str) -> OperatorError:
    """Return the error for a move while the group has members, which may be other programs."""
    return OperatorError(f"consumers of the group {group!r} are running: stop them, and try again")


async def _asked(admin: AIOKafkaAdminClient, request: Any, node: int) -> Any:
    # Not public: the client has no method for either request.
    return await admin._send_request(request, node)  # noqa: SLF001
