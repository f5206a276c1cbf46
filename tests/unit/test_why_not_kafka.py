"""The experiment's page is what its JSON says; its figures are computed as they are said to be."""

import json
import re
from typing import Any

import pytest

from benchmarks import made
from benchmarks.why_not_kafka import page as experiment
from benchmarks.why_not_kafka.partitions import extrapolated
from benchmarks.why_not_kafka.scan import MISSED, users_places
from tests.pages import page

RESULTS = experiment.results()


# ---- the page


def test_the_pages_tables_are_made_from_the_json() -> None:
    """All of them, as they stand: no figure is invented, none is old."""
    text = page("why-not-kafka")

    assert experiment.written(text, RESULTS) == text
    assert text.count("<!-- made: ") == text.count("<!-- end -->") == 8


def test_a_figure_that_is_changed_is_found() -> None:
    """The page is another one as soon as the JSON is."""
    text = page("why-not-kafka")
    for part, name in (("scan", "seconds"), ("mailbox", "read_units")):
        changed: dict[str, Any] = json.loads(json.dumps(RESULTS))
        changed[part][0][name] += 1
        assert experiment.written(text, changed) != text


def test_the_prose_has_no_figure_of_a_run() -> None:
    """What a run found stands in tables that are made: outside are sizes that were chosen."""
    prose = re.sub(r"<!-- made: .*?<!-- end -->", "", page("why-not-kafka"), flags=re.DOTALL)

    assert set(re.findall(r"\d[\d,.]*(?: MB| GB| ms| s)\b", prose)) == {"50 MB", "10 s"}


def test_figures_that_are_provisional_say_so() -> None:
    """Part by part, until each was run in full."""
    said = experiment.written("<!-- made: machine -->\n<!-- end -->", {
        "sizes": {"scan": "full", "table": "small"}, "machine": "2 cores",
    })  # fmt: skip

    assert "**Provisional**, at small sizes (table). Measured on 2 cores." in said
    assert ("**Provisional**" in page("why-not-kafka")) == ("small" in RESULTS["sizes"].values())


def test_the_picture_is_made_from_the_json() -> None:
    """One, and the page shows it."""
    assert experiment.PICTURE.read_text() == experiment.picture(RESULTS)
    assert f"]({experiment.PICTURE.name})" in page("why-not-kafka")


def test_a_mailbox_is_one_query_whatever_the_table_holds() -> None:
    """In the figures that the page shows (G7)."""
    points = RESULTS["mailbox"]

    assert points[-1]["messages"] >= 100 * points[0]["messages"]
    assert {point["queries"] for point in points} == {1}
    assert len({(point["read_units"], point["bytes"]) for point in points}) == 1


def test_a_scan_reads_what_is_not_its_users() -> None:
    """In the figures that the page shows: ten times the messages are ten times the bytes.

    Less what the small one reads beside: batches are read whole.
    """
    first, last = RESULTS["scan"][-2:]
    times = last["records"] / first["records"]

    assert times / 2 < last["bytes"] / first["bytes"] < times * 1.2
    assert {point["found"] for point in RESULTS["scan"]} == {MISSED}


# ---- how it is computed


def test_the_extrapolation_is_a_line_through_the_first_and_the_last_size() -> None:
    """By hand: 1,000 partitions more are 64 MB, 1,000 files and 2 s more."""
    first = {"partitions": 1_000, "resident_mb": 364.0, "open_files": 1_100, "start_cpu_s": 7.0}
    last = {"partitions": 3_000, "resident_mb": 492.0, "open_files": 3_100, "start_cpu_s": 11.0,
            "create_s_per_thousand": 8.64}  # fmt: skip
    found = extrapolated({"points": [first, last], "empty": {}}, users=3e6)

    assert found == {
        "resident_gb": 187.5, "open_files": 3e6, "create_days": pytest.approx(0.3),
        "start_cpu_h": pytest.approx(3_000 * 2 / 3_600), "brokers": 1_000,
    }  # fmt: skip


def test_a_user_has_the_same_messages_in_each_size() -> None:
    """A larger scan finds no more: it only reads more."""
    sizes = [1_000, 10_000, 50_000]
    places = users_places(sizes)

    assert len(places) == MISSED
    for size in sizes:
        assert all(50_000 - size <= place < 50_000 for place in places)


# ---- what pages are made with


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.04567, "0.0457"), (12.34, "12.3"), (99.96, "100"), (123456, "123,000")],
)
def test_numbers_have_three_figures(value: float, text: str) -> None:
    """No more than the figures bear."""
    assert made.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0021, "2.1 ms"), (1, "1 s"), (59.94, "59.9 s"), (5_400, "1.5 h"), (172_800, "2 days"),
     (63_115_200, "2 years")],
)  # fmt: skip
def test_durations_are_in_the_unit_that_reads_best(value: float, text: str) -> None:
    """From milliseconds to years."""
    assert made.seconds(value) == text


def test_a_table_that_nothing_makes_is_an_error() -> None:
    """A mark that is misspelt does not keep old figures."""
    with pytest.raises(KeyError):
        made.made("<!-- made: nothing -->\n<!-- end -->", {})


# ---- the picture
