"""Which errors of a consumer group are waited for, and which end the worker. Pure.

Error codes are those of the protocol (https://kafka.apache.org/protocol#protocol_error_codes):
aiokafka 0.14 has no classes for the ones above 79.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from aiokafka.errors import OffsetOutOfRangeError, for_code


class Code(IntEnum):
    """Error codes that concern a member of a group."""

    NONE = 0
    COORDINATOR_LOAD_IN_PROGRESS = 14
    COORDINATOR_NOT_AVAILABLE = 15
    NOT_COORDINATOR = 16
    ILLEGAL_GENERATION = 22
    INCONSISTENT_GROUP_PROTOCOL = 23
    INVALID_GROUP_ID = 24
    UNKNOWN_MEMBER_ID = 25
    INVALID_SESSION_TIMEOUT = 26
    REBALANCE_IN_PROGRESS = 27
    TOPIC_AUTHORIZATION_FAILED = 29
    GROUP_AUTHORIZATION_FAILED = 30
    MEMBER_ID_REQUIRED = 79
    GROUP_MAX_SIZE_REACHED = 81
    FENCED_INSTANCE_ID = 82


#: Conditions that end by themselves: the group waits for its other members, or its coordinator.
_WAITED_FOR: Mapping[int, str] = {
    Code.COORDINATOR_LOAD_IN_PROGRESS: "the group's coordinator is loading the group",
    Code.COORDINATOR_NOT_AVAILABLE: "the group's coordinator is not available",
    Code.NOT_COORDINATOR: "the group is moving to another broker",
    Code.ILLEGAL_GENERATION: "a rebalance is under way",
    Code.REBALANCE_IN_PROGRESS: "a rebalance is under way",
    Code.UNKNOWN_MEMBER_ID: "the broker does not know this member any more",
    Code.MEMBER_ID_REQUIRED: "a rebalance is under way",
}

#: Of these, waited for only `group_monitor.REFUSED_S_MAX` seconds of a join: a healthy coordinator
#: stops answering these by then.
WAITED_FOR_BRIEFLY: frozenset[int] = frozenset(
    {Code.UNKNOWN_MEMBER_ID, Code.ILLEGAL_GENERATION, Code.MEMBER_ID_REQUIRED}
)

#: A permission is missing.
DENIED: frozenset[int] = frozenset(
    {Code.TOPIC_AUTHORIZATION_FAILED, Code.GROUP_AUTHORIZATION_FAILED}
)

#: Connection errors are not refusals, though aiokafka has codes for some.
_PASSING = frozenset({7, 8, 9})


@dataclass(frozen=True, slots=True)
class Member:
    """The settings of a member that error texts name. session_timeout_s: seconds."""

    topic: str
    group: str
    session_timeout_s: float = 10.0
    instance_id: str = ""


def waits(code: int) -> bool:
    """Return whether the worker waits after this code; otherwise it ends the worker."""
    return code in _WAITED_FOR or code in _PASSING or code == Code.NONE


def waiting_reason(code: int) -> str:
    """Return what the worker waits for after this code."""
    return _WAITED_FOR.get(code, "")


def refusal(code: int, member: Member) -> str:
    """Return one line about a refusal: the cause, and what to do."""
    group, topic = member.group, member.topic
    match code:
        case Code.INCONSISTENT_GROUP_PROTOCOL:
            return (
                f"cannot join the group {group!r}: another member uses a different assignment"
                " strategy than roundrobin: stop that consumer, or set kafka.group to a group of"
                " the workers' own"
            )
        case Code.INVALID_GROUP_ID:
            return f"cannot join the group {group!r}: the broker does not accept this kafka.group"
        case Code.INVALID_SESSION_TIMEOUT:
            return (
                f"cannot join the group {group!r}: the broker does not accept"
                f" kafka.session_timeout_s = {member.session_timeout_s:g}: set it between the"
                " broker's group.min.session.timeout.ms and group.max.session.timeout.ms"
            )
        case Code.TOPIC_AUTHORIZATION_FAILED:
            return (
                f"the broker denies Read on the topic {topic!r}: grant this user Read and Describe"
                " on it"
            )
        case Code.GROUP_AUTHORIZATION_FAILED:
            return (
                f"the broker denies Read on the group {group!r}: grant this user Read and Describe"
                " on it"
            )
        case Code.GROUP_MAX_SIZE_REACHED:
            return (
                f"cannot join the group {group!r}: it has as many members as the broker's"
                " group.max.size allows: start fewer workers, or raise it"
            )
        case Code.FENCED_INSTANCE_ID:
            return (
                f"another process has taken this worker's place in the group {group!r}: both have"
                f" the kafka.group_instance_id {member.instance_id!r}; give each worker its own"
            )
        case Code.UNKNOWN_MEMBER_ID | Code.ILLEGAL_GENERATION | Code.MEMBER_ID_REQUIRED:
            return (
                f"cannot join the group {group!r}: the broker keeps answering"
                f" {Code(code).name}; start this worker again"
            )
    return (
        f"cannot stay in the group {group!r}: the broker answers error {code}"
        f" ({for_code(code).__name__}); start this worker again, and look at the broker's log"
    )


def gave_up(error: BaseException, member: Member) -> str:
    """Return one line about a client that gave up for a reason of its own."""
    return (
        f"the Kafka client gave up the group {member.group!r} ({error or error!r}):"
        " start this worker again"
    )


def unreadable(error: BaseException, member: Member) -> str:
    """Return one line about a fetch that the broker, or the client, refuses."""
    if code_of(error) == Code.TOPIC_AUTHORIZATION_FAILED:
        return refusal(Code.TOPIC_AUTHORIZATION_FAILED, member)
    if isinstance(error, OffsetOutOfRangeError):
        return (
            f"the topic {member.topic!r} no longer has a record at the next offset"
            f" ({error}): retention removed it, or the topic was truncated or re-created; the"
            " restart says which"
        )
    return (
        f"cannot read the topic {member.topic!r}: {error}; the restart continues where this worker"
        " stopped"
    )


def code_of(error: BaseException) -> int | None:
    """Return the protocol's code of an error or of its cause; None if it has none."""
    seen: BaseException | None = error
    while seen is not None:
        code = getattr(seen, "errno", None)
        if not isinstance(seen, OSError) and isinstance(code, int) and code > 0:
            return code
        seen = seen.__cause__
    return None
