"""A Faust worker whose table is rebuilt from its changelog, as it is meant to be. A child process.

    TABLE_... benchmarks/why_not_kafka/faust_table.py worker --web-port ...

Prints one line of JSON when its partitions are taken away, when its table is whole again, and when
its standby copies are. A look-up by HTTP, `/mailbox/bob/`, is answered by the worker that has the
user's partition: another one forwards it there, by Faust's own `table_route`.
"""

import json
import os
import time
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

import faust
from faust.stores import STORES
from faust.stores.memory import Store

#: Look-ups that are timed once the table is whole.
LOOKUPS = 10_000
#: Seconds between two looks at whether the standby copies have what there is.
_LOOK_S = 0.1


class KeptStore(Store):
    """Faust's dictionary, which remembers how far it has each partition, as its RocksDB store does.

    The one that Faust brings does not: it reads a partition from the beginning when its standby
    copy becomes the active one, and throws standby copies away in every rebalance.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.offsets: dict[Any, int] = {}

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        events = list(batch)
        super().apply_changelog_batch(events, to_key, to_value)
        for event in events:
            self.offsets[event.message.tp] = event.message.offset

    def persisted_offset(self, tp: Any) -> int | None:
        return self.offsets.get(tp)

    def set_persisted_offset(self, tp: Any, offset: int) -> None:
        """Of what this worker has written itself."""
        self.offsets[tp] = offset

    async def on_recovery_completed(self, active_tps: set[Any], standby_tps: set[Any]) -> None:
        """What was moved away is forgotten; a standby copy is kept."""
        here = active_tps | standby_tps
        await super().on_recovery_completed(here, standby_tps)
        self.offsets = {tp: offset for tp, offset in self.offsets.items() if tp in here}


STORES.aliases["kept"] = f"{__name__}:KeptStore"
app = faust.App(
    os.environ["TABLE_APP"],
    broker="kafka://" + os.environ["TABLE_BOOTSTRAP"],
    store="kept://",
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


@app.page("/mailbox/{user}/")
@app.table_route(table=mailboxes, match_info="user")
async def mailbox(web: Any, request: Any, user: str) -> Any:  # noqa: ARG001
    """Text: it is what Faust forwards."""
    body = mailboxes.data.get(user.encode()) or b""
    return web.json({"worker": os.getpid(), "body": b64encode(body).decode()})


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


@app.task
async def standing_by() -> None:
    """Says so each time when all standby copies have what there was when they were assigned."""
    before: set[Any] = set()
    while True:
        copies = set(app.tables.recovery.standby_tps)
        if copies != before and _have_all(copies):
            say("standing_by", partitions=sorted(tp.partition for tp in copies))
            before = copies
        await app.sleep(_LOOK_S)


def _have_all(copies: set[Any]) -> bool:
    recovery = app.tables.recovery
    ends, offsets = recovery.standby_highwaters, recovery.standby_offsets
    return not recovery.in_recovery and all(
        tp in ends and offsets.get(tp) is not None and offsets[tp] >= ends[tp] for tp in copies
    )


if __name__ == "__main__":
    app.main()
