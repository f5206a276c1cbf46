"""Which dead letters a replay sends, without a broker."""

from collections.abc import AsyncIterator, Sequence

import pytest

from tests.records import TOPIC, MadeRecord
from worker.cli import replaying
from worker.cli.bar import ProgressBar
from worker.cli.replaying import letters_to_replay
from worker.cli.stored_letter import (
    DeadLetterSelection,
    RecordPlace,
    StoredDeadLetter,
    parse_dead_letter,
)
from worker.dead_letters import DeadLetter, dead_letter_headers
from worker.errors import DeadLetterReason, OperatorError


class Topic:
    """A dead-letter topic with these records, at their offsets."""

    source = TOPIC
    name = f"{TOPIC}.dead-letters"

    def __init__(self, letters: Sequence[StoredDeadLetter]) -> None:
        self._letters = letters

    async def letters(
        self, selection: DeadLetterSelection, bar: ProgressBar
    ) -> AsyncIterator[StoredDeadLetter]:
        for letter in self._letters:
            yield letter


def dead(offset: int, of: int) -> StoredDeadLetter:
    """A dead letter at an offset, of a record at another one."""
    letter = DeadLetter(MadeRecord(offset=of), DeadLetterReason.TOO_LARGE, "")
    return parse_dead_letter(MadeRecord(headers=dead_letter_headers(letter), offset=offset), TOPIC)


FOREIGN = parse_dead_letter(MadeRecord(offset=7), TOPIC)


async def replayed(selection: DeadLetterSelection, *letters: StoredDeadLetter) -> list[int]:
    return [letter.place.offset async for letter in letters_to_replay(Topic(letters), selection)]


async def test_a_record_that_was_dead_lettered_twice_is_sent_once() -> None:
    """And a foreign one is passed on, to be left out (G9)."""
    found = await replayed(
        DeadLetterSelection(), dead(0, of=5), dead(1, of=6), FOREIGN, dead(3, of=5)
    )

    assert found == [0, 1, 7]


async def test_a_named_foreign_record_is_refused() -> None:
    """It is not what the operator took it for (G9)."""
    with pytest.raises(OperatorError, match="no dead letter of"):
        await replayed(DeadLetterSelection(places=(RecordPlace(3, 7),)), FOREIGN)


async def test_a_replay_remembers_so_many_and_not_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it stops, instead of sending some twice (G8)."""
    monkeypatch.setattr(replaying, "DISTINCT_MAX", 2)

    assert await replayed(DeadLetterSelection(), dead(0, of=5), dead(1, of=6), dead(2, of=6)) == [
        0,
        1,
    ]
    with pytest.raises(OperatorError, match="more than 2 dead letters"):
        await replayed(DeadLetterSelection(), dead(0, of=5), dead(1, of=6), dead(2, of=7))
