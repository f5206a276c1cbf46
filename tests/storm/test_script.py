"""What a storm is made of, without one."""

from base64 import b64encode
from collections import Counter
from itertools import islice

from tests.audit import Verdict
from tests.fault_proxy import has_body
from tests.storm.report import Report, never_met
from tests.storm.script import DECK, SESSION_S, EventKind, script
from tests.storm.traffic import BAD, POISONOUS, Traffic
from worker.errors import DeadLetterReason


def test_a_seed_is_a_storm() -> None:
    """The same seed gives the same events and records, another one others (all guarantees)."""
    events = [list(map(str, islice(script(seed), 100))) for seed in (1, 1, 2)]
    draws = [[event.draws.random() for event in islice(script(seed), 100)] for seed in (1, 1, 2)]
    records = [list(islice(Traffic(seed, "a").batches(5), 100)) for seed in (1, 1, 2)]

    for first, again, other in (events, draws, records):
        assert first == again
        assert first != other


def test_a_deck_has_every_kind_and_zombies_outlast_their_session() -> None:
    """A storm of one deck meets every kind of event (all guarantees)."""
    dealt = list(islice(script(3), DECK.total()))

    assert Counter(event.kind for event in dealt) == DECK
    assert set(DECK) == set(EventKind)
    lasting = {EventKind.FREEZE, EventKind.STORE_OUTAGE}
    assert all(event.lasts_s > SESSION_S for event in dealt if event.kind in lasting)


def test_records_of_every_reason_are_among_the_traffic() -> None:
    """Bad records of every dead-letter reason are mixed in, a good body is unique (G9)."""
    records = [r for batch in islice(Traffic(4, "a").batches(20), 2_000) for r in batch]
    reasons = Counter(record.dead for record in records)
    good = [record.value for record in records if record.dead is None]

    assert set(reasons) == {None, *BAD}
    assert set(BAD) == set(DeadLetterReason)
    assert len(set(good)) == len(good)
    assert reasons[None] > 0.95 * len(records)


def test_the_poison_is_known_by_the_body_alone() -> None:
    """An item with a poisonous message among others is refused, whatever follows (G9)."""

    def item(*bodies: bytes) -> dict[str, object]:
        messages = [{"M": {"b": {"B": b64encode(body).decode()}}} for body in bodies]
        return {"messages": {"L": messages}}

    poisonous = has_body(POISONOUS)
    assert poisonous(item(b"good", POISONOUS + b"x"))
    assert not poisonous(item(b"good", b"pois"))
    assert not poisonous({"next": {"N": "1"}})


def test_a_whole_storm_must_meet_everything() -> None:
    """A run in which a fault was never met fails (all guarantees)."""
    events = dict.fromkeys(EventKind, 1)
    faults = {"workers": ["slow"]}
    not_met = never_met(events, faults, {"workers": ["slow", "late"]})

    assert not_met == ("workers late",)
    assert never_met({**events, EventKind.KILL: 0}, faults, {}) == ("event kill",)
    assert _report(seconds=100, not_met=not_met).ok
    assert not _report(seconds=600, not_met=not_met).ok
    assert _report(seconds=600).ok
    assert not _report(seconds=600, drained=False).ok
    assert not _report(seconds=600, overstayed=1).ok


def _report(
    *, seconds: float, not_met: tuple[str, ...] = (), drained: bool = True, overstayed: int = 0
) -> Report:
    return Report(
        seed=1, seconds=seconds, records=1, acknowledged=1, events={}, faults={}, restarts=0,
        exits={}, overstayed=overstayed, drained=drained, not_met=not_met,
        verdict=Verdict(observations=1),
    )  # fmt: skip
