"""When a message became readable: as the noting endpoint says, or as readers see it.

Readers ask for a sample of the messages alone, each from a mailbox of its own: a strongly
consistent Query every few milliseconds until it is there. They are no more than a small part of
the store's load, and what they say is late by half the time between two looks.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aioboto3
from botocore.config import Config

from benchmarks.latency.load import Due, Phase, schedule
from benchmarks.latency.noting import noted
from benchmarks.one_worker import Place
from poste_restante.position import mailbox_key

#: Seconds from an order to its begin: the producer starts, connects and makes its schedule.
_LEAD_S = 2.0
#: Seconds that everything may take to be readable after the last message was due.
READABLE_S_MAX = 30.0
#: Seconds between two looks into a mailbox, and the messages sampled in a second at most.
_LOOK_S, _SAMPLED_PER_S = 0.004, 20.0


@dataclass(frozen=True, slots=True)
class Watched:
    """One load: when messages were due and how long they took, in seconds from its begin.

    unread: those that were not readable READABLE_S_MAX after the last was due. committed_s: when
    the worker wrote progress; empty where nobody noted it. producer: what `send` says.
    """

    due: list[Due]
    waits_s: list[float]
    unread: int
    committed_s: list[float]
    producer: dict[str, Any]

    def of(self, phase: int) -> tuple[list[float], list[float]]:
        """Due and waits of one phase."""
        both = [(d.at_s, w) for d, w in zip(self.due, self.waits_s, strict=True)
                if d.phase == phase]  # fmt: skip
        return [at for at, _ in both], [wait for _, wait in both]


class _Sending:
    """The producer's process, from its order on."""

    def __init__(self, place: Place, phases: Sequence[Phase]) -> None:
        self.begin_ns = time.monotonic_ns() + int(_LEAD_S * 1e9)
        self.seconds = _LEAD_S + sum(phase.seconds for phase in phases)
        order = {
            "bootstrap": place.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"],
            "topic": place.topic,
            "begin_ns": self.begin_ns,
            "phases": [phase.as_json() for phase in phases],
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.latency.send"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def said(self) -> dict[str, Any]:
        """What it says at its end. Raises RuntimeError."""
        try:
            said, _ = self._process.communicate(timeout=self.seconds + READABLE_S_MAX)
        finally:
            self._process.kill()
        if self._process.returncode != 0:
            raise RuntimeError("the producer failed")
        found: dict[str, Any] = json.loads(said)
        if found["failed"]:
            raise RuntimeError(f"the broker did not take {found['failed']} messages")
        return found


def by_endpoint(place: Place, endpoint: str, phases: Sequence[Phase]) -> Watched:
    """Every message, as a noting endpoint saw it. Raises RuntimeError."""
    messages = list(schedule(phases))
    noted(endpoint)
    sending = _Sending(place, phases)
    said = sending.said()
    deadline = time.monotonic() + READABLE_S_MAX
    notes = noted(endpoint)
    readable, committed_ns = notes.readable_ns, notes.committed_ns
    while len(readable) < len(messages) and time.monotonic() < deadline:
        time.sleep(1.0)
        notes = noted(endpoint)
        readable = notes.readable_ns | readable
        committed_ns = [*committed_ns, *notes.committed_ns]
    found = {number: (at - sending.begin_ns) / 1e9 for number, at in readable.items()}
    return Watched(
        due=[message for n, message in enumerate(messages) if n in found],
        waits_s=[found[n] - message.at_s for n, message in enumerate(messages) if n in found],
        unread=len(messages) - len(found),
        committed_s=[(at - sending.begin_ns) / 1e9 for at in committed_ns],
        producer=said,
    )


async def by_readers(place: Place, phases: Sequence[Phase]) -> Watched:
    """A sample, as readers see it. Each message of the load goes to another user."""
    assert not any(phase.chatty for phase in phases), "a mailbox with one message is looked into"
    messages = list(schedule(phases))
    per_s = max(phase.per_s for phase in phases)
    sample = messages[:: max(1, round(per_s / _SAMPLED_PER_S))]
    config = Config(max_pool_connections=200, retries={"total_max_attempts": 1})
    client = aioboto3.Session().client(
        "dynamodb", endpoint_url=place.environment["AWS_ENDPOINT_URL_DYNAMODB"], config=config
    )
    async with client as dynamodb:
        await dynamodb.describe_table(TableName=place.table)  # connected before it counts
        sending = await asyncio.to_thread(_Sending, place, phases)
        saying = asyncio.create_task(asyncio.to_thread(sending.said))
        begin_s = sending.begin_ns / 1e9
        until_s = begin_s + sample[-1].at_s + READABLE_S_MAX
        waits_s = await asyncio.gather(
            *(_wait(dynamodb, place, m.user, begin_s + m.at_s, until_s) for m in sample)
        )
    return Watched(
        due=[m for m, wait_s in zip(sample, waits_s, strict=True) if wait_s is not None],
        waits_s=[wait_s for wait_s in waits_s if wait_s is not None],
        unread=waits_s.count(None),
        committed_s=[],
        producer=await saying,
    )


async def _wait(
    dynamodb: Any, place: Place, user: str, due_s: float, until_s: float
) -> float | None:
    """Seconds from when its message was due until a user's mailbox has it. None: not in time."""
    await asyncio.sleep(max(0.0, due_s - time.monotonic()))
    while time.monotonic() < until_s:
        answer = await dynamodb.query(
            TableName=place.table, ConsistentRead=True,
            KeyConditionExpression="user_id = :user",
            ExpressionAttributeValues={":user": {"S": mailbox_key(user)}},
        )  # fmt: skip
        if answer["Items"]:
            return time.monotonic() - due_s
        # A backlog is looked into ever less often, so that the looks do not make it worse.
        await asyncio.sleep(max(_LOOK_S, (time.monotonic() - due_s) / 20))
    return None
