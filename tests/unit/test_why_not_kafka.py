"""The experiment's page is what its JSON says; its figures are computed as they are said to be."""

import asyncio
import importlib
import json
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from benchmarks import made
from benchmarks.why_not_kafka import page as experiment
from benchmarks.why_not_kafka.broker import collected, new_broker
from benchmarks.why_not_kafka.partitions import slope, slopes
from benchmarks.why_not_kafka.scan import MISSED, users_places
from tests.pages import page
from tests.services import jvm

RESULTS = experiment.results()


# ---- the page


def test_the_pages_tables_are_made_from_the_json() -> None:
    """All of them, as they stand: no figure is invented, none is old."""
    text = page("why-not-kafka")

    assert experiment.written(text, RESULTS) == text
    assert text.count("<!-- made: ") == text.count("<!-- end -->") == 9


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


def test_the_extrapolation_is_a_line_through_all_sizes() -> None:
    """By hand: sizes on one line have its slope everywhere; one that is off it turns the line,
    and shows between its neighbours."""
    straight = slope([(1_000, 64.0), (2_000, 128.0), (4_000, 256.0)])
    bent = slope([(1_000, 0.0), (2_000, 10.0), (3_000, 50.0)])

    assert straight == pytest.approx((64, 64, 64, False))
    assert bent == pytest.approx((25, 10, 40, True))
    assert (experiment.is_bent(straight), experiment.is_bent(bent)) == (False, True)


def test_one_size_is_no_line() -> None:
    """Nothing is extrapolated from it."""
    with pytest.raises(ValueError, match="no line"):
        slope([(1_000, 64.0)])


def test_creating_is_added_up_from_nothing() -> None:
    """By hand: 2 s, then 3 s for each of two thousands more; a quantity that a point has not is
    left out."""
    points = [
        {"partitions": 1_000, "open_files": 1_100, "create_s_per_thousand": 2.0, "heap_mb": 50.0},
        {"partitions": 3_000, "open_files": 3_100, "create_s_per_thousand": 3.0},
    ]

    found = slopes(points)

    assert found.keys() == {"open_files", "create_s"}
    assert found["open_files"].each == pytest.approx(1_000)
    assert (found["create_s"].least, found["create_s"].most) == pytest.approx((2, 3))


def test_the_page_says_which_lines_bend() -> None:
    """Each by name, and to which side; and nothing else."""
    at = [{"partitions": n, "open_files": n, "start_cpu_s": n**2 / 1e6, "create_s_per_thousand": 2}
          for n in (1_000, 2_000, 4_000)]  # fmt: skip

    said = experiment.written(
        "<!-- made: extrapolated -->\n<!-- end -->", {"partitions": {"points": at}}
    )

    assert "as another: broker CPU of a start (steeper at the end). What" in said
    assert "| open files | 1,000 | 1,000 to 1,000 | 500,000,000 |" in said
    assert "| brokers, at 4,000 each |  |  | 125,000 |" in said


def test_a_collected_heap_is_read_from_what_the_jvm_says() -> None:
    """HotSpot's class histogram ends in a line of its sum."""
    said = b"""\
 num     #instances         #bytes  class name (module)
-------------------------------------------------------
   1:         13032         794000  [B (java.base@17.0.15)
Total         59201        2826224
"""
    assert collected(said) == 2_826_224
    assert collected(said.partition(b"Total")[0]) is None


def test_the_experiments_broker_has_none_of_the_suites_shortcuts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No compiler that stops halfway, no small heap, no interval of a second: what makes tests
    quick is no measure of Kafka."""
    monkeypatch.setattr(jvm, "jars", lambda name: tmp_path / name)
    ours, suites = new_broker(tmp_path / "ours"), jvm.Kafka(tmp_path / "suite")
    said = [
        (" ".join(kafka._child.command), (kafka.directory / "server.properties").read_text())
        for kafka in (ours, suites)
    ]  # fmt: skip

    short = ("TieredStopAtLevel", "-Xmx768m"), ("retention.check.interval", "broker.session.time")
    for there, (command, properties) in zip((False, True), said, strict=True):
        assert {option in command for option in short[0]} == {there}
        assert {name in properties for name in short[1]} == {there}
    assert " -Xmx4g " in said[0][0]


def test_a_broker_of_an_earlier_run_is_told() -> None:
    """A part that was not run with the broker that the page describes does not pass for it."""
    said = experiment.written("<!-- made: machine -->\n<!-- end -->", {
        "sizes": {}, "machine": "2 cores", "scan": [], "table": {}, "kafka": {"scan": "Kafka 4"},
    })  # fmt: skip

    assert (
        "Measured on 2 cores. Kafka 4. Still of an earlier run, with a smaller broker: table.\n"
        in said
    )


# ---- the table's store


@pytest.fixture
def faust_table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("APP", "BOOTSTRAP", "DATA"):
        monkeypatch.setenv(f"TABLE_{name}", "unused")
    for name in ("PARTITIONS", "STANDBYS"):
        monkeypatch.setenv(f"TABLE_{name}", "2")
    return importlib.import_module("benchmarks.why_not_kafka.faust_table")


def test_a_standby_copy_is_kept_and_not_read_again(faust_table: ModuleType) -> None:
    """What Faust's own dictionary does not do: the comparison would have standby copies for
    nothing. What has moved away is forgotten, and read from the beginning when it comes back."""
    store = faust_table.mailboxes.data
    active, standby, away = (faust_table.faust.types.TP("changelog", n) for n in range(3))
    batch = [
        SimpleNamespace(
            key=b"user-%d" % tp.partition, value=b"mail",
            message=SimpleNamespace(tp=tp, partition=tp.partition, offset=offset, value=b"mail"),
        )
        for tp in (active, standby, away) for offset in (7, 8)
    ]  # fmt: skip

    store.apply_changelog_batch(batch, to_key=bytes, to_value=bytes)
    asyncio.run(store.on_recovery_completed({active}, {standby}))

    assert [store.persisted_offset(tp) for tp in (active, standby, away)] == [8, 8, None]
    assert store.data == {b"user-0": b"mail", b"user-1": b"mail"}


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
