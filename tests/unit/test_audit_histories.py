"""Random histories of a mailbox that does everything right are clean, and one thing wrong is seen.

The mailbox here is the contract itself, a list and a number: no bundles, no store.
"""

from bisect import bisect_right

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audit.journal import Fetch, Outcome
from tests.audit.verdict import ViolationKind, assert_clean
from tests.unit.audit_history import History, kinds

#: Steps of one history; each is a handful of list operations.
STEPS_MAX = 25


class IdealMailbox:
    """bob's mailbox, as the contract has it: a prefix of the log above a cursor."""

    def __init__(self) -> None:
        self.history = History()
        self.written: list[int] = []
        self.cursor = -1
        self.pages: list[Fetch] = []

    def write(self, gap: int) -> None:
        offset = (self.written[-1] if self.written else -1) + gap
        self.history.log("bob", offset)
        self.written.append(offset)

    def above(self, passed: int) -> list[int]:
        return self.written[bisect_right(self.written, max(passed, self.cursor)) :]

    def fetch(self, after: Fetch | None, limit: int) -> None:
        passed = -1 if after is None else max(after.reached().values(), default=-1)
        shown = self.above(passed)
        self.pages.append(self.history.fetch(*shown[:limit], after=after, more=len(shown) > limit))

    def ack(self, page: Fetch, outcome: Outcome) -> None:
        """UNKNOWN: it has happened all the same."""
        ack = self.history.ack(page, outcome)
        self.cursor = max(self.cursor, *ack.covers.values(), -1)

    def lost_ack(self, page: Fetch) -> None:
        """It has not happened."""
        self.history.ack(page, Outcome.UNKNOWN)


def play(mailbox: IdealMailbox, data: st.DataObject) -> None:
    mailbox.write(1)
    for _ in range(data.draw(st.integers(1, STEPS_MAX))):
        page = data.draw(st.sampled_from([None, *mailbox.pages[-3:]]))
        match data.draw(st.integers(0, 5)):
            case 0 | 1:
                mailbox.write(data.draw(st.integers(1, 3)))
            case 2 | 3:
                mailbox.fetch(page, data.draw(st.integers(1, 4)))
            case 4 if page is not None:
                mailbox.ack(page, data.draw(st.sampled_from((Outcome.CONFIRMED, Outcome.UNKNOWN))))
            case 5 if page is not None:
                mailbox.lost_ack(page)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_the_contract_is_clean(data: st.DataObject) -> None:
    """Whatever readers do, a mailbox that keeps the contract is never accused (G1 to G6)."""
    mailbox = IdealMailbox()
    play(mailbox, data)

    assert_clean(mailbox.history.end(*mailbox.above(-1), cursor=mailbox.cursor))


@pytest.mark.parametrize("broken", ["drop", "skip", "echo", "double"])
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_one_thing_wrong_is_seen(broken: str, data: st.DataObject) -> None:
    """A message dropped, skipped by a page, shown again or twice, at any time (G1 to G5)."""
    mailbox = IdealMailbox()
    play(mailbox, data)
    for _ in range(3):
        mailbox.write(1)
    mailbox.fetch(None, 100)
    above = mailbox.above(-1)
    index = data.draw(st.integers(0, len(above) - 2))
    without = [*above[:index], *above[index + 1 :]]
    match broken:
        case "drop":
            expected = ViolationKind.LOST
            verdict = mailbox.history.end(*without, cursor=mailbox.cursor)
        case "skip":
            expected = ViolationKind.HIDDEN
            mailbox.history.fetch(*without)
            verdict = mailbox.history.end(*above, cursor=mailbox.cursor)
        case "echo":
            expected = ViolationKind.ECHOED
            mailbox.ack(mailbox.pages[-1], Outcome.CONFIRMED)
            mailbox.history.fetch(above[index])
            verdict = mailbox.history.end(cursor=mailbox.cursor)
        case _:
            expected = ViolationKind.DOUBLED
            mailbox.history.fetch(*above, above[index])
            verdict = mailbox.history.end(*above, cursor=mailbox.cursor)

    assert_seen(expected, kinds(verdict), may_be_excused=broken in {"drop", "skip"}, of=mailbox)


def assert_seen(
    expected: ViolationKind, found: set[ViolationKind], *, may_be_excused: bool, of: IdealMailbox
) -> None:
    """Below an acknowledgement that may have happened a reading may begin later."""
    unknown = [ack for ack in of.history.journal.acks if ack.outcome is Outcome.UNKNOWN]
    if not (may_be_excused and unknown and not found):
        assert expected in found
