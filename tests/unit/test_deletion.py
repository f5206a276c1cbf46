"""The simulation of deletion policies counts what DynamoDB bills, and says what the docs say."""

from dataclasses import replace

import pytest

from benchmarks.deletion import (
    COUNTED_FROM,
    CURSOR_BYTES,
    LIGHT,
    READ,
    READ_BYTES,
    Bundle,
    Cost,
    Day,
    User,
    at_once,
    clairvoyant,
    play,
    ski_rental,
    to_ttl,
    users,
    within,
)

BEGIN = COUNTED_FROM


def user(*returns: float, size: int = 1000) -> User:
    """Gets one bundle when the counting begins, and returns so many days after."""
    bundle = Bundle(BEGIN, size, messages=1)
    return User(returns_per_day=1.0, bundles=[bundle], returns=[BEGIN + day for day in returns])


def units(cost: Cost) -> tuple[int, int, int, int]:
    return cost.writes, cost.acks, cost.deletes, cost.reads


def test_what_is_deleted_costs_what_it_cost_to_write() -> None:
    """Rounded up to 1 KB; reads round up to 4 KB, and one is the least (G7)."""
    assert units(play([user(1, 2)], at_once)) == (1, 1, 1, 2)
    assert units(play([user(1, 2, size=5000)], at_once)) == (5, 1, 5, 3)
    assert units(play([user(1, 2)], to_ttl)) == (1, 1, 0, 2)
    assert units(play([user(1, 2, size=5000)], to_ttl)) == (5, 1, 0, 4)


def test_what_is_left_is_read_again_and_stored_until_ttl_removes_it() -> None:
    """31 days after it was written, whoever returns then (G7)."""
    cost = play([user(1, 11, 30, 40, size=4096)], to_ttl)

    assert (cost.reads, cost.reread_bytes, cost.reread_bytes_max) == (7, 2 * 4096, 4096)
    gb_months = (4096 + 100) / 2**30
    assert cost.stored * 0.625e-6 == pytest.approx(gb_months * 0.25)  # from day 1 to day 31
    assert cost.after_writing == cost.acks + cost.reads * READ + cost.stored


def test_who_reads_the_cursor_first_pays_one_read_more_and_no_leftover() -> None:
    """What one Query per reconnect is worth (G7)."""
    cost = play([user(1, 11, 30, size=4096)], to_ttl, two_reads=True)

    assert (cost.reads, cost.reread_bytes) == (6, 0)


def test_the_policies_delete_what_they_say() -> None:
    """Within a bound, what has paid for itself, or what the user's habit makes dear (G7)."""
    old, small, large = (Bundle(BEGIN, size, 1) for size in (600, 400, 1200))
    nobody = user()

    assert within(1000)([old], [large, small], nobody, BEGIN) == [large]
    old.reread = 1.0
    assert ski_rental(10_000)([old, small], [large], nobody, BEGIN) == [old]
    assert clairvoyant(10_000)([], [small, large], nobody, BEGIN) == [large]
    assert clairvoyant(10_000)([], [large], replace(nobody, returns_per_day=0.1), BEGIN) == []


@pytest.mark.parametrize("day", [Day(linger_s=30.0), LIGHT], ids=lambda day: day.name)
def test_deleting_at_once_is_the_cheapest_that_keeps_one_query(day: Day) -> None:
    """No rule that can be built saves 3 % of all units: docs/dynamodb.md, "Deleting at once". What
    leaves more than a fetch's read unit costs more (G7)."""
    people = list(users(day, 20))
    once = play(people, at_once)

    for leave in (2 * 1024, READ_BYTES - CURSOR_BYTES):
        cost = play(people, within(leave))
        assert abs(once.after_writing - cost.after_writing) < 0.03 * everything(cost)
    for policy in (within(16 * 1024), ski_rental(64 * 1024), to_ttl):
        assert once.after_writing < play(people, policy).after_writing


def everything(cost: Cost) -> float:
    return cost.writes + cost.after_writing


def test_a_history_is_its_seeds() -> None:
    """The figures can be had again (G8)."""
    assert list(users(Day(), 3)) == list(users(Day(), 3))
    assert list(users(Day(), 3, seed=2)) != list(users(Day(), 3))
