"""Plans: the same seed and the same calls meet the same faults."""

import pytest

from tests.fault_proxy import Call, Fault, Plan, calm, nth, rates

OPERATIONS = ("BatchWriteItem", "Query", "UpdateItem")


def decided(plan: Plan, count: int) -> list[Fault | None]:
    return [plan(Call(n, OPERATIONS[n % 3], b"{}")) for n in range(1, count + 1)]


def test_rates_depend_on_the_seed_and_the_number_alone() -> None:
    """So a run that failed can be repeated (G1)."""
    shares = {Fault.UNPROCESSED: 0.2, Fault.LATE: 0.1}
    once, again = rates(shares, seed=5), rates(shares, seed=5)
    found = decided(once, 2000)
    assert decided(again, 2000) == found
    assert [again(Call(n, "Query", b"")) for n in (7, 3)] == [found[6], found[2]]
    assert decided(rates(shares, seed=6), 2000) != found

    assert found.count(Fault.UNPROCESSED) == pytest.approx(400, rel=0.25)
    assert found.count(Fault.LATE) == pytest.approx(200, rel=0.25)


def test_rates_of_some_operations_leave_the_others_alone() -> None:
    """The ack side, say, with a calm write side (G4)."""
    found = decided(rates({Fault.SLOW: 1.0}, seed=1, operations=["UpdateItem"]), 9)
    assert found == [None, Fault.SLOW, None] * 3
    with pytest.raises(ValueError, match="shares"):
        rates({Fault.SLOW: 0.6, Fault.LATE: 0.6}, seed=1)


def test_the_nth_call_meets_its_fault_once_or_from_then_on() -> None:
    """A sweep fails the first, then the second, until a run meets no fault (G1)."""
    assert decided(calm(), 3) == [None] * 3
    assert decided(nth(Fault.LATE, 2), 4) == [None, Fault.LATE, None, None]
    assert decided(nth(Fault.LATE, 3, persistent=True), 4) == [None, None, *[Fault.LATE] * 2]
    second_update = nth(Fault.LATE, 2, operations=["UpdateItem"])
    assert decided(second_update, 8) == [*[None] * 4, Fault.LATE, None, None, None]


def test_a_call_knows_its_table_and_what_it_puts() -> None:
    """Poison is told from it (G9)."""
    body = (
        b'{"RequestItems":{"t":[{"PutRequest":{"Item":{"k":{"S":"a"}}}},'
        b'{"DeleteRequest":{"Key":{"k":{"S":"b"}}}}]}}'
    )
    batch = Call(1, "BatchWriteItem", body)
    assert (batch.table, batch.puts()) == ("t", [{"k": {"S": "a"}}])
    put = Call(1, "PutItem", b'{"TableName":"t","Item":{"k":{"S":"a"}}}')
    assert (put.table, put.puts()) == ("t", [{"k": {"S": "a"}}])
    assert Call(1, "Query", b'{"TableName":"t"}').puts() == []
