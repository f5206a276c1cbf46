"""The flush, on fakes that record what became durable, and in which order."""

import asyncio
import random as randomness
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.records import NEW_YEAR_MS, MadeRecord
from worker.bundles import Bundle, BundleLimits
from worker.cloudevents import CloudEventsDecoder
from worker.dead_letters import DeadLetter
from worker.errors import DeadLetterReason, OperatorError, TooManyDeadLetters
from worker.flush import Flushed, Flusher
from worker.mailbox_writer import Rejected

Event = tuple[str, tuple[int, ...]]


@dataclass
class Journal:
    """Both ports of a flush. `durable` lists, in order, what was made so.

    refuses: offsets that the store rejects. Every write is finished one bundle at a time, in
    `order`, with other tasks run in between.
    """

    durable: list[Event] = field(default_factory=list)
    calls: list[list[tuple[int, ...]]] = field(default_factory=list)
    refuses: set[int] = field(default_factory=set)
    order: Callable[[list[Bundle]], list[Bundle]] = list
    sink_fails: bool = False
    store_fails: bool = False
    letters: list[DeadLetter] = field(default_factory=list)

    async def write(self, bundles: Sequence[Bundle]) -> list[Rejected]:
        self.calls.append([offsets(bundle) for bundle in bundles])
        rejected = []
        for bundle in self.order(list(bundles)):
            await asyncio.sleep(0)
            if self.store_fails:
                raise OperatorError("no permission")
            if self.refuses.intersection(offsets(bundle)):
                rejected.append(Rejected(bundle, "number overflow"))
            else:
                self.durable.append((bundle.user_id, offsets(bundle)))
        return rejected

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        await asyncio.sleep(0)
        if self.sink_fails:
            raise OperatorError("the broker refuses")
        self.letters += letters
        self.durable += [("dead", (letter.record.offset,)) for letter in letters]


def offsets(bundle: Bundle) -> tuple[int, ...]:
    return tuple(entry.offset for entry in bundle.entries)


def log(*keys: str, start: int = 0) -> list[MadeRecord]:
    """A record per key; "-" is one without a user."""
    return [
        MadeRecord(key=b"" if key == "-" else key.encode(), offset=start + n)
        for n, key in enumerate(keys)
    ]


async def flush(
    journal: Journal,
    records: list[MadeRecord],
    *,
    messages_max: int = 100,
    dead_max: int = 1000,
    consecutive_dead_letters: int = 0,
    on_wave: Callable[[], None] = lambda: None,
    on_dead_letters: Callable[[Sequence[DeadLetter]], None] = lambda _: None,
    now_ms: int = NEW_YEAR_MS,
) -> Flushed:
    flusher = Flusher(
        topic=records[0].topic,
        decoder=CloudEventsDecoder(timedelta(days=30)),
        limits=BundleLimits(messages_max=messages_max),
        mailboxes=journal,
        dead_letters=journal,
        dead_letters_consecutive_max=dead_max,
        on_dead_letters=on_dead_letters,
        now_ms=lambda: now_ms,
    )
    return await flusher.flush(
        records, epoch=1, consecutive_dead_letters=consecutive_dead_letters, on_wave=on_wave
    )


async def test_a_batch_is_made_durable() -> None:
    """Every record is in a mailbox or in the dead-letter topic when the flush returns (G1)."""
    journal = Journal()
    flushed = await flush(journal, log("ann", "bob", "-", "ann"))

    assert flushed == Flushed(messages=3, dead_letters=1, consecutive_dead_letters=0, bundles=2)
    assert journal.durable == [("dead", (2,)), ("ann", (0, 3)), ("bob", (1,))]


async def test_messages_that_expired_before_are_counted() -> None:
    """For whoever asks why a reader does not see them."""
    retention_ms = 30 * 24 * 3600 * 1000
    for now_ms, expired in ((NEW_YEAR_MS, 0), (NEW_YEAR_MS + retention_ms, 2)):
        flushed = await flush(Journal(), log("ann", "bob", "-"), now_ms=now_ms)
        assert (flushed.messages, flushed.expired) == (2, expired)


async def test_nothing_is_visible_before_the_dead_letters_are_acknowledged() -> None:
    """A failing dead-letter topic ends the flush with no message written (G2, G9)."""
    journal = Journal(sink_fails=True)
    with pytest.raises(OperatorError, match="refuses"):
        await flush(journal, log("ann", "-", "bob"))

    assert journal.durable == []
    assert journal.calls == []


async def test_a_wave_waits_for_the_one_before() -> None:
    """A mailbox's second bundle is not visible while its first may not be (G2)."""
    journal = Journal(order=lambda bundles: bundles[::-1])
    await flush(journal, log("ann", "bob", "ann", "ann", "bob", "ann"), messages_max=1)

    assert journal.calls == [[(0,), (1,)], [(2,), (4,)], [(3,)], [(5,)]]


async def test_a_wave_is_told_when_it_is_durable() -> None:
    """So that a flush of many waves is seen to move, and one that hangs is not (G8)."""
    journal, seen = Journal(), list[int]()
    records = log("ann", "bob", "ann", "ann", "bob", "ann")
    await flush(journal, records, messages_max=1, on_wave=lambda: seen.append(len(journal.durable)))

    assert seen == [2, 4, 5, 6]


async def test_a_failing_store_ends_the_flush() -> None:
    """Later waves are not written: the flush is the last of its life (G2)."""
    journal = Journal(store_fails=True)
    with pytest.raises(OperatorError, match="permission"):
        await flush(journal, log("ann", "ann"), messages_max=1)

    assert len(journal.calls) == 1


async def test_a_rejected_bundle_is_split_until_one_message_stands_alone() -> None:
    """What is before it is written, it is a dead letter, then what is behind it (G2, G9)."""
    journal = Journal(refuses={3})
    flushed = await flush(journal, log(*["bob"] * 6))

    before = [event for event in journal.durable if event[1][0] < 3]
    behind = [event for event in journal.durable if event[1][0] > 3]
    assert journal.durable == [*before, ("dead", (3,)), *behind]
    assert [offset for event in journal.durable for offset in event[1]] == [*range(6)]
    assert (flushed.messages, flushed.dead_letters) == (5, 1)
    assert flushed.bundles == len(journal.durable) - 1
    assert journal.letters[0].reason is DeadLetterReason.REJECTED_BY_STORE
    assert journal.letters[0].detail == "number overflow"


async def test_a_split_is_over_before_the_next_wave() -> None:
    """The next bundle of that mailbox comes after all that the rejected one became (G2)."""
    journal = Journal(refuses={0})
    await flush(journal, log(*["bob"] * 4), messages_max=2)

    assert journal.durable == [("dead", (0,)), ("bob", (1,)), ("bob", (2, 3))]


@pytest.mark.parametrize(("before", "count"), [(0, 3), (1, 2), (2, 1)])
async def test_a_run_of_dead_letters_may_be_as_long_as_allowed(before: int, count: int) -> None:
    """The run is carried over batches, and the last one allowed is still produced (G9)."""
    journal = Journal()
    flushed = await flush(journal, log(*["-"] * count), dead_max=3, consecutive_dead_letters=before)

    assert flushed.consecutive_dead_letters == 3
    assert len(journal.letters) == count


@pytest.mark.parametrize(
    ("keys", "before"),
    [(["-"] * 4, 0), (["-"], 3), (["bob", "-", "-", "-", "-"], 0), (["-", "-", "bob"], 2)],
)
async def test_a_longer_run_stops_the_worker_before_anything_is_produced(
    keys: list[str], before: int
) -> None:
    """A bad deploy must not drain the topic into the dead letters (G9)."""
    journal = Journal()
    with pytest.raises(TooManyDeadLetters, match=r"undelivered-messages-3: 4 records in a row"):
        await flush(journal, log(*keys), dead_max=3, consecutive_dead_letters=before)

    assert journal.durable == []


async def test_a_message_ends_the_run() -> None:
    """Only records in a row count, whatever their total (G9)."""
    journal = Journal()
    flushed = await flush(
        journal, log("-", "bob", "-", "-", "bob", "-"), dead_max=2, consecutive_dead_letters=1
    )

    assert flushed == Flushed(messages=2, dead_letters=4, consecutive_dead_letters=1, bundles=1)


async def test_a_rejected_message_counts_to_the_run_before_it_is_produced() -> None:
    """It closes the gap between two runs that were allowed (G9)."""
    journal = Journal(refuses={2})
    with pytest.raises(TooManyDeadLetters, match="rejected_by_store"):
        await flush(journal, log("-", "-", "bob", "-", "bob"), dead_max=3)

    assert [letter.record.offset for letter in journal.letters] == [0, 1, 3]
    assert ("bob", (4,)) not in journal.durable


async def test_rejected_messages_in_a_row_stop_the_worker() -> None:
    """A store that rejects everything is no reason to drain the topic (G9)."""
    journal = Journal(refuses=set(range(9)))
    with pytest.raises(TooManyDeadLetters):
        await flush(journal, log(*["ann", "bob", "cy"] * 3), dead_max=3)

    assert len(journal.letters) < 9


async def test_the_text_names_the_records_and_the_way_out() -> None:
    """An operator knows what to look at and what to do (G9)."""
    with pytest.raises(TooManyDeadLetters) as caught:
        await flush(Journal(), log("-", "-", start=40), dead_max=1)

    text = str(caught.value)
    assert "offsets 40 to 41" in text
    assert "no_user_id" in text
    assert "poste skip" in text
    assert "\n" not in text
    assert "hello" not in text


async def test_cancellation_goes_through() -> None:
    """A flush that is cut off does not return as if it were durable (G1)."""
    forever = asyncio.Event()

    class Stuck(Journal):
        async def write(self, bundles: Sequence[Bundle]) -> list[Rejected]:
            forever.set()
            await asyncio.Event().wait()
            raise AssertionError

    task = asyncio.create_task(flush(Stuck(), log("bob")))
    await forever.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["ann", "bob", "-"]), min_size=1, max_size=30),
    st.sets(st.integers(0, 29), max_size=6),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_each_mailbox_is_written_in_log_order_and_whole(
    keys: list[str], refuses: set[int], messages_max: int, random: randomness.Random
) -> None:
    """Whatever is rejected: in order, once, and nothing left out (G1, G2, G3)."""

    def shuffled(bundles: list[Bundle]) -> list[Bundle]:
        random.shuffle(bundles)
        return bundles

    journal = Journal(refuses=refuses, order=shuffled)
    flushed = asyncio.run(flush(journal, log(*keys), messages_max=messages_max))

    dead = {n for n, key in enumerate(keys) if key == "-" or n in refuses}
    assert flushed.messages == len(keys) - len(dead)
    assert flushed.dead_letters == len(dead) == len(journal.letters)
    for user in ("ann", "bob"):
        fate = {n for n, key in enumerate(keys) if key == user}
        seen = [n for _, group in journal.durable for n in group if n in fate]
        assert seen == sorted(fate)


async def test_a_flush_tells_once_of_all_dead_letters_that_were_acknowledged() -> None:
    """Those of the decoder and those of the store together; of none it says nothing."""
    told: list[list[tuple[int, DeadLetterReason]]] = []

    def tell(letters: Sequence[DeadLetter]) -> None:
        told.append([(letter.record.offset, letter.reason) for letter in letters])

    await flush(Journal(refuses={3}), log("ann", "-", "bob", "bob"), on_dead_letters=tell)
    await flush(Journal(), log("ann"), on_dead_letters=tell)

    assert told == [[(1, DeadLetterReason.NO_USER_ID), (3, DeadLetterReason.REJECTED_BY_STORE)]]


async def test_a_flush_that_fails_tells_of_what_it_had_sent_and_of_nothing_else() -> None:
    """They are in the topic; the next owner of the partition sends them again."""
    told: list[int] = []

    def tell(letters: Sequence[DeadLetter]) -> None:
        told.extend(letter.record.offset for letter in letters)

    with pytest.raises(OperatorError):
        await flush(Journal(store_fails=True), log("ann", "-"), on_dead_letters=tell)
    assert told == [1]
    with pytest.raises(OperatorError):
        await flush(Journal(sink_fails=True), log("ann", "-"), on_dead_letters=tell)
    assert told == [1]
