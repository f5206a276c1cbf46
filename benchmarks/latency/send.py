"""The producer, in a process of its own: it keeps its schedule, whatever becomes of a message.

    python -m benchmarks.latency.send        a line of JSON in, a line of JSON out

In: `bootstrap`, `topic`, `begin_ns` (of the monotonic clock, which all processes of a Linux
machine share), `phases`. Out: `acknowledged_ms`, from the call of produce to the broker's answer;
`behind_ms`, how late the producer itself was; `failed`.
"""

import gc
import json
import sys
import time
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from benchmarks.latency.load import Phase, body, schedule, summary

#: Messages between two looks at the broker's answers, where the schedule leaves no pause.
_POLL_EVERY = 16
#: Seconds that the last acknowledgements may take.
_FLUSH_S_MAX = 30.0
#: Seconds before a message is due from which on nothing is waited for but that.
_NEAR_S = 0.005


class _Answers:
    def __init__(self) -> None:
        self.acknowledged_s: list[float] = []
        self.failed = 0

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed += 1
            return
        self.acknowledged_s.append(message.latency())


def send(order: dict[str, Any]) -> dict[str, Any]:
    producer = Producer(
        {
            "bootstrap.servers": order["bootstrap"],
            "linger.ms": 0,
            "acks": "all",
            # Of a burst, all that is due at once.
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    producer.list_topics(order["topic"], timeout=_FLUSH_S_MAX)  # connected before it counts
    messages = list(schedule([Phase(**phase) for phase in order["phases"]]))
    answers, behind_s = _Answers(), []
    gc.collect()
    gc.freeze()
    begin_s = order["begin_ns"] / 1e9
    for number, message in enumerate(messages):
        due_s = begin_s + message.at_s
        left_s = due_s - time.monotonic()
        if left_s > 0:
            # Its answers are looked at when they come. A poll may end late, a sleep does not.
            while (wait_s := due_s - _NEAR_S - time.monotonic()) > 0:
                producer.poll(wait_s)
            producer.poll(0)
            left_s = due_s - time.monotonic()
            if left_s > 0:
                time.sleep(left_s)
        elif number % _POLL_EVERY == 0:
            producer.poll(0)
        behind_s.append(time.monotonic() - due_s)
        producer.produce(order["topic"], key=message.user, value=body(number), on_delivery=answers)
    unsent = producer.flush(_FLUSH_S_MAX)
    return {
        "acknowledged": summary(answers.acknowledged_s),
        "behind": summary(behind_s),
        "failed": answers.failed + unsent,
    }


if __name__ == "__main__":
    json.dump(send(json.loads(sys.stdin.readline())), sys.stdout)
