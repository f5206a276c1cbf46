"""The steps at which a process can be made to end: of a flush, and of an acknowledgement.

The numbers are those of worker/flush.py. A name says where the process is: just before the step,
or just after it. A step is passed when it is reached; a call that failed has not been made.
"""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, NamedTuple

Passed = Callable[[str], None]


class Step(NamedTuple):
    """owner.name is wrapped: `before` is passed when it is called, `after` when it is done."""

    module: str
    owner: str
    name: str
    before: str
    after: str


FLUSH_STEPS = (
    Step("worker.app", "Resources", "flush", "1-batch-taken", "5-batch-settled"),
    Step("worker.flush", "", "decode_batch", "2-decoding", "2-decoded"),
    Step("worker.kafka.dead_letter_producer", "KafkaDeadLetters", "send",
         "3-dead-letters-to-send", "3-dead-letters-acknowledged"),
    Step("aiokafka", "AIOKafkaProducer", "send", "3-letter-to-post", "3-letter-posted"),
    Step("worker.dynamodb.batch_write", "DynamoDBWriter", "write",
         "4-wave-to-write", "4-wave-written"),
    Step("worker.dynamodb.retrying_store", "RetryingStore", "put", "4-call-to-make", "4-call-made"),
    Step("worker.flush", "WaveWriter", "split", "4-bundle-to-split", "4-bundle-split"),
    Step("worker.flush", "Flusher", "flush", "1-flush-begins", "5-batch-durable"),
    Step("worker.committer", "Committer", "save_progress",
         "6-progress-to-save", "6-progress-saved"),
    Step("worker.kafka.consumer", "BatchConsumer", "commit_offsets",
         "6-group-to-commit", "6-group-committed"),
    Step("worker.dynamodb.progress_store", "DynamoDBProgress", "create",
         "0-progress-to-begin", "0-progress-begun"),
)  # fmt: skip

ACK_STEPS = (
    Step("poste_restante.mailboxes", "Mailboxes", "ack", "ack-begins", "ack-done"),
    Step("poste_restante.store", "DynamoDBMailboxStore", "raise_cursor",
         "cursor-to-raise", "cursor-raised"),
    Step("poste_restante.store", "DynamoDBMailboxStore", "create_cursor",
         "cursor-to-create", "cursor-created"),
    Step("poste_restante.mailboxes", "Mailboxes", "add_device", "device-to-add", "device-added"),
    Step("poste_restante.mailboxes", "Mailboxes", "remove_device",
         "device-to-remove", "device-removed"),
    Step("poste_restante.store", "DynamoDBMailboxStore", "delete",
         "deletes-to-make", "deletes-made"),
    Step("tests.sweeps.watched_client", "WatchedClient", "batch_write_item",
         "delete-call-to-make", "delete-call-made"),
)  # fmt: skip


def names(steps: tuple[Step, ...]) -> list[str]:
    """Every place that a process can be made to end at, in the order of the steps."""
    return sorted({name for step in steps for name in (step.before, step.after)})


def watch(steps: tuple[Step, ...], passed: Passed) -> None:
    """Wrap what the steps name, in this process, so that `passed` hears of each passing."""
    from importlib import import_module

    for step in steps:
        owner: Any = import_module(step.module)
        if step.owner:
            owner = getattr(owner, step.owner)
        setattr(owner, step.name, _watched(getattr(owner, step.name), step, passed))


def _watched(made: Callable[..., Any], step: Step, passed: Passed) -> Callable[..., Any]:
    if iscoroutinefunction(made):

        @wraps(made)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            passed(step.before)
            result = await made(*args, **kwargs)
            passed(step.after)
            return result

        return awaited

    @wraps(made)
    def called(*args: Any, **kwargs: Any) -> Any:
        passed(step.before)
        result = made(*args, **kwargs)
        passed(step.after)
        return result

    return called
