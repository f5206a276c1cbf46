"""The judge sees each kind of violation in a history made by hand, and none in clean ones."""

import json

import pytest

from tests.audit.journal import Outcome
from tests.audit.judge import FinalMailbox, judge_readings
from tests.audit.keys import Log, Mailbox
from tests.audit.log import DeadLetter
from tests.audit.verdict import EXAMPLES_MAX, Verdict, ViolationKind, assert_clean
from tests.unit.audit_history import LOG, History, kinds


@pytest.fixture
def history() -> History:
    """Five records of bob's, with others between."""
    made = History()
    made.log("bob", 0, 2, 3, 7, 9)
    return made


def test_reading_and_acknowledging_is_clean(history: History) -> None:
    """Pages, a part acknowledged, the rest read again: nothing to say (G2, G4, G5)."""
    first = history.fetch(0, 2, more=True)
    history.fetch(3, 7, after=first, more=True)
    history.ack(first)
    history.fetch(3, 7, 9)

    assert_clean(history.end(3, 7, 9, cursor=2))


def test_a_prefix_that_grows_is_clean(history: History) -> None:
    """A mailbox is written while it is read: shorter readings were earlier ones (G2)."""
    history.fetch()
    history.fetch(0)
    history.fetch(0, 2, 3)

    assert_clean(history.end(0, 2, 3, 7, 9))


@pytest.mark.parametrize("paged", [False, True])
@pytest.mark.parametrize(("fresh_us", "found"), [(10, set()), (11, {ViolationKind.NOT_FRESH})])
def test_a_reading_that_was_said_to_be_fresher_than_it_is(
    fresh_us: int, found: set[ViolationKind], *, paged: bool
) -> None:
    """It lacks a record that the broker had acknowledged before that instant (G11)."""
    history = History()
    history.log("bob", 0, 2)
    history.now_us = 10
    history.log("bob", 3)
    if paged:
        first = history.fetch(0, more=True, fresh_us=fresh_us)
        history.fetch(2, after=first)
    else:
        history.fetch(0, 2, fresh_us=fresh_us)
    verdict = history.end(0, 2, 3)
    assert kinds(verdict) == found
    assert verdict.proofs == 1


def test_a_fresh_reading_need_not_show_what_was_acknowledged(history: History) -> None:
    """Nor a page with more behind it all (G11)."""
    history.ack(history.fetch(0, 2, more=True, fresh_us=99))
    history.fetch(3, 7, 9, fresh_us=99)
    assert_clean(history.end(3, 7, 9, cursor=2))


def test_a_message_nowhere_is_lost(history: History) -> None:
    """Not in the last reading, not acknowledged, no dead letter (G1)."""
    assert ViolationKind.LOST in kinds(history.end(0, 2, 7, 9))
    assert kinds(History().verdict()) == set()


def test_a_message_behind_the_last_shown_is_lost(history: History) -> None:
    """The tail of a mailbox as well, where no reading shows a hole (G1)."""
    verdict = history.end(0, 2, 3)

    assert kinds(verdict) == {ViolationKind.LOST}
    assert verdict.lost == 2
    assert "not in the table" in verdict.examples[ViolationKind.LOST][0]


def test_what_was_deleted_without_the_cursor_is_lost(history: History) -> None:
    """An acknowledgement of unknown outcome excuses only what the cursor covers (G1, G6)."""
    history.ack(history.fetch(0, 2), Outcome.UNKNOWN)

    assert kinds(history.end(3, 7, 9)) == {ViolationKind.LOST}


@pytest.mark.parametrize("shown", [(0, 2, 3, 7, 9), (3, 7, 9)])
def test_an_acknowledgement_of_unknown_outcome_is_either(
    history: History, shown: tuple[int, ...]
) -> None:
    """It may have happened or not; the cursor says which in the end (G6)."""
    history.ack(history.fetch(0, 2), Outcome.UNKNOWN)
    history.fetch(*shown)

    assert_clean(history.end(*shown, cursor=-1 if 0 in shown else 2))


def test_a_record_that_the_broker_lost_is_lost(history: History) -> None:
    """It was acknowledged, and nothing stands there, or another (G1)."""
    for offset, place in ((9, (0, 11)), (7, (0, 3))):
        number = history.truth.records[0][offset].number
        assert number is not None
        history.journal.produced[number].place = place

    assert history.end(0, 2, 3, 7, 9).lost == 2


def test_what_comes_back_is_an_echo(history: History) -> None:
    """A fetch that began after the acknowledgement returned what it covers (G4)."""
    history.ack(history.fetch(0, 2, more=True))
    history.fetch(2, 3)

    assert kinds(history.end(3, 7, 9, cursor=2)) == {ViolationKind.ECHOED}


def test_a_device_without_a_cursor_begins_where_the_account_stands(history: History) -> None:
    """It is not shown what the account has acknowledged, and need not be (G4, G12)."""
    history.ack(history.fetch(0, 2, more=True))
    history.final((3, 7, 9), cursor=2)
    history.finals["bob"].devices["phone"] = history.fetch(3, 7, 9, device="phone")

    assert_clean(history.verdict())


def test_a_device_that_is_shown_what_the_account_has_acknowledged_sees_an_echo(
    history: History,
) -> None:
    """A device without a cursor of its own reads from the account's (G4, G12)."""
    history.ack(history.fetch(0, 2, more=True))
    history.final((3, 7, 9), cursor=2)
    history.finals["bob"].devices["phone"] = history.fetch(2, 3, 7, 9, device="phone")

    assert kinds(history.verdict()) == {ViolationKind.ECHOED}


def test_a_fetch_under_way_may_show_what_is_acknowledged_meanwhile(history: History) -> None:
    """It began before the acknowledgement had returned (G4)."""
    first = history.fetch(0, 2)
    fetch = history.journal.fetch_begins("bob")
    history.ack(first)
    history.returns(fetch, 0, 2, 3)

    assert_clean(history.end(3, 7, 9, cursor=2))


def test_a_fetch_under_way_may_miss_what_is_acknowledged_meanwhile(history: History) -> None:
    """The acknowledgement began before the fetch had returned (G2)."""
    first = history.fetch(0, 2)
    fetch = history.journal.fetch_begins("bob")
    history.ack(first)
    history.returns(fetch, 3)

    assert_clean(history.end(3, 7, 9, cursor=2))


def test_a_cursor_that_goes_back_is_an_echo(history: History) -> None:
    """Seen in the table, by two looks or below an acknowledgement (G4, G6)."""
    history.ack(history.fetch(0, 2, 3))
    began = history.journal.tick()
    history.journal.cursor_seen("bob", {LOG: 2}, began)

    assert kinds(history.end(7, 9, cursor=3)) == {ViolationKind.ECHOED}


def test_an_acknowledgement_that_the_cursor_lost_is_an_echo(history: History) -> None:
    """It returned success, and the cursor stands below it in the end (G4)."""
    history.ack(history.fetch(0, 2, 3, 7, 9))

    assert kinds(history.end()) == {ViolationKind.ECHOED, ViolationKind.LOST}


def test_a_position_twice_is_doubled(history: History) -> None:
    """Within a page, or on a later page of one reading (G5)."""
    history.fetch(0, 2, 2)
    assert kinds(history.end(0, 2, 3, 7, 9)) == {ViolationKind.DOUBLED}

    other = History()
    other.log("bob", 0, 2)
    other.fetch(0, after=other.fetch(0, more=True))
    assert kinds(other.end(0, 2)) == {ViolationKind.DOUBLED}


def test_two_readings_may_show_the_same(history: History) -> None:
    """What was not acknowledged is shown again (G10)."""
    history.fetch(0, 2)
    history.fetch(0, 2)

    assert_clean(history.end(0, 2, 3, 7, 9))


def test_a_step_back_is_out_of_order(history: History) -> None:
    """Offsets of a log ascend within one reading (G3)."""
    history.fetch(0, 3, 2)

    assert kinds(history.end(0, 2, 3, 7, 9)) == {ViolationKind.OUT_OF_ORDER}


def test_a_hole_is_hidden(history: History) -> None:
    """In a page, at its begin, and between two pages of a reading (G2)."""
    history.fetch(0, 3, more=True)
    history.fetch(2, more=True)
    history.fetch(7, more=True, after=history.fetch(0, 2, more=True))
    verdict = history.end(0, 2, 3, 7, 9)

    assert kinds(verdict) == {ViolationKind.HIDDEN}
    assert verdict.hidden == 3


def test_a_message_that_vanishes_is_hidden(history: History) -> None:
    """It was shown before, and a later reading to the mailbox's end ends before it (G2)."""
    history.fetch(0, 2, 3)
    history.fetch(0, 2, more=True)
    assert_clean(history.end(0, 2, 3, 7, 9))
    history.fetch(0, 2)

    assert kinds(history.verdict()) == {ViolationKind.HIDDEN}


def test_an_acknowledgement_of_what_nobody_saw_is_hidden(history: History) -> None:
    """The cursor covers a message that no fetch returned (G2, G6)."""
    history.ack(history.fetch(0, 2))

    verdict = history.end(cursor=9)
    assert kinds(verdict) == {ViolationKind.HIDDEN}
    assert verdict.hidden == 3


def test_an_item_that_cannot_be_read_is_hidden(history: History) -> None:
    """Met by a reader, or found in the table (G2)."""
    fetch = history.journal.fetch_begins("bob")
    history.journal.fetch_fails(fetch, "UnreadableItem")
    history.final((0, 2, 3, 7, 9))
    history.finals["bob"].raw.unreadable.append("0001.00000.x")
    verdict = history.verdict()

    assert kinds(verdict) == {ViolationKind.HIDDEN}
    assert verdict.hidden == 2
    assert verdict.unanswered == 1


def test_a_store_that_is_away_is_no_violation(history: History) -> None:
    """Fetches and acknowledgements may fail; a refused one acknowledges nothing (G6)."""
    fetch = history.journal.fetch_begins("bob")
    history.journal.fetch_fails(fetch, "StoreUnavailable")
    history.ack(history.fetch(0), Outcome.REFUSED)
    verdict = history.end(0, 2, 3, 7, 9)

    assert_clean(verdict)
    assert (verdict.unanswered, verdict.acks, verdict.acks_unknown) == (1, 1, 0)


def test_a_refused_acknowledgement_excuses_nothing(history: History) -> None:
    """What it would have covered must still be shown (G2, G6)."""
    history.ack(history.fetch(0, 2), Outcome.REFUSED)
    history.fetch(3)

    assert kinds(history.end(0, 2, 3, 7, 9)) == {ViolationKind.HIDDEN}


def test_a_reading_does_not_go_back_to_a_log_that_it_has_left(history: History) -> None:
    """A page in the next partition need not show what came to the last one meanwhile (G2)."""
    history.truth.records[1] = {4: history.truth.records[0][9]}
    behind = Log(1, 1)
    first = history.fetch(0, 2, more=True)
    history.fetch(0, 2, 3, 7, more=True)
    page = history.journal.fetch_begins("bob", first)
    body = history.truth.records[1][4].body
    history.journal.fetch_ends(page, [(behind, 4, body)], more=False)
    verdict = judge_readings(history.journal, history.truth)

    assert not verdict.counts


def test_a_foreign_or_changed_message_is_altered(history: History) -> None:
    """What is shown at a position is what the log holds there (G1)."""
    history.log("eve", 5)
    history.final((5,), user="eve")
    history.fetch(0, 2, 3, 5)
    assert kinds(history.end(0, 2, 3, 7, 9)) == {ViolationKind.ALTERED}

    other = History()
    other.log("bob", 0)
    fetch = other.journal.fetch_begins("bob")
    other.journal.fetch_ends(fetch, [(LOG, 0, 1)], more=False)
    assert kinds(other.end(0)) == {ViolationKind.ALTERED}


def test_resends_may_be_shown_once(history: History) -> None:
    """Same source, id and body: one is enough, in a page and below an acknowledgement (G5)."""
    history.log("bob", 11, 12, 13, resend=b"again")
    history.ack(history.fetch(0, 2, 3, 7, 9, 11))
    assert_clean(history.end(cursor=13))

    other = History()
    other.log("bob", 0, 1, resend=b"again")
    other.log("bob", 2)
    other.fetch(0, 2)
    assert_clean(other.end(0, 2))


def test_resends_of_something_else_are_no_excuse(history: History) -> None:
    """Only a resend of what was shown may be left out (G10)."""
    history.log("bob", 11, resend=b"one")
    history.log("bob", 12, resend=b"two")

    assert kinds(history.end(0, 2, 3, 7, 9, 11)) == {ViolationKind.LOST}


def test_a_dead_letter_is_no_hole(history: History) -> None:
    """A bad record is expected among the dead letters and nowhere else, once or more (G9)."""
    history.log("bob", 11, dead="rejected_by_store")
    history.log("bob", 12)
    history.die(11, "rejected_by_store")
    history.die(11, "rejected_by_store")
    history.ack(history.fetch(0, 2, 3, 7, 9, 12))

    assert_clean(history.end(cursor=12))


def test_a_good_record_among_the_dead_letters_has_no_cause(history: History) -> None:
    """Throttling or an outage was taken for bad input; or the reason is another (G9)."""
    history.die(3, "rejected_by_store")
    assert kinds(history.end(0, 2, 7, 9)) == {ViolationKind.DEAD_WITHOUT_CAUSE}

    other = History()
    other.log("bob", 0, dead="malformed_cloudevent")
    other.die(0, "malformed_cloudevent")
    other.die(0, "no_body")
    assert kinds(other.end()) == {ViolationKind.DEAD_WITHOUT_CAUSE}


def test_a_dead_letter_of_nothing_has_no_cause(history: History) -> None:
    """It names a position at which the log holds nothing (G9)."""
    history.truth.dead[0, 99] = [DeadLetter("no_body", b"")]

    assert kinds(history.end(0, 2, 3, 7, 9)) == {ViolationKind.DEAD_WITHOUT_CAUSE}


@pytest.mark.parametrize("altered", [True, False])
def test_a_bad_record_without_its_dead_letter_is_missed(history: History, altered: bool) -> None:
    """It must be in the dead-letter topic, byte for byte (G9)."""
    history.log("bob", 11, dead="malformed_cloudevent")
    if altered:
        history.die(11, "malformed_cloudevent", altered=True)

    assert kinds(history.end(0, 2, 3, 7, 9)) == {ViolationKind.DEAD_MISSING}


def test_a_mailbox_that_was_not_read_is_no_proof(history: History) -> None:
    """Every mailbox of the log is read in the end (G1)."""
    assert kinds(history.verdict()) == {ViolationKind.LOST}
    history.finals["bob"] = FinalMailbox(Mailbox(), None)

    assert history.verdict().lost == 5


def test_a_verdict_without_a_look_is_not_clean() -> None:
    """Zero observations is a failure, and so is a watch that saw nothing."""
    assert not Verdict().clean
    assert not Verdict(observations=3, blind=True).clean
    assert Verdict(observations=3).clean
    with pytest.raises(AssertionError, match='"clean": false'):
        assert_clean(Verdict())


def test_a_verdict_is_one_line_with_every_kind(history: History) -> None:
    """Machine-readable; examples are few, and hold no body."""
    for _ in range(3 * EXAMPLES_MAX):
        history.fetch(0, 3)
    verdict = history.end(0, 2, 3, 7, 9)
    line = json.loads(verdict.line())

    assert "\n" not in verdict.line()
    assert line["hidden"] == 3 * EXAMPLES_MAX
    assert len(line["examples"]["hidden"]) == EXAMPLES_MAX
    assert {kind.value for kind in ViolationKind} <= line.keys()
    assert (line["clean"], line["records"], line["fetches"]) == (False, 5, 31)
    assert "body" not in verdict.line()
    with pytest.raises(AttributeError):
        verdict.nonsense  # noqa: B018
