"""The instrument of `make reconnect`: what it must notice, it notices."""

import pytest

from tests.reconnect.ledger import LATE_S_MAX, Connection, Device, Ledger, Sent

PHONE, LAPTOP = Device("bob", "phone"), Device("bob", "laptop")
FIRST, SECOND = Sent("bob", "alice", 0), Sent("bob", "alice", 1)


@pytest.fixture
def ledger() -> Ledger:
    """Two messages at 10 and 11 s, for two devices that connect at 20 s and are up to date at
    22 s."""
    made = Ledger((PHONE, LAPTOP))
    made.acknowledge(FIRST, 10.0)
    made.acknowledge(SECOND, 11.0)
    for device in (PHONE, LAPTOP):
        made.connections[device].append(Connection(20.0, up_to_date_s=22.0))
    return made


def show(ledger: Ledger, device: Device, sent: Sent, at_s: float) -> None:
    ledger.show(device, sent.user, sent.source, sent.number, at_s)


def show_all(ledger: Ledger, at_s: float = 21.0) -> None:
    for device in (PHONE, LAPTOP):
        for sent in (FIRST, SECOND):
            show(ledger, device, sent, at_s)


def test_all_that_is_shown_in_time_and_in_order_is_clean(ledger: Ledger) -> None:
    """Of both devices (G12)."""
    show_all(ledger)
    found = ledger.figures(30.0)

    assert found.clean
    assert (found.expected, found.shown, found.up_to_date) == (4, 4, 2)
    assert (found.proof_median_s, found.worst_s) == (2.0, 1.0)


def test_nobody_who_was_told_anything_is_not_clean() -> None:
    """A run in which no device came so far shows nothing."""
    assert not Ledger((PHONE,)).figures(30.0).clean


def test_a_message_that_one_device_never_shows_is_found(ledger: Ledger) -> None:
    """The other one has it (G1, G12)."""
    show(ledger, PHONE, FIRST, 21.0)
    show(ledger, PHONE, SECOND, 21.0)
    show(ledger, LAPTOP, FIRST, 21.0)
    found = ledger.figures(30.0)

    assert (found.never, found.missing, ledger.missing_now()) == (1, 1, 1)
    assert not found.clean


def test_a_message_that_comes_after_the_promise_is_missing(ledger: Ledger) -> None:
    """It is shown in the end, and the promise was false (G11)."""
    show_all(ledger, at_s=22.5)
    found = ledger.figures(30.0)

    assert (found.missing, found.never) == (4, 0)
    assert not found.clean


def test_a_message_of_after_the_connection_is_not_promised(ledger: Ledger) -> None:
    """It comes live, or with the next page (G11)."""
    show_all(ledger)
    later = Sent("bob", "alice", 2)
    ledger.acknowledge(later, 20.5)
    for device in (PHONE, LAPTOP):
        show(ledger, device, later, 23.0)

    assert ledger.figures(30.0).clean


@pytest.mark.parametrize(("at_s", "missing"), [(20.4, 2), (20.6, 0)])
def test_a_producer_with_old_news_is_promised_for_its_grace(
    ledger: Ledger, at_s: float, missing: int
) -> None:
    """It may still take a user for offline who has registered (G11)."""
    show_all(ledger)
    old_news = Sent("bob", "other", 0, grace_s=0.5)
    ledger.acknowledge(old_news, at_s)
    for device in (PHONE, LAPTOP):
        show(ledger, device, old_news, 23.0)

    assert ledger.figures(30.0).missing == missing


def test_an_older_message_behind_a_newer_one_is_found(ledger: Ledger) -> None:
    """Of one source and on one device (G3)."""
    show(ledger, PHONE, SECOND, 21.0)
    show(ledger, PHONE, FIRST, 21.1)
    show(ledger, LAPTOP, FIRST, 21.0)
    show(ledger, LAPTOP, SECOND, 21.1)
    found = ledger.figures(30.0)

    assert found.reordered == 1
    assert not found.clean


def test_only_seconds_online_make_a_message_late(ledger: Ledger) -> None:
    """A device that is away shows nothing."""
    show_all(ledger)
    ledger.acknowledge(Sent("bob", "alice", 2), 30.0)
    for device, again_s in ((PHONE, 100.0), (LAPTOP, 31.0)):
        ledger.connections[device][0].ended_s = 30.0
        ledger.connections[device].append(Connection(again_s))
        show(ledger, device, Sent("bob", "alice", 2), 100.0 + LATE_S_MAX / 2)
    found = ledger.figures(200.0)

    assert found.late == 1
    assert found.worst_s == 69.0 + LATE_S_MAX / 2
    assert not found.clean
