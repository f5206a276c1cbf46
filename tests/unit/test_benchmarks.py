"""The benchmarks' page and pictures are what their JSON says; a part that fails says so."""

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import machine, report, targets
from benchmarks.__main__ import ACROSS, PARTS, SOFTWARE, run
from benchmarks.capacity import bundle_bytes, lean_item_bytes
from benchmarks.capacity_inputs import Load
from benchmarks.contenders.page import varied
from benchmarks.report import Found
from benchmarks.targets import Figure, Target
from benchmarks.units import page as units_page
from benchmarks.units.measuring import Size
from benchmarks.users import Way
from poste_restante.scan import FIRST_ITEMS, LEFTOVER_ITEMS
from tests.services import KAFKA_ADDRESS
from tests.services.docker import DYNAMODB_IMAGE, KAFKA_IMAGE

TEXT = """The page.
<!-- made: speed -->
<!-- end -->
<!-- made: post_machine -->
<!-- end -->
<!-- made: letters -->
<!-- end -->
"""
#: What has no figure of the JSON stands under a heading that begins so.
HISTORY = "History"


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
    across = {"letters": lambda found: f"{found['post']['letters']} in all\n"}
    return {"page": page, "results": tmp_path, "across": across}


def test_the_page_is_made_from_the_json() -> None:
    """All its tables, as they stand: no figure is invented, none is old."""
    text = report.PAGE.read_text()

    assert report.written(text, PARTS, across=ACROSS) == text


def test_the_pictures_are_made_from_the_json() -> None:
    """And the page shows each."""
    text = report.PAGE.read_text()
    for file, drawn in report.pictures(PARTS).items():
        assert (report.RESULTS / file).read_text() == drawn
        assert f"](results/{file})" in text


@pytest.mark.parametrize("part", PARTS)
def test_every_table_of_a_part_is_on_the_page(part: str) -> None:
    """With the machine that it was measured on, and the tables of several parts."""
    text = report.PAGE.read_text()
    for name in [*PARTS[part].TABLES, *ACROSS, f"{part}_machine"]:
        assert text.count(f"<!-- made: {name} -->") == 1


def written_by_hand() -> dict[str, str]:
    """What of the page is not made from JSON, by its heading."""
    text = re.sub(r"<!-- made: .*?<!-- end -->", "", report.PAGE.read_text(), flags=re.DOTALL)
    parts = re.split(r"^#+ (.*)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_a_table_that_no_json_bears_is_history() -> None:
    """And says that nothing repeats it."""
    tables = {name for name, text in written_by_hand().items() if "\n|" in text}
    history = {name for name in written_by_hand() if name.startswith(HISTORY)}

    assert tables <= history
    assert history
    for name in history:
        assert "`make bench` does not repeat it" in " ".join(written_by_hand()[name].split())


def test_whether_a_target_is_met_is_said_by_its_table() -> None:
    """A sentence would go on saying so."""
    for name, text in written_by_hand().items():
        if not name.startswith((HISTORY, "Measured")):
            assert not re.search(r"\btargets?\b|\bmissed\b", text), name


def test_what_the_prose_says_of_units_is_borne_by_the_json() -> None:
    """Figures that are the same on every machine."""
    found, text = report.read("units")["found"], " ".join(report.PAGE.read_text().split())
    day = {row["linger_s"]: row for row in units_page.day_rows(found)}
    rivals = units_page.rival_row(found)
    cost = {at: units_page.ratio(found, row, "ACKNOWLEDGE") for at, row in day.items()}
    behind = units_page.ratio(found, rivals, "CURSOR")

    assert f"{Size().users} users of `benchmarks/users.py`" in text
    assert "a fifth cheaper than an item per message and its delete" in text
    assert 0.77 < cost[0.0] < 0.83
    assert "slightly dearer than its leaner rival to TTL" in text
    assert behind < cost[0.0] < behind + 0.04
    assert "From a linger of 5 s on, bundles are the cheaper ones" in text
    assert cost[1.0] > behind > cost[5.0]
    extra = {part: day[0.0]["ACKNOWLEDGE"][part] - rivals["CURSOR"][part]
             for part in ("write", "read", "store", "all")}  # fmt: skip
    more = lean_extra_bytes()
    assert f"{more} bytes, which cost {cost[0.0] - behind:.2f} of the ratio, three fifths" in text
    assert 0.55 < extra["store"] / extra["all"] < 0.65
    assert "0.25 s merges next to nothing here" in text
    assert cost[0.0] - cost[0.25] < 0.02
    assert "is still cut into almost two bundles" in text
    assert 1.5 < 3 * day[30.0]["ACKNOWLEDGE"]["bundles"] / 1000 < 2
    assert "15 s, which brings two thirds of all that a linger can" in text
    assert 0.6 < (cost[0.0] - cost[15.0]) / (cost[0.0] - cost[60.0]) < 0.73
    weeks = {
        days: units_page.ratio(found, units_page.day_rows(found, 300, days)[0], "ACKNOWLEDGE")
        for days in (7.0, 14.0, 30.0)
    }
    assert f"saves {weeks[30] - weeks[7]:.2f} of the ratio, a fortnight " in text
    assert f"a fortnight {weeks[30] - weeks[14]:.2f}, and takes" in text
    deletes = units_page.ratio(found, day[0.0], "DELETE")
    assert f"which would be {deletes - cost[0.0]:.2f} of the ratio at linger 0" in text
    assert f"costs ${day[0.0]['ACKNOWLEDGE']['store']:.2f} of storage" in text

    readme = " ".join((report.HERE.parent / "README.md").read_text().split())
    assert "about a fifth less than an item per message and its delete" in readme
    assert "and a third less where messages may wait 15 s" in readme
    assert 0.62 < cost[15.0] < 0.68
    assert "behind a cursor costs slightly less until messages of a burst meet" in readme


def lean_extra_bytes() -> int:
    """What our item of one message says more."""
    return bundle_bytes(Load(), 1) - lean_item_bytes(Load())


def test_the_first_query_asks_for_as_many_items_as_cost_least() -> None:
    """On the day and on large bundles (G7)."""
    rows = report.read("units")["found"]["first_items"]
    for load in ("day", "large"):
        assert min(rows, key=lambda row: row[load]["ratio"])["items"] == FIRST_ITEMS
    assert min(rows, key=lambda row: row["full"]["read_units"])["items"] == FIRST_ITEMS
    others = report.read("units")["found"]["leftover_items"]
    best = min(others, key=lambda row: row["last"]["ratio"] + row["first"]["ratio"])
    assert best["items"] == LEFTOVER_ITEMS


def test_the_worker_takes_more_than_twice_the_plain_scripts_memory() -> None:
    """As the page says, and says why."""
    found = report.read("contenders")["found"]
    peak = {row["contender"]: row["resident_mb"] for row in varied(found)}

    assert "more than twice the plain script's memory" in report.PAGE.read_text()
    assert 2 < peak["worker"] / peak["plain"] < 3


def test_a_run_writes_json_page_and_pictures(place: dict[str, Any]) -> None:
    """What was found stands in all three, and a small run is said to be one."""
    assert run(["post"], {"post": Post()}, small=False, **place) == []
    page, results = place["page"], place["results"]
    assert report.read("post", results)["found"] == {"letters": 7}
    assert "7 a day" in page.read_text()
    assert "7 in all" in page.read_text()
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
    place["across"] = {}
    place["page"].write_text(TEXT.replace("letters", "again_machine"))
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


def test_figures_say_where_when_and_of_what_they_are(
    place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the JSON, and in a line of the page."""
    monkeypatch.setattr(machine, "today", lambda: "2026-11-28")
    monkeypatch.setattr(machine, "commit", lambda: "b09ad1a")
    monkeypatch.setitem(SOFTWARE, "post", ("Kafka", "aiokafka"))
    run(["post"], {"post": Post()}, small=False, **place)
    file = report.read("post", place["results"])

    assert (file["commit"], file["date"]) == ("b09ad1a", "2026-11-28")
    assert file["software"] == machine.software(["Kafka", "aiokafka"])
    (line,) = (line for line in place["page"].read_text().splitlines() if "Measured" in line)
    assert line == (
        f"Measured on {machine.machine()}; {file['software']}. Commit b09ad1a, 2026-11-28."
    )


def test_every_part_says_what_takes_part() -> None:
    """Each package of those that are named is there."""
    assert SOFTWARE.keys() == PARTS.keys()
    for names in SOFTWARE.values():
        assert machine.software(names)


def test_a_service_has_the_version_that_the_project_pins() -> None:
    """Unless it is another one, whose address was given."""
    assert machine.software(["Kafka", "DynamoDB Local"], {}) == (
        f"Kafka {KAFKA_IMAGE.partition(':')[2]}, DynamoDB Local {DYNAMODB_IMAGE.partition(':')[2]}"
    )
    given = machine.software(["Kafka"], {KAFKA_ADDRESS: "kafka.example:9092"})
    assert given == "Kafka of a given address"
    with pytest.raises(KeyError, match="zookeeper"):
        machine.pinned("kafka.pom.xml", "zookeeper")


def test_code_that_was_changed_is_not_said_to_be_the_commits(tmp_path: Path) -> None:
    """What is not code may change; without a repository the commit is unknown."""

    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments],
            cwd=tmp_path, check=True, capture_output=True, timeout=10,
        )  # fmt: skip

    assert machine.commit(tmp_path) == "unknown"
    git("init")
    (tmp_path / "code.py").write_text("1\n")
    git("add", ".")
    git("commit", "-m", "code")
    clean = machine.commit(tmp_path)
    assert re.fullmatch("[0-9a-f]{7,}", clean)
    (tmp_path / "results.json").write_text("{}\n")
    assert machine.commit(tmp_path) == clean
    (tmp_path / "code.py").write_text("2\n")
    assert machine.commit(tmp_path) == f"{clean}, with changes"


@pytest.mark.parametrize(
    ("value", "limit", "said"),
    [(0.3, 0.3, "0.30"), (0.3016, 0.3, "0.302"), (0.30000001, 0.3, "0.30000001"),
     (0.166, 1 / 6, "0.166"), (0.17, 1 / 6, "0.17"), (50.04, 50.0, "50.04"),
     (23.29, 50.0, "23.3")],
)  # fmt: skip
def test_a_figure_is_not_rounded_to_the_other_side_of_its_target(
    value: float, limit: float, said: str
) -> None:
    """0.3016 is not 0.3."""
    assert targets.figure_of(value, limit) == said


def test_a_target_is_met_by_what_is_at_most_its_limit() -> None:
    """Each figure stands on one side."""
    figures = [Figure("here", 0.5), Figure("there", 0.5000001, "once")]
    target = Target("half", 1 / 2, "1/2", lambda _: figures)

    *_, row = targets.table({}, [target]).splitlines()
    assert row == "| half | 1/2 | here **0.50** | there **0.5000001** (once) |"


def test_the_targets_look_at_every_figure_that_they_are_set_for() -> None:
    """All bodies, partitions and processes, both stores; all that is skewed."""
    found = {name: report.read(name)["found"] for name in PARTS}
    where = [[one.where for one in target.figures(found)] for target in targets.TARGETS]

    bodies = [f"bodies of {size}" for size in ("100 bytes", "300 bytes", "1 KB", "10 KB")]
    assert where[:5] == [[f"linger {at} s"] for at in (0, 15, 30, 0, 30)]
    assert where[5] == bodies
    assert set(where[6]) == {
        "the base", "bodies of 100 bytes", "bodies of 10 KB", "1 partition", "32 partitions",
        "2 processes", "DynamoDB Local", "1,000,000 records", "the write path",
    }  # fmt: skip
    assert where[7] == ["Zipf", "one hot user", "the write path"]
    assert where[8][:2] == ["the endpoint", "the endpoint, chatty"]


def test_a_target_of_cost_is_compared_with_its_own_linger() -> None:
    """And its own way to read (G7)."""
    rows = [
        {"body": 300, "retention_days": 30.0, "linger_s": at, "ACKNOWLEDGE": {"all": cost},
         "KEEP_RECEIPT": {"all": cost / 2}}
        for at, cost in ((0.0, 0.9), (15.0, 0.4))
    ]  # fmt: skip
    rivals = [{"body": 300, "retention_days": 30.0, "DELETE": {"all": 2.0}}]
    found = {"units": {"day": rows, "rivals": rivals}}

    assert list(targets.day_cost(Way.ACKNOWLEDGE, 15.0)(found)) == [Figure("linger 15 s", 0.2)]
    assert list(targets.day_cost(Way.KEEP_RECEIPT, 0.0)(found)) == [Figure("linger 0 s", 0.225)]
