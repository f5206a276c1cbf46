"""What Kafka's client library raises at a commit and at a dead letter, and what becomes of it.

Commits fail where the library sends its requests (`AIOKafkaClient.send`), most by an answer of the
broker. The library tries again by itself for what it calls retriable, looks for the coordinator,
joins its group anew, and turns what a rebalance means into CommitFailedError. Dead letters fail
where ours meets the library (`AIOKafkaProducer`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.commit import (
    OffsetCommitRequest,
    OffsetCommitRequest_v3,
    OffsetCommitResponse_v3,
)


@dataclass(frozen=True, slots=True)
class KafkaFault:
    """One way in which a call goes wrong.

    call: "commit", "commit-refused", "send", "acknowledgement" or "connect". made: the call
    succeeds, and its answer is lost. leaves: what the worker says as its process ends, with
    status 1; None: it goes on by itself.
    """

    call: str
    error: Callable[[], Exception]
    made: bool = False
    leaves: str | None = None


#: Errors of a request to which there is no answer.
_WITHOUT_ANSWER = (errors.KafkaConnectionError, errors.RequestTimedOutError)

#: The fault of this time; None: none.
Due = Callable[[], KafkaFault | None]

#: The end of a worker that the broker forbids something.
_DEAD_LETTERS_REFUSED = "the broker refuses dead letters"

KAFKA_FAULTS = {
    "commit-coordinator-moved": KafkaFault("commit", errors.NotCoordinatorForGroupError),
    "commit-coordinator-away": KafkaFault("commit", errors.GroupCoordinatorNotAvailableError),
    "commit-coordinator-loading": KafkaFault("commit", errors.GroupLoadInProgressError),
    "commit-disconnected": KafkaFault("commit", errors.KafkaConnectionError),
    "commit-timed-out": KafkaFault("commit", errors.RequestTimedOutError),
    "commit-answer-lost": KafkaFault("commit", errors.RequestTimedOutError, made=True),
    "commit-unknown-member": KafkaFault("commit", errors.UnknownMemberIdError),
    "commit-old-generation": KafkaFault("commit", errors.IllegalGenerationError),
    "commit-rebalancing": KafkaFault("commit", errors.RebalanceInProgressError),
    "commit-made-then-rebalanced": KafkaFault(
        "commit", errors.IllegalGenerationError, made=True
    ),
    "commit-forbidden": KafkaFault(
        "commit", errors.GroupAuthorizationFailedError, leaves="denies Read on the group"
    ),
    "commit-topic-forbidden": KafkaFault(
        "commit", errors.TopicAuthorizationFailedError, leaves="denies Read on the topic"
    ),
    "commit-broker-fault": KafkaFault("commit", errors.UnknownError, leaves="UnknownError"),
    "commit-broker-fault-made": KafkaFault(
        "commit", errors.UnknownError, made=True, leaves="UnknownError"
    ),
    "commit-not-assigned": KafkaFault("commit-refused", errors.IllegalStateError),
    "letter-no-room": KafkaFault("send", errors.KafkaTimeoutError),
    "letter-timed-out": KafkaFault("acknowledgement", errors.KafkaTimeoutError),
    "letter-leader-moved": KafkaFault("acknowledgement", errors.NotLeaderForPartitionError),
    "letter-too-few-replicas": KafkaFault("acknowledgement", errors.NotEnoughReplicasError),
    "letter-out-of-sequence": KafkaFault("acknowledgement", errors.OutOfOrderSequenceNumber),
    "letter-answer-lost": KafkaFault("acknowledgement", errors.KafkaTimeoutError, made=True),
    "letter-too-large": KafkaFault(
        "send", errors.MessageSizeTooLargeError, leaves=_DEAD_LETTERS_REFUSED
    ),
    "letter-forbidden": KafkaFault(
        "acknowledgement", errors.TopicAuthorizationFailedError, leaves=_DEAD_LETTERS_REFUSED
    ),
    "letter-forbidden-made": KafkaFault(
        "acknowledgement", errors.TopicAuthorizationFailedError,
        made=True, leaves=_DEAD_LETTERS_REFUSED,
    ),
    "letter-no-broker": KafkaFault("connect", errors.KafkaConnectionError),
}  # fmt: skip


#: What is wrapped, of each call.
_CALLS: dict[str, tuple[Any, str]] = {
    "commit": (AIOKafkaClient, "send"),
    "commit-refused": (AIOKafkaConsumer, "commit"),
    "send": (AIOKafkaProducer, "send"),
    "acknowledgement": (AIOKafkaProducer, "send"),
    "connect": (AIOKafkaProducer, "start"),
}


def inject(call: str, due: Due) -> None:
    """Make a call of this process fail as `due` says, which is asked once each time."""
    owner, name = _CALLS[call]
    made = getattr(owner, name)

    async def failing(*args: Any, **kwargs: Any) -> Any:
        if call == "commit" and not isinstance(args[2], OffsetCommitRequest):
            return await made(*args, **kwargs)
        fault = due()
        if fault is None:
            return await made(*args, **kwargs)
        if fault.call == "acknowledgement":
            return await _unacknowledged(fault, lambda: made(*args, **kwargs))
        if fault.made:
            await made(*args, **kwargs)
        error = fault.error()
        if call == "commit" and not isinstance(error, _WITHOUT_ANSWER):
            return _answer(args[2], error)
        raise error

    setattr(owner, name, failing)


def _answer(request: OffsetCommitRequest, error: Any) -> OffsetCommitResponse_v3:
    """The broker's, with this error for each partition."""
    topics = [
        (topic, [(partition, error.errno) for partition, *_ in partitions])
        for topic, partitions in request.build(OffsetCommitRequest_v3).topics
    ]
    return OffsetCommitResponse_v3(0, topics)


async def _unacknowledged(
    fault: KafkaFault, send: Callable[[], Awaitable["asyncio.Future[Any]"]]
) -> "asyncio.Future[Any]":
    """As `AIOKafkaProducer.send`: a future, that fails."""
    if fault.made:
        await (await send())
    failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    failed.set_exception(fault.error())
    return failed
