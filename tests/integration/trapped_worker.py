"""A worker into which the traps of its client libraries are set, on purpose. Run by `trapping`.

TRAPS names them, separated by commas; each is a function below. `x=3` hands 3 to it. TRAPS_IN is
the folder with the files that hold something up: it goes on when its file is gone.
"""

import asyncio
import atexit
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from poste_restante.item import base64
from worker import app
from worker.assignment import Assignment
from worker.bundles import Bundle
from worker.config_file import load_settings
from worker.decode import CloudEventsDecoder
from worker.dynamodb.batch_write import DynamoDBWriter
from worker.fast_path import FastPath
from worker.fetching import Fetched
from worker.kafka import client_thread, options
from worker.kafka import consumer as transport
from worker.mailbox_writer import Rejected
from worker.opening import PartitionOpener

TRAPS, FOLDER = os.environ.pop("TRAPS").split(","), Path(os.environ.pop("TRAPS_IN"))
#: Seconds that anything is held up at most: a test has failed long before.
HELD_S_MAX = 120.0
#: Seconds that are long: more than any limit that a test sets here for something that is held.
LONG_S = 3.0

_write, _open = DynamoDBWriter.write, PartitionOpener.open
_create_app = app.create_app
_start, _wait_empty = transport.BatchConsumer.on_start, transport.BatchConsumer.wait_empty
_ack = transport.BatchConsumer.ack
_fetch, _hold = client_thread.BatchConsumerThread.fetch, client_thread.BatchConsumerThread.hold


def say(text: str) -> None:
    print(f"trap: {text}", flush=True)


async def held_up(name: str) -> None:
    """Returns when the file is gone; at once where it never was."""
    if not (FOLDER / name).exists():
        return
    say(f"held up by {name}")
    begin = time.monotonic()
    long = False
    while (held_s := time.monotonic() - begin) < HELD_S_MAX:
        if not (FOLDER / name).exists():
            say(f"released by {name}")
            return
        if held_s > LONG_S and not long:
            long = True
            say(f"held up for long by {name}")
        await asyncio.sleep(0.02)
    raise TimeoutError(name)


def poll_interval(seconds: str) -> None:
    """aiokafka leaves the group when nobody polls for so long; `idle` is said well past it."""
    options.POLL_INTERVAL_S = float(seconds)

    async def on_start(self: transport.BatchConsumer) -> None:
        await _start(self)
        self.add_future(_say_idle(self, 1.25 * float(seconds)))

    transport.BatchConsumer.on_start = on_start


def consumer_of(thread: client_thread.BatchConsumerThread) -> transport.BatchConsumer:
    assert isinstance(thread.consumer, transport.BatchConsumer)
    return thread.consumer


def late_poll() -> None:
    """Once, with a partition, nobody polls until aiokafka has left the group: a process that was
    stopped."""
    late: list[Assignment] = []

    async def fetched(
        self: client_thread.BatchConsumerThread, partitions: set[int], **limits: Any
    ) -> Any:
        begun_in = consumer_of(self).current
        if begun_in.tasks and not late:
            late.append(begun_in)
            async with asyncio.timeout(HELD_S_MAX):
                while not begun_in.ended:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.02)
            say("late with a poll")
        return await _fetch(self, partitions, **limits)

    client_thread.BatchConsumerThread.fetch = fetched  # type: ignore[method-assign]


async def _say_idle(consumer: transport.BatchConsumer, seconds: float) -> None:
    state: Any = None
    begin = time.monotonic()
    while not consumer.should_stop:
        tasks = consumer.current.tasks.values()
        now = consumer.current, sum(task.fetched for task in tasks)
        if now != state:
            state, begin = now, time.monotonic()
        elif time.monotonic() - begin > seconds:
            say(f"idle with {len(tasks)} partitions")
            begin = time.monotonic()
        await asyncio.sleep(0.05)


def metadata(seconds: str) -> None:
    """A topic's partitions are asked for so often."""
    options.METADATA_S = float(seconds)


def request_timeout(seconds: str) -> None:
    """Past it Faust resumes the flow without `perform_seek`."""

    def create_app(settings: Any) -> app.MailboxApp:
        made = _create_app(settings)
        made.conf.broker_request_timeout = float(seconds)
        return made

    app.create_app = create_app


def hold_writes() -> None:
    """Nothing of partition p is written while a file `write-p` is there, a hung store to it."""

    async def write(self: DynamoDBWriter, bundles: Sequence[Bundle]) -> list[Rejected]:
        await held_up(f"write-{bundles[0].log.partition}")
        return await _write(self, bundles)

    async def wait_empty(self: transport.BatchConsumer) -> None:
        say("draining")
        await _wait_empty(self)

    DynamoDBWriter.write = write  # type: ignore[method-assign]
    transport.BatchConsumer.wait_empty = wait_empty  # type: ignore[method-assign]


def hold_first_look_up() -> None:
    """The answers to the first questions about partitions are held while `look-up` is there."""
    asked: list[PartitionOpener] = []

    async def opened(self: PartitionOpener, partitions: Any, **limits: Any) -> Any:
        asked.append(self)
        first = len(asked) == 1
        answers = await _open(self, partitions, **limits)
        if first:
            await held_up("look-up")
        return answers

    PartitionOpener.open = opened  # type: ignore[method-assign]


def straddle() -> None:
    """The first rebalance is straddled by a fetch that asks for the partitions before they are
    held: aiokafka has begun to read them where it sees fit."""
    straddled: list[Assignment] = []

    async def fetched(
        self: client_thread.BatchConsumerThread, partitions: set[int], **limits: Any
    ) -> Any:
        begun_in = consumer_of(self).current
        if not begun_in.tasks or straddled:
            return await _fetch(self, partitions, **limits)
        straddled.append(begun_in)
        for _ in range(int(HELD_S_MAX / 0.01)):
            if consumer_of(self).current is not begun_in:
                break
            await asyncio.sleep(0.01)
        say("a fetch straddles a rebalance")
        # As if it had begun just before the flow was stopped, which it asks for first.
        tps = [self.reader.tp(partition) for partition in partitions]
        timeout_ms = int(1000 * limits["timeout_s"])
        records = await self.call_thread(
            partial(self.reader.client.getmany, *tps, timeout_ms=timeout_ms, max_records=1)
        )
        return {tp.partition: Fetched(got, caught_up=False) for tp, got in records.items()}

    async def late(self: client_thread.BatchConsumerThread, partitions: Iterable[int]) -> None:
        if straddled:
            await asyncio.sleep(0.3)  # the fetch meets what aiokafka has found meanwhile
        await _hold(self, partitions)

    client_thread.BatchConsumerThread.fetch = fetched  # type: ignore[method-assign]
    client_thread.BatchConsumerThread.hold = late  # type: ignore[method-assign]


def no_store() -> None:
    """What is written goes nowhere: for what is measured of the consumer alone."""

    async def write(self: DynamoDBWriter, bundles: Sequence[Bundle]) -> list[Rejected]:
        await held_up(f"write-{bundles[0].log.partition}")
        return []

    DynamoDBWriter.write = write  # type: ignore[method-assign]


def raise_once() -> None:
    """The write of the message b"trap" fails, with an error that nobody foresaw."""

    async def write(self: DynamoDBWriter, bundles: Sequence[Bundle]) -> list[Rejected]:
        if _is_in(bundles):
            raise RuntimeError("trapped")
        return await _write(self, bundles)

    DynamoDBWriter.write = write  # type: ignore[method-assign]


def cancel_once() -> None:
    """The flush of the message b"trap" is cancelled by somebody, as no one of ours does."""

    async def write(self: DynamoDBWriter, bundles: Sequence[Bundle]) -> list[Rejected]:
        if _is_in(bundles):
            task = asyncio.current_task()
            assert task is not None, "a flush is a task"
            task.cancel()
        return await _write(self, bundles)

    DynamoDBWriter.write = write  # type: ignore[method-assign]


def _is_in(bundles: Sequence[Bundle]) -> bool:
    trap = base64(b"trap")
    return any(f'"{trap}"' in entry.json for bundle in bundles for entry in bundle.entries)


def decoder() -> None:
    """Our own decoder has a fault, which the record b"poison" meets."""
    decode = CloudEventsDecoder.__call__

    def decoded(self: CloudEventsDecoder, record: Any, epoch: int) -> Any:
        if record.value == b"poison":
            raise KeyError("a fault of ours")
        return decode(self, record, epoch)

    CloudEventsDecoder.__call__ = decoded  # type: ignore[method-assign]
    FastPath.entry = lambda self, record: None  # type: ignore[method-assign]


def acks() -> None:
    """Says at the end what Faust's own tracking of offsets has taken, or still waits for."""
    tracked: list[Any] = []

    def ack(self: transport.BatchConsumer, message: Any) -> bool:
        done: bool = _ack(self, message)
        tracked.extend([message] if done else [])
        return done

    def created(settings: Any) -> app.MailboxApp:
        made = _create_app(settings)
        atexit.register(lambda: say(f"tracked {len(tracked) + len(made.consumer.unacked)}"))
        return made

    transport.BatchConsumer.ack = ack
    app.create_app = created


SETTERS: dict[str, Callable[..., None]] = {
    setter.__name__: setter
    for setter in (
        poll_interval, metadata, request_timeout, hold_writes, hold_first_look_up, no_store,
        raise_once, cancel_once, decoder, acks, straddle, late_poll,
    )
}  # fmt: skip

for trap in TRAPS:
    name, _, argument = trap.partition("=")
    SETTERS[name](*([argument] if argument else []))

app.run(load_settings(None, os.environ))
