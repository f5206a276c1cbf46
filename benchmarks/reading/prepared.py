"""An endpoint that answers every Query at once with a page that was prepared for it.

In a process of its own; what it is for stands in `benchmarks.instant`. Of the mailbox `bundles-N`
the page is of N messages as the worker bundles them, of `items-N` the same messages in an item
each; every other one has PAGE_MESSAGES, in one bundle, so that any number of users may call.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from benchmarks.instant import ANSWERS
from benchmarks.reading.mail import RECORD, bundles, messages
from benchmarks.serving import Endpoint, Serving, in_a_process
from poste_restante.item import Attribute, Item
from poste_restante.position import TABLE_RECORD_KEY
from tests.bundles import item_of

#: Messages of a mailbox in the storm.
PAGE_MESSAGES = 10


def _on_the_wire(value: Attribute) -> Attribute:
    ((kind, content),) = value.items()
    if kind == "B":
        return {kind: b64encode(content).decode()}
    if kind == "L":
        return {kind: [_on_the_wire(each) for each in content]}
    if kind == "M":
        return {kind: {name: _on_the_wire(each) for name, each in content.items()}}
    return value


def answer(items: Iterable[Item]) -> bytes:
    """The body of a Query's answer, as DynamoDB writes it."""
    found = [{name: _on_the_wire(value) for name, value in item.items()} for item in items]
    return json.dumps(
        {"Count": len(found), "Items": found, "ScannedCount": len(found)}, separators=(",", ":")
    ).encode()


def plain_item(user: str, offset: int, body: bytes) -> Item:
    """A message in an item of its own, as one writes it by hand."""
    return {
        "user_id": {"S": user}, "position": {"S": f"00000.{offset:019}"}, "body": {"B": body},
        "time": {"N": "1767225600000"}, "expires_at": {"N": "4070908800"},
    }  # fmt: skip


@cache
def page(kind: str, count: int) -> bytes:
    mail = messages("bob", 0, count)
    if kind == "items":
        return answer(plain_item("bob", m.position.offset, m.body) for m in mail)
    return answer(item_of(bundle) for bundle in bundles(mail))


def answer_to(call: Mapping[str, Any]) -> bytes:
    """What a Query is answered."""
    user = call["ExpressionAttributeValues"][":user"]["S"]
    if user == TABLE_RECORD_KEY:
        return answer([RECORD.encode()])
    kind, _, count = user.partition("-")
    return page(kind, int(count)) if kind in {"bundles", "items"} else page("", PAGE_MESSAGES)


class _Prepared(Serving):
    def answer(self, head: str, body: bytes) -> None:  # noqa: ARG002 - the body says it all
        if b'"Key"' in body and b'"UpdateExpression"' in body:
            self.say(b'{"Attributes":{"0001.00000":{"N":"1"}}}')
        elif b'"KeyConditionExpression"' in body:
            self.say(answer_to(json.loads(body)))
        else:
            self.say(ANSWERS["BatchWriteItem"])


async def _prepared() -> Callable[[], Serving]:
    return _Prepared


def prepared_endpoint() -> AbstractContextManager[Endpoint]:
    """One in a process of its own, which ends with the block."""
    return in_a_process(_prepared)
