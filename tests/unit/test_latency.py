"""The latency benchmark: what is due when, what is said of the waits, and who noted them."""

import json
import time
from base64 import b64encode
from itertools import pairwise
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from benchmarks.latency import TABLES
from benchmarks.latency.load import (
    BODY_BYTES,
    Phase,
    around,
    body,
    percentile,
    schedule,
    settled_after_s,
    summary,
)
from benchmarks.latency.noting import noted, noting_endpoint
from poste_restante.table import TableRecord


def test_a_schedule_is_phases_of_load_and_silence() -> None:
    """Due evenly, each message to another user, what is at once at the begin; a schedule made
    again is the same, or latency would count from another time than the producer's."""
    phases = [Phase(1.0, 4), Phase(2.0), Phase(0.5, 4, at_once=3)]
    due = list(schedule(phases))

    assert [m.at_s for m in due] == [0, 0.25, 0.5, 0.75, 3, 3, 3, 3, 3.25]
    assert [m.phase for m in due] == [0] * 4 + [2] * 5
    assert len({m.user for m in due}) == len(due)
    assert list(schedule(phases)) == due


def test_the_chatty_mix_has_few_users_with_most_messages() -> None:
    """Bundles of several messages are part of the load."""
    due = list(schedule([Phase(1.0, 2_000, chatty=True)]))
    users = [m.user for m in due]

    assert len(set(users)) < len(users) / 2
    assert max(map(users.count, set(users))) > len(users) / 10
    assert list(schedule([Phase(1.0, 2_000, chatty=True)])) == due


def test_a_body_says_its_number() -> None:
    """First, so that twelve bytes of it are enough."""
    assert body(42).startswith(b"000000000042 ")
    assert len(body(42)) == BODY_BYTES


def test_a_percentile_of_too_few_is_not_said() -> None:
    """Ten messages lie above it, or it is one message's luck."""
    ordered = list(range(1_000))

    assert percentile(ordered, 0.5) == 500
    assert percentile(ordered, 0.99) == 990
    assert percentile(ordered, 0.999) is None
    assert percentile(ordered[:999], 0.99) is None
    assert summary([0.001, 0.003, 0.002]) == {
        "messages": 3, "p50_ms": 2.0, "p99_ms": None, "p999_ms": None, "max_ms": 3.0,
    }  # fmt: skip
    with pytest.raises(ValueError, match="no wait"):
        summary([])


def test_waits_near_a_moment_are_told_from_the_others() -> None:
    """A commit that held up flushes would show there."""
    assert around([0.0, 0.9, 1.05, 2.0], [1, 2, 3, 4], [1.0], near_s=0.1) == ([2, 3], [1, 4])


def test_a_tail_ends_with_the_last_that_waited_too_long() -> None:
    """Also where others in between did not; and before the moment nothing counts."""
    due, waits = [0.0, 1.0, 2.0, 3.0], [9.0, 9.0, 0.1, 0.1]

    assert settled_after_s(due, waits, from_s=0.5, limit_s=1.0) == 0.5
    assert settled_after_s(due, waits, from_s=1.5, limit_s=1.0) == 0.0
    assert all(before < after for before, after in pairwise(due))


def _call(address: str, operation: str, **call: Any) -> dict[str, Any]:
    headers = {"X-Amz-Target": f"DynamoDB_20120810.{operation}"}
    request = Request(address, json.dumps(call, separators=(",", ":")).encode(), headers)
    with urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_the_endpoint_notes_what_became_readable_and_keeps_progress() -> None:
    """The first time counts, since a replay makes nothing readable; a worker finds the table record
    and its progress there, and conditions hold."""
    key = {"user_id": {"S": "!table"}, "position": {"S": "!"}}
    with noting_endpoint("letters", 3) as address:
        item = _call(address, "GetItem", TableName="mailboxes", Key=key)["Item"]
        message = {"M": {"o": {"N": "1"}, "b": {"B": b64encode(body(7)).decode()}}}
        put = {"PutRequest": {"Item": {"messages": {"L": [message]}}}}
        answer = _call(address, "BatchWriteItem", RequestItems={"mailboxes": [put]})
        first_ns = time.monotonic_ns()
        _call(address, "BatchWriteItem", RequestItems={"mailboxes": [put]})
        with pytest.raises(HTTPError) as refused:
            _call(address, "PutItem", TableName="mailboxes", Item=item,
                  ConditionExpression="attribute_not_exists(user_id)")  # fmt: skip
        notes, later = noted(address), noted(address)

    assert TableRecord.decode(item).topic == "letters"
    assert answer == {"UnprocessedItems": {}}
    assert refused.value.code == 400
    assert b"ConditionalCheckFailedException" in refused.value.read()
    assert list(notes.readable_ns) == [7]
    assert notes.readable_ns[7] < first_ns
    assert notes.bodies == 2
    assert notes.calls == {"getitem": 1, "batchwriteitem": 2, "putitem": 1}
    assert (later.readable_ns, later.calls) == ({}, {})


def test_a_store_that_does_not_keep_up_gets_no_percentile() -> None:
    """What a backlog waits says how long the load was, and nothing of the worker."""
    kept = {"per_s": 10.0, "chatty": False, "seconds": 20.0, "messages": 200, "p50_ms": 5.0,
            "p99_ms": 9.0, "p999_ms": None, "max_ms": 9.5, "unread": 0, "grew_s": None,
            "acknowledged_p99_ms": 2.0, "behind_p99_ms": 0.2, "cpu_us": 900}  # fmt: skip
    found = {"rates": [{**kept, "store": "instant"}, {**kept, "store": "slow", "grew_s": 7.5}]}
    first, second = TABLES["latency"](found).splitlines()[2:]

    assert "| 5 | 9 |  | 9.5 |" in first
    assert "does not keep up: waits grew by 7.5 s in 20 s" in second
    assert "| 9.5 |" not in second
