"""A Faust worker whose table is rebuilt from its changelog, as it is meant to be. A child process.

    TABLE_... benchmarks/why_not_kafka/faust_table.py worker --without-web

Prints one line of JSON when its partitions are taken away, and when its table is whole again.
"""

import json
import os
import time
from typing import Any

import faust

#: Look-ups that are timed once the table is whole.
LOOKUPS = 10_000

app = faust.App(
    os.environ["TABLE_APP"],
    broker="kafka://" + os.environ["TABLE_BOOTSTRAP"],
    store="memory://",
    topic_partitions=int(os.environ["TABLE_PARTITIONS"]),
    table_standby_replicas=int(os.environ["TABLE_STANDBYS"]),
    datadir=os.environ["TABLE_DATA"],
    # As a worker of this project has them: what is compared is the table.
    broker_session_timeout=10.0,
    broker_heartbeat_interval=1.0,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
)
source = app.topic("table-source", key_type=bytes, value_type=bytes)
mailboxes = app.Table("mailboxes", key_type=bytes, value_type=bytes)


@app.agent(source)
async def deliver(stream: Any) -> None:
    """Each message into its user's value, which goes to the changelog whole."""
    async for user, body in stream.items():
        mailboxes[user] = (mailboxes.get(user) or b"") + body


def say(event: str, **more: object) -> None:
    used = os.times()
    line = {
        "event": event, "at": time.monotonic(), "cpu_s": used.user + used.system, **more,
    }  # fmt: skip
    # Faust makes log lines of what is printed; this is read by a program.
    os.write(1, f"json:{json.dumps(line)}\n".encode())


@app.on_partitions_revoked.connect
async def revoked(sender: Any, revoked: Any, **_: Any) -> None:  # noqa: ARG001
    say("revoked", partitions=sorted(tp.partition for tp in revoked if tp.topic == "table-source"))


@mailboxes.on_recover
async def recovered() -> None:
    mine = [tp.partition for tp in app.consumer.assignment() if tp.topic == "table-source"]
    keys = list(mailboxes.data.keys())[:LOOKUPS]
    begin = time.perf_counter()
    for key in keys:
        mailboxes.data.get(key)
    seconds = time.perf_counter() - begin
    say(
        "recovered", partitions=sorted(mine), keys=len(mailboxes.data),
        lookup_us=seconds * 1e6 / max(len(keys), 1),
    )  # fmt: skip


if __name__ == "__main__":
    app.main()
