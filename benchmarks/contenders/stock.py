"""A stock Faust agent with the plain script's writing loop. A child process.

    STOCK_BOOTSTRAP=... STOCK_TOPIC=... STOCK_GROUP=... STOCK_TABLE=... STOCK_DATA=...
    python -m benchmarks.contenders.stock worker --without-web

`take_events` is `take` with the key and the offset of each message, which an item needs. It
acknowledges its batch to Faust when the next is asked for, and Faust commits from time to time; it
acknowledges one whose writing raised as well, which is then lost.
"""

import os
from typing import Any

import aioboto3
import faust

from benchmarks.plain import Plain

#: Events of a batch, and seconds until a smaller one is taken. Faust's stream buffers 4,096.
BATCH_EVENTS, WITHIN_S = 4_000, 0.5

app = faust.App(
    os.environ["STOCK_GROUP"],
    broker="kafka://" + os.environ["STOCK_BOOTSTRAP"],
    datadir=os.environ["STOCK_DATA"],
    topic_disable_leader=True,  # the broker is set to make no topics by itself
    consumer_auto_offset_reset="earliest",
)
undelivered = app.topic(
    os.environ["STOCK_TOPIC"], key_type=bytes, value_type=bytes,
    key_serializer="raw", value_serializer="raw",
)  # fmt: skip


@app.agent(undelivered)
async def keep(stream: Any) -> None:
    """The ordinary loop of its users: take, write."""
    async with aioboto3.Session().client("dynamodb") as client:
        write = Plain(client, os.environ["STOCK_TABLE"])
        async for events in stream.take_events(BATCH_EVENTS, within=WITHIN_S):
            await write([[event.message for event in events]])


if __name__ == "__main__":
    app.main()
