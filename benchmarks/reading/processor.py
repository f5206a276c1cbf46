"""Processor time of the gateway's process, per fetch and per acknowledgement, with floors beside.

    fetch           `Mailboxes.fetch` with the client of `open_mailboxes`
    query           a plain aioboto3 `query` of the same items, and boto3's TypeDeserializer
    per message     the same of a mailbox that has an item per message: what others read
    call            the signed call alone: its answer is received, and not looked at

They take turns, and the least of the rounds counts. What Python's collector adds is looked
at apart.
"""

import gc
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aioboto3
import aiohttp
from boto3.dynamodb.types import TypeDeserializer
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks.reading.mail import gateway_client, percentile
from poste_restante import Mailboxes
from poste_restante.position import BundleKey, LogId
from poste_restante.receipt import Reach, Receipt, Receipts
from tests.services.choose import LOCAL_AWS

#: Fetches of a round, at most: empty ones are many.
ROUND_FETCHES_MAX = 200
#: Fetches of a round, at least.
ROUND_FETCHES_MIN = 5
#: The generation of Python's collector that has all objects.
_OLDEST = 2

Work = Callable[[str], Awaitable[Any]]


class Plain:
    """What one writes by hand."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._deserialize = TypeDeserializer().deserialize

    async def __call__(self, user: str) -> list[dict[str, Any]]:
        answer = await self._client.query(**_query(user))
        deserialize = self._deserialize
        return [
            {name: deserialize(value) for name, value in item.items()} for item in answer["Items"]
        ]


class Call:
    """A signed call by aiohttp and botocore's signature alone."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session, self._address = session, address
        key, secret = LOCAL_AWS["AWS_ACCESS_KEY_ID"], LOCAL_AWS["AWS_SECRET_ACCESS_KEY"]
        self._signature = SigV4Auth(Credentials(key, secret), "dynamodb", "us-east-1")

    async def __call__(self, user: str) -> bytes:
        headers = {
            "X-Amz-Target": "DynamoDB_20120810.Query",
            "Content-Type": "application/x-amz-json-1.0",
        }
        body = json.dumps(_query(user))
        request = AWSRequest("POST", self._address + "/", headers, body)
        self._signature.add_auth(request)
        headers = dict(request.headers)
        async with self._session.post(request.url, data=body, headers=headers) as answer:
            return await answer.read()


def _query(user: str) -> dict[str, Any]:
    return {
        "TableName": "mailboxes", "ConsistentRead": True,
        "KeyConditionExpression": "user_id = :user",
        "ExpressionAttributeValues": {":user": {"S": user}},
    }  # fmt: skip


async def measure(address: str, sizes: dict[str, Any]) -> dict[str, Any]:
    async with (
        gateway_client() as client,
        aioboto3.Session().client("dynamodb") as plain_client,
        aiohttp.ClientSession() as session,
    ):
        mailboxes = Mailboxes(client)
        plain = Plain(plain_client)
        works: dict[str, tuple[str, Work]] = {
            "fetch": ("bundles", mailboxes.fetch), "query": ("bundles", plain),
            "per message": ("items", plain), "call": ("bundles", Call(session, address)),
        }  # fmt: skip
        rows = []
        for count in sizes["sizes"]:
            times = max(
                ROUND_FETCHES_MIN, min(ROUND_FETCHES_MAX, sizes["messages"] // max(1, count))
            )
            least = await _least_us(
                {name: (f"{kind}-{count}", work) for name, (kind, work) in works.items()},
                times, sizes["rounds"],
            )  # fmt: skip
            rows.append({
                "messages": count, "fetches": times, "rounds": sizes["rounds"], "cpu_us": least,
            })  # fmt: skip
        acks = await _acks(mailboxes, sizes)
        collected = [await _collected(mailboxes, sizes, frozen=frozen) for frozen in (False, True)]
    return {"processor": rows, "processor_ack": acks, "collector": collected}


async def _collected(
    mailboxes: Mailboxes, sizes: dict[str, Any], *, frozen: bool
) -> dict[str, Any]:
    """Large fetches one by one, and how often Python looked for cycles among all its objects.
    frozen: what was there before is out of its way."""
    took, full = [], []

    def collects(phase: str, info: dict[str, int]) -> None:
        if info["generation"] == _OLDEST:
            full.append((phase, time.process_time()))

    count = max(sizes["sizes"])
    await mailboxes.fetch(f"bundles-{count}")
    gc.collect()
    if frozen:
        gc.freeze()
    gc.callbacks.append(collects)
    for _ in range(ROUND_FETCHES_MAX):
        begin = time.process_time()
        await mailboxes.fetch(f"bundles-{count}")
        took.append(time.process_time() - begin)
    gc.callbacks.remove(collects)
    gc.unfreeze()
    spans = [end - begin for (_, begin), (_, end) in zip(full[::2], full[1::2], strict=True)]
    return {
        "messages": count, "fetches": len(took), "frozen": frozen,
        "cpu_s_p50": percentile(took, 0.5), "cpu_s_p99": percentile(took, 0.99),
        "collections": len(spans), "collection_s_max": round(max(spans, default=0.0), 6),
    }  # fmt: skip


async def _acks(mailboxes: Mailboxes, sizes: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for count in sizes["bundles"]:
        receipt = _receipt(count)

        async def ack(user: str, receipt: str = receipt) -> None:
            await mailboxes.ack(user, receipt)

        times = max(ROUND_FETCHES_MIN, ROUND_FETCHES_MAX // count)
        least = await _least_us({"ack": ("bob", ack)}, times, sizes["rounds"])
        rows.append({"bundles": count, "cpu_us": least["ack"]})
    return rows


def _receipt(count: int) -> str:
    log = LogId(1, 0)
    keys = tuple(BundleKey(*log, last=n, first=n) for n in range(count))
    receipt = Receipt(keys[-1].encode(), {log: Reach(count - 1, count - 1)})
    return Receipts().encode(receipt, table_id="measured", user_id="bob")


async def _least_us(
    works: dict[str, tuple[str, Work]], times: int, rounds: int
) -> dict[str, float]:
    """Microseconds of each work, done so often in a round."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for user, work in works.values():  # connections, caches
        await work(user)
    gc.collect()
    gc.freeze()  # what was there before is nobody's cost
    for _ in range(rounds):
        for name, (user, work) in works.items():
            begin = time.process_time()
            for _ in range(times):
                await work(user)
            spent[name].append((time.process_time() - begin) / times * 1e6)
    gc.unfreeze()
    return {name: round(min(each), 1) for name, each in spent.items()}
