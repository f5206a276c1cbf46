"""Records of the dead-letter topic: which are dead letters, and what is sent again."""

from typing import Any

import jsonschema
import pytest

from tests.records import TOPIC, MadeRecord
from tests.unit.test_cli import schema
from worker.cli import dead_letter_rendering as rendering
from worker.cli.stored_letter import Place, Selection, StoredLetter, letter_of
from worker.dead_letters import DeadLetter, dead_letter_headers
from worker.errors import Reason
from worker.record import RecordHeader

OWN: tuple[RecordHeader, ...] = (("ce_id", b"1"), ("trace", None), ("trace", b"\xff"))


def headers(**changed: bytes | None) -> list[RecordHeader]:
    """A dead letter's headers, some of them changed or, where None, left out."""
    made = dead_letter_headers(DeadLetter(MadeRecord(headers=OWN), Reason.NO_BODY, "null"))
    named = {f"dead-letter-{name}": value for name, value in changed.items()}
    return [(n, named.get(n, v)) for n, v in made if named.get(n, b"") is not None]


def letter(**changed: Any) -> StoredLetter:
    return letter_of(MadeRecord(partition=1, offset=7, **{"headers": headers(), **changed}), TOPIC)


def test_a_dead_letter_gives_its_record_back() -> None:
    """Header by header, those of the worker alone left out (G9)."""
    found = letter()

    assert (found.foreign, found.reason, found.detail) == ("", Reason.NO_BODY, "null")
    assert (found.place, found.source) == (Place(1, 7), Place(3, 0))
    assert found.original_headers() == list(OWN)


def test_the_last_header_of_a_name_counts() -> None:
    """A record that was a dead letter before keeps the older ones (G9)."""
    older = [("dead-letter-reason", b"too_large"), ("dead-letter-offset", b"99")]
    found = letter(headers=[*older, *headers()])

    assert (found.reason, found.source) == (Reason.NO_BODY, Place(3, 0))
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
    first, again = letter(), letter_of(MadeRecord(headers=headers(), offset=99), TOPIC)

    assert first.identity() == again.identity()
    assert first.identity() != letter(value=b"another").identity()
    assert first.identity() != letter(key=b"eve").identity()
    assert first.identity() != letter(timestamp=5).identity()
    assert first.identity() != letter(headers=headers(offset=b"1")).identity()


def test_a_selection_is_by_reason_and_by_the_records_own_time() -> None:
    """Each alone, and both (G9)."""
    found = letter(timestamp=1000)

    assert Selection().has(found)
    assert Selection(reasons=frozenset({Reason.NO_BODY})).has(found)
    assert not Selection(reasons=frozenset({Reason.TOO_LARGE})).has(found)
    assert Selection(since_ms=1000).has(found)
    assert not Selection(since_ms=1001).has(found)
    assert not Selection(since_ms=0).has(letter(timestamp=None))
    assert not Selection(reasons=frozenset(Reason)).has(letter(headers=()))


LETTERS = (
    letter(),
    letter(key=None, value=None, timestamp=-1),
    letter(key=b"\xff", value=b"\xff", headers=()),
    StoredLetter(Place(0, 1), None, foreign="the client cannot decode it"),
)


def test_dead_letters_json_is_what_was_promised(capsys: pytest.CaptureFixture[str]) -> None:
    """For every kind of record; and for a person."""
    jsonschema.validate(
        rendering.list_object("t", LETTERS, Place(1, 8)), schema("dead-letters-list")
    )
    jsonschema.validate(rendering.list_object("t", (), None), schema("dead-letters-list"))
    for each in LETTERS:
        made = rendering.letter_object(each, whole=True)
        jsonschema.validate(made, schema("dead-letters-show"))
        for to in (None, Place(3, 4)):
            jsonschema.validate(rendering.replay_object(each, to), schema("dead-letters-replay"))
        rendering.letter(made)
        rendering.replayed(each, "t", None)
    rendering.letters("t", LETTERS, Place(1, 8))
    said = capsys.readouterr().out

    assert "header trace: none" in said
    assert "left out 0/1: the client cannot decode it" in said
    assert "go on with --partition 1 --offset 8" in said
