"""The faulty endpoint itself: what is made, what the client sees, what is counted."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable

import pytest

from tests.fault_proxy import Fault, FaultyEndpoint, Landing, assert_met, calm, nth, rates, server
from tests.fault_proxy.upstream import (
    TIMEOUT_S,
    Answered,
    Upstream,
    batch,
    both,
    call,
    outcome,
)

MADE = [Fault.CUT_AFTER, Fault.SLOW, Fault.MISSHAPEN, Fault.TRUNCATED]
#: How each refusal is named by DynamoDB, and with which status.
REFUSALS = {
    Fault.PROVISIONED_THROUGHPUT: (400, "#ProvisionedThroughputExceededException"),
    Fault.THROTTLED: (400, "#ThrottlingException"),
    Fault.REQUEST_LIMIT: (400, "#RequestLimitExceeded"),
    Fault.REJECTED_ITEM: (400, "#ValidationException"),
    Fault.NO_TABLE: (400, "#ResourceNotFoundException"),
    Fault.ACCESS_DENIED: (400, "#AccessDeniedException"),
}
BROKEN = (OSError, http.client.HTTPException, ValueError)
#: Seconds until something must have happened in another thread.
DEADLINE_S = 20.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_calm_endpoint_passes_everything_on() -> None:
    """Bodies, answers and their headers as they are (G1)."""
    with both() as (upstream, endpoint):
        assert call(endpoint, batch("a", "b"))["Item"]
        assert call(endpoint, {"TableName": "é"}, "GetItem")["Item"]
        assert upstream.made == [batch("a", "b"), {"TableName": "é"}]
        assert endpoint.calls == {"BatchWriteItem": 1, "GetItem": 1}
        assert [c.number for c in endpoint.called] == [1, 2]
        assert endpoint.injected == {}
        with pytest.raises(AssertionError, match="never met: slow"):
            assert_met(endpoint, [Fault.SLOW])


@pytest.mark.parametrize(("fault", "said"), REFUSALS.items())
def test_a_refusal_is_worded_as_dynamodbs(fault: Fault, said: tuple[int, str]) -> None:
    """With its reasons where it throttles; nothing is made (G9)."""
    with both(plan=nth(fault, 1)) as (upstream, endpoint):
        with pytest.raises(Answered) as caught:
            call(endpoint, batch("a"))
        status, body = caught.value.args
        answer = json.loads(body)
        assert (status, answer["__type"][-len(said[1]) :]) == said
        reasons = answer.get("ThrottlingReasons", answer.get("throttlingReasons"))
        if "Throughput" in answer["message"]:
            assert reasons[0]["reason"].startswith("TableWrite")
            assert reasons[0]["resource"].endswith(":table/t")
        assert upstream.made == []
        call(endpoint, batch("a"))
        assert_met(endpoint, [fault, (fault, "BatchWriteItem")])


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, *MADE])
def test_what_breaks_an_answer_off(fault: Fault) -> None:
    """And whether the call was made (G1)."""
    with both(plan=nth(fault, 1, persistent=True)) as (upstream, endpoint):
        broken: set[type[Exception]] = set()
        slow = fault is Fault.SLOW
        for n in range(1 if slow else 8):
            try:
                answer = call(endpoint, batch(str(n)), timeout_s=0.5 if slow else TIMEOUT_S)
                assert answer != json.loads(b'{"UnprocessedItems":{}}')
            except BROKEN as error:
                broken.add(type(error))
        # Connections end by a reset as well as by a close.
        both_ways = {ConnectionResetError, http.client.RemoteDisconnected}
        assert broken >= both_ways if "cut" in fault else len(broken) > 0
        expected = [[str(n)] for n in range(1 if slow else 8)] if fault in MADE else []
        until(lambda: len(upstream.made) == len(expected))  # given up, and made all the same
        assert upstream.keys() == expected


def test_some_of_a_batch_are_left() -> None:
    """What is not made comes back; what is made does not (G1)."""
    with both(plan=rates({Fault.UNPROCESSED: 1.0}, seed=0)) as (upstream, endpoint):
        keys = [str(n) for n in range(9)]
        left_counts = set()
        for _ in range(60):
            upstream.made.clear()
            answer = call(endpoint, batch(*keys))
            left = [r["PutRequest"]["Item"]["k"]["S"] for r in answer["UnprocessedItems"]["t"]]
            made = upstream.keys()[0] if upstream.made else []
            assert sorted(made + left) == keys
            left_counts.add(len(left))
        assert min(left_counts) >= 1
        assert len(left_counts) > 3
        assert call(endpoint, {}, "GetItem")["Item"]
        assert set(endpoint.injected) == {(Fault.UNPROCESSED, "BatchWriteItem")}


def test_an_internal_error_leaves_it_open_whether_the_call_was_made() -> None:
    """As DynamoDB's guide says (G1)."""
    with both(plan=nth(Fault.INTERNAL_ERROR, 1, persistent=True)) as (upstream, endpoint):
        for n in range(12):
            with pytest.raises(Answered, match="500"):
                call(endpoint, batch(str(n)))
        assert 0 < len(upstream.made) < 12


def test_a_late_call_lands_after_its_retry() -> None:
    """Its own retry, at the latest when the endpoint ends (G4)."""
    with both() as (upstream, endpoint):
        for n in range(6):
            upstream.made.clear()
            endpoint.use(nth(Fault.LATE, 1))
            with pytest.raises(BROKEN):
                call(endpoint, batch("late"))
            call(endpoint, batch("another"))
            assert upstream.keys() == [["another"]]
            call(endpoint, batch("late"))
            endpoint.flush()
            assert upstream.keys() == [["another"], ["late"], ["late"]]
            assert endpoint.landed == {Landing.RETRIED: n + 1}


def test_a_late_call_that_is_never_retried_lands_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the named limit, and at the end (G4)."""
    late = nth(Fault.LATE, 1, persistent=True)
    with Upstream() as upstream:
        with FaultyEndpoint(upstream.url, plan=late) as endpoint:
            with pytest.raises(BROKEN):
                call(endpoint, batch("at the end"))
            monkeypatch.setattr("tests.fault_proxy.late.LATE_S_MAX", 0.05)
            with pytest.raises(BROKEN):
                call(endpoint, batch("at the limit"))
            until(lambda: endpoint.landed.total() == 1)
            assert upstream.keys() == [["at the limit"]]
        assert upstream.keys() == [["at the limit"], ["at the end"]]
        assert endpoint.landed == {Landing.LIMIT: 1, Landing.END: 1}


def test_nobody_listens_in_an_outage_and_the_port_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Connections are reset, further ones refused, until it is over (G1)."""
    monkeypatch.setattr(server, "REFUSED_S", 3.0)  # a test that is held up meets it all the same
    with both() as (upstream, endpoint):
        call(endpoint, batch("a"))
        url = endpoint.url
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as idle:
                endpoint.outage()
                idle.settimeout(DEADLINE_S)
                with pytest.raises(ConnectionResetError):
                    idle.recv(1)
            for _ in range(3):
                with pytest.raises(ConnectionRefusedError):
                    call(endpoint, batch("b"))
            endpoint.restored()
            call(endpoint, batch("c"))
        assert endpoint.url == url
        endpoint.use(nth(Fault.REFUSED, 1))
        with pytest.raises(BROKEN):
            call(endpoint, batch("d"))
        with pytest.raises(ConnectionRefusedError):
            call(endpoint, batch("d"))
        until(lambda: "Unprocessed" in outcome(endpoint, batch("e"), "BatchWriteItem"))
        assert upstream.keys() == [["a"], ["c"], ["c"], ["e"]]
        assert endpoint.injected == {
            (Fault.REFUSED, "*"): 2, (Fault.REFUSED, "BatchWriteItem"): 1,
        }  # fmt: skip


def test_a_hung_endpoint_makes_what_it_took_when_it_goes_on() -> None:
    """Also the calls whose client has given up (G4)."""
    with both() as (upstream, endpoint):
        endpoint.hang()
        with pytest.raises(TimeoutError):
            call(endpoint, batch("given up"), timeout_s=0.3)
        answers: list[object] = []
        waits = threading.Thread(target=lambda: answers.append(call(endpoint, batch("waits"))))
        waits.start()
        assert upstream.made == []
        endpoint.resume()
        waits.join(DEADLINE_S)
        until(lambda: len(upstream.made) == 2)
        assert len(answers) == 1
        assert sorted(upstream.keys()) == [["given up"], ["waits"]]


def test_poison_refuses_every_call_that_holds_it() -> None:
    """As long as it is set, and under other faults too (G9)."""
    with both() as (upstream, endpoint):
        endpoint.poison(lambda item: item["k"]["S"] == "bad")
        for _ in range(2):
            with pytest.raises(Answered, match="ValidationException"):
                call(endpoint, batch("good", "bad"))
        call(endpoint, batch("good"))
        endpoint.use(nth(Fault.CUT_AFTER, 1))
        with pytest.raises(BROKEN):
            call(endpoint, batch("bad"))
        endpoint.poison(None)
        call(endpoint, batch("bad"))
        assert upstream.keys() == [["good"], ["bad"]]
        assert endpoint.injected[Fault.REJECTED_ITEM, "BatchWriteItem"] == 3


def history(seed: int) -> tuple[list[str], list[list[str]], dict[int, Fault]]:
    timed = {Fault.SLOW, Fault.REFUSED}
    shares: dict[Fault, float] = {fault: 0.06 for fault in Fault if fault not in timed}
    with Upstream() as upstream:
        plan = rates(shares, seed=seed)
        with FaultyEndpoint(upstream.url, plan=plan, seed=seed) as endpoint:
            seen = [outcome(endpoint, batch(*"abcdef"), "BatchWriteItem") for _ in range(60)]
            endpoint.use(calm())
            endpoint.flush()
        return seen, sorted(upstream.keys()), endpoint.faulted


def test_the_same_seed_and_calls_are_the_same_faults() -> None:
    """In what is made and in what is seen (G1)."""
    first = history(11)
    assert history(11) == first
    assert history(12) != first
    assert set(first[2].values()) >= {Fault.UNPROCESSED, Fault.LATE, Fault.TRUNCATED}


def test_a_fault_of_the_endpoint_itself_fails_the_run() -> None:
    """A broken harness proves nothing."""
    with Upstream() as upstream:
        endpoint = FaultyEndpoint(upstream.url).__enter__()
        endpoint.poison(lambda item: item["no such"])
        with pytest.raises(BROKEN):
            call(endpoint, batch("a"))
        with pytest.raises(RuntimeError, match="the endpoint itself"):
            endpoint.__exit__(None, None, None)
