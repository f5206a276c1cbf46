"""The benchmarks' page and pictures are what their JSON says; a part that fails says so."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.__main__ import PARTS, run
from benchmarks.report import Found

TEXT = """The page.
<!-- made: speed -->
<!-- end -->
<!-- made: post_machine -->
<!-- end -->
"""


class Post:
    """A part that measures nothing."""

    TABLES: Mapping[str, Callable[[Found], str]] = {"speed": lambda f: f"{f['letters']} a day\n"}
    PICTURES: Mapping[str, Callable[[Found], str]] = {"speed.svg": lambda f: f"<{f['letters']}>"}

    def __init__(self, letters: int | None = 7) -> None:
        self.letters = letters

    def measure(self, *, small: bool) -> Found:
        if self.letters is None:
            raise RuntimeError("the post office is closed")
        return {"letters": 1 if small else self.letters}


@pytest.fixture
def place(tmp_path: Path) -> dict[str, Any]:
    page = tmp_path / "README.md"
    page.write_text(TEXT)
    return {"page": page, "results": tmp_path}


def test_the_page_is_made_from_the_json() -> None:
    """All its tables, as they stand: no figure is invented, none is old."""
    text = report.PAGE.read_text()

    assert report.written(text, PARTS) == text


def test_the_pictures_are_made_from_the_json() -> None:
    """And the page shows each."""
    text = report.PAGE.read_text()
    for file, drawn in report.pictures(PARTS).items():
        assert (report.RESULTS / file).read_text() == drawn
        assert f"](results/{file})" in text


@pytest.mark.parametrize("part", PARTS)
def test_every_table_of_a_part_is_on_the_page(part: str) -> None:
    """With the machine that it was measured on."""
    text = report.PAGE.read_text()
    for name in [*PARTS[part].TABLES, f"{part}_machine"]:
        assert text.count(f"<!-- made: {name} -->") == 1


def test_a_run_writes_json_page_and_pictures(place: dict[str, Any]) -> None:
    """What was found stands in all three, and a small run is said to be one."""
    assert run(["post"], {"post": Post()}, small=False, **place) == []
    page, results = place["page"], place["results"]
    assert report.read("post", results)["found"] == {"letters": 7}
    assert "7 a day" in page.read_text()
    assert "Provisional" not in page.read_text()
    assert (results / "speed.svg").read_text() == "<7>"

    run(["post"], {"post": Post()}, small=True, **place)
    assert "1 a day" in page.read_text()
    assert "**Provisional**" in page.read_text()


def test_a_part_that_fails_keeps_its_figures_and_is_named(
    place: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """One clear line; the others are measured."""
    run(["post"], {"post": Post()}, small=False, **place)
    others = {"post": Post(letters=None), "again": Post(letters=9)}
    others["again"].TABLES, others["again"].PICTURES = {}, {}

    assert run(["post", "again"], others, small=False, **place) == ["post"]
    assert "post: the post office is closed\n" in capsys.readouterr().err
    assert report.read("post", place["results"])["found"] == {"letters": 7}
    assert report.read("again", place["results"])["found"] == {"letters": 9}


def test_a_table_has_one_maker(place: dict[str, Any]) -> None:
    """Two parts with a table of one name are a mistake that is said."""
    parts = {"post": Post(), "twice": Post()}
    with pytest.raises(ValueError, match="made by two parts: speed"):
        run(["post", "twice"], parts, small=True, **place)
