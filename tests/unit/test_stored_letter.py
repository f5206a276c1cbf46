"""Records of the dead-letter topic: which are dead letters, and what is sent again."""

from typing import Any

import jsonschema
import pytest

from tests.records import TOPIC, MadeRecord
from tests.unit.test_cli import schema
from worker.cli import dead_letter_rendering as rendering
from worker.cli.stored_letter import (
    DeadLetterSelection,
    RecordPlace,
    StoredDeadLetter,
    parse_dead_letter,
)
from worker.dead_letters import DeadLetter, dead_letter_headers
from worker.errors import DeadLetterReason
from worker.record import RecordHeader

OWN: tuple[RecordHeader, ...] = (("ce_id", b"1"), ("trace", None), ("trace", b"\xff"))


def headers(**changed: bytes | None) -> list[RecordHeader]:
    """A dead letter's headers, some of them changed or, where None, left out."""
    made = dead_letter_headers(
        DeadLetter(MadeRecord(headers=OWN), DeadLetterReason.NO_BODY, "null")
    )
    named = {f"dead-letter-{name}": value for name, value in changed.items()}
    return [(n, named.get(n, v)) for n, v in made if named.get(n, b"") is not None]


def letter(**changed: Any) -> StoredDeadLetter:
    return parse_dead_letter(
        MadeRecord(partition=1, offset=7, **{"headers": headers(), **changed}), TOPIC
    )


def test_a_dead_letter_gives_its_record_back() -> None:
    """Header by header, those of the worker alone left out (G9)."""
    found = letter()

    assert (found.foreign, found.reason, found.detail) == ("", DeadLetterReason.NO_BODY, "null")
    assert (found.place, found.source) == (RecordPlace(1, 7), RecordPlace(3, 0))
    assert found.original_headers() == list(OWN)


def test_the_last_header_of_a_name_counts() -> None:
    """A record that was a dead letter before keeps the older ones (G9)."""
    older = [("dead-letter-reason", b"too_large"), ("dead-letter-offset", b"99")]
    found = letter(headers=[*older, *headers()])

    assert (found.reason, found.source) == (DeadLetterReason.NO_BODY, RecordPlace(3, 0))
    assert found.original_headers() == list(OWN)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"reason": None}, "it has no header dead-letter-reason"),
        ({"offset": None}, "it has no header dead-letter-offset"),
        ({"topic": b"another"}, "it is of the topic 'another'"),
        ({"reason": b"bored"}, "its headers are damaged"),
        ({"partition": b"x"}, "its headers are damaged"),
        ({"partition": b"-1"}, "its headers are damaged"),
    ],
)
def test_another_record_is_foreign(changed: dict[str, bytes | None], why: str) -> None:
    """It is never sent to the topic (G9)."""
    found = letter(headers=headers(**changed))

    assert found.foreign.startswith(why)
    assert found.source is None


def test_a_replays_second_copy_is_known_and_another_record_is_not() -> None:
    """Two dead letters of one record differ in their place alone (G9)."""
    first, again = letter(), parse_dead_letter(MadeRecord(headers=headers(), offset=99), TOPIC)

    assert first.identity() == again.identity()
    assert first.identity() != letter(value=b"another").identity()
    assert first.identity() != letter(key=b"eve").identity()
    assert first.identity() != letter(timestamp=5).identity()
    assert first.identity() != letter(headers=headers(offset=b"1")).identity()


def test_a_selection_is_by_reason_and_by_the_records_own_time() -> None:
    """Each alone, and both (G9)."""
    found = letter(timestamp=1000)

    assert DeadLetterSelection().matches(found)
    assert DeadLetterSelection(reasons=frozenset({DeadLetterReason.NO_BODY})).matches(found)
    assert not DeadLetterSelection(reasons=frozenset({DeadLetterReason.TOO_LARGE})).matches(found)
    assert DeadLetterSelection(since_ms=1000).matches(found)
    assert not DeadLetterSelection(since_ms=1001).matches(found)
    assert not DeadLetterSelection(since_ms=0).matches(letter(timestamp=None))
    assert not DeadLetterSelection(reasons=frozenset(DeadLetterReason)).matches(letter(headers=()))


LETTERS = (
    letter(),
    letter(key=None, value=None, timestamp=-1),
    letter(key=b"\xff", value=b"\xff", headers=()),
    StoredDeadLetter(RecordPlace(0, 1), None, foreign="the client cannot decode it"),
)


def test_dead_letters_json_is_what_was_promised(capsys: pytest.CaptureFixture[str]) -> None:
    """For every kind of record; and for a person."""
    jsonschema.validate(
        rendering.list_object("t", LETTERS, RecordPlace(1, 8)), schema("dead-letters-list")
    )
    jsonschema.validate(rendering.list_object("t", (), None), schema("dead-letters-list"))
    for each in LETTERS:
        made = rendering.letter_object(each, whole=True)
        jsonschema.validate(made, schema("dead-letters-show"))
        for to in (None, RecordPlace(3, 4)):
            jsonschema.validate(rendering.replay_object(each, to), schema("dead-letters-replay"))
        rendering.print_letter(made)
        rendering.print_replayed(each, "t", None)
    rendering.print_letters("t", LETTERS, RecordPlace(1, 8))
    said = capsys.readouterr().out

    assert "header trace: none" in said
    assert "left out 0/1: the client cannot decode it" in said
    assert "go on with --partition 1 --offset 8" in said
