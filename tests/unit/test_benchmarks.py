"""The benchmarks' page is what their JSON says; no instrument reports what did not happen."""

import json
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from benchmarks import contenders, report, targets
from benchmarks.__main__ import PARTS, run
from benchmarks.contenders import BASE, SCENARIOS, Run, require_bounded, require_delivery
from benchmarks.endpoint import Recorder, serving
from benchmarks.loads import body
from benchmarks.report import Found, Table
from benchmarks.sending import Load, percentile, schedule
from benchmarks.targets import Target
from poste_restante.table import TableRecord

TEXT = """The page.
<!-- table: speed -->
<!-- end -->
<!-- table: post_machine -->
<!-- end -->
"""


class Post:
    """A part that measures nothing."""

    SOFTWARE = ("aiokafka",)

    def __init__(self, letters: int | None = 7) -> None:
        self.letters = letters

    def measure(self, *, small: bool) -> Found:
        if self.letters is None:
            raise RuntimeError("the post office is closed")
        letters = 1 if small else self.letters
        return Found({"speed": Table(["a day"], [[f"{letters}"]])}, {"letters/here": letters})


@pytest.fixture
def place(tmp_path: Path) -> dict[str, Any]:
    page = tmp_path / "README.md"
    page.write_text(TEXT)
    return {"page": page, "results": tmp_path}


def test_page_is_made_from_the_json() -> None:
    """All its tables: no figure is invented, none is old; and every table is on the page."""
    text = report.PAGE.read_text()

    assert report.written(text, PARTS, targets=targets.table) == text
    for part in PARTS:
        for name in [*report.read(part)["tables"], f"{part}_machine", "targets"]:
            assert text.count(f"<!-- table: {name} -->") == 1


def test_every_target_has_figures() -> None:
    """A group that a part no longer reports would be a target that nothing misses."""
    results = {name: report.read(name) for name in PARTS}
    for target in targets.TARGETS:
        for part, group in target.groups:
            assert report.figures(results[part], group)


def test_run_writes_json_and_page(place: dict[str, Any]) -> None:
    assert run(["post"], {"post": Post()}, small=False, **place) == []
    found = report.read("post", place["results"])
    assert found["figures"] == {"letters/here": 7}
    text = place["page"].read_text()
    assert "| 7 |" in text
    assert f"Commit {found['commit']}, {found['date']}" in text
    assert "Provisional" not in text

    run(["post"], {"post": Post()}, small=True, **place)
    assert "| 1 |" in place["page"].read_text()
    assert "**Provisional**" in place["page"].read_text()


def test_failed_part_keeps_its_figures_and_is_named(
    place: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run(["post"], {"post": Post()}, small=False, **place)

    assert run(["post"], {"post": Post(letters=None)}, small=False, **place) == ["post"]
    assert "post: the post office is closed\n" in capsys.readouterr().err
    assert report.read("post", place["results"])["figures"] == {"letters/here": 7}


def test_mark_without_a_table_is_an_error(place: dict[str, Any]) -> None:
    """A misspelt mark does not keep old figures."""
    place["page"].write_text(TEXT.replace("speed", "sped"))
    with pytest.raises(KeyError, match="sped"):
        run(["post"], {"post": Post()}, small=True, **place)


@pytest.mark.parametrize(
    ("value", "limit", "said"),
    [(0.3, 0.3, "0.30"), (0.3016, 0.3, "0.302"), (0.30000001, 0.3, "0.30000001"),
     (0.166, 1 / 6, "0.166"), (0.17, 1 / 6, "0.17"), (50.04, 50.0, "50.04"),
     (23.29, 50.0, "23.3")],
)  # fmt: skip
def test_figure_is_not_rounded_across_its_target(value: float, limit: float, said: str) -> None:
    assert targets.figure_of(value, limit) == said


def test_target_is_met_by_at_most_its_limit() -> None:
    results = {"post": {"figures": {"speed/here": 0.5, "speed/there": 0.5000001, "other/x": 9.0}}}
    *_, row = targets.table(results, [Target("half", 1 / 2, "1/2", [("post", "speed")])]).split(
        "\n"
    )[:-1]

    assert row == "| half | 1/2 | here **0.50** | there **0.5000001** |"


# ---- contenders: what is judged


def put(*numbers: int, bundled: bool) -> bytes:
    """A call that writes these messages: in one bundle, or in an item each."""
    bodies = [{"B": b64encode(body(n)).decode()} for n in numbers]
    items: list[dict[str, Any]] = [{"position": {"S": "1"}, "body": each} for each in bodies]
    if bundled:
        items = [{"messages": {"L": [{"M": {"o": {"N": "1"}, "b": each}} for each in bodies]}}]
    requests = [{"PutRequest": {"Item": item}} for item in items]
    return json.dumps({"RequestItems": {"mailboxes": requests}}).encode()


def test_message_that_is_written_twice_counts_once() -> None:
    """In bundles and in items; it is readable from its first write on, and a clear forgets it."""
    recorder = Recorder()
    recorder.add("BatchWriteItem", put(1, 2, bundled=True), at_ns=10)
    recorder.add("BatchWriteItem", put(2, 3, bundled=False), at_ns=20)

    again = Recorder.decode(recorder.encode())
    assert again == recorder
    assert recorder.readable_ns == {1: 10, 2: 10, 3: 20}
    counted = recorder.calls["BatchWriteItem"]
    assert (counted.calls, counted.items, counted.write_units) == (2, 3, 3)
    recorder.clear()
    assert recorder == Recorder()


@pytest.mark.parametrize("written", [999, 1_001])
def test_contender_that_did_not_write_what_it_committed_fails_the_run(written: int) -> None:
    with pytest.raises(RuntimeError, match=f"plain committed 1000 messages and wrote {written}"):
        require_delivery("plain", Recorder(readable_ns=dict.fromkeys(range(written), 1)), 1_000)
    require_delivery("plain", Recorder(readable_ns=dict.fromkeys(range(1_000), 1)), 1_000)


def prefetched(resident_mb: float) -> Run:
    return Run(cpu_s=1.0, resident_mb=resident_mb, recorded=Recorder())


def test_memory_that_grows_with_the_backlog_fails_the_run() -> None:
    """Bounded memory is a guarantee (G8)."""
    limit = contenders.RESIDENT_MB_MAX
    require_bounded(prefetched(limit), prefetched(limit))
    with pytest.raises(RuntimeError, match="301 MB: the limit is 300"):
        require_bounded(prefetched(limit + 1), prefetched(limit))
    require_bounded(prefetched(114), prefetched(100))
    with pytest.raises(RuntimeError, match="116 MB: the limit is 115"):
        require_bounded(prefetched(116), prefetched(100))


def test_scenario_differs_from_the_base_in_one_thing() -> None:
    """Else its figures could not be laid to it."""
    for scenario in SCENARIOS:
        same = replace(scenario, name=BASE.name, rounds=BASE.rounds)
        differs = [name for name in ("load", "records", "body_bytes", "partitions")
                   if getattr(same, name) != getattr(BASE, name)]  # fmt: skip
        assert len(differs) == (scenario is not BASE)


# ---- the endpoint, and the schedule of a load


async def test_endpoint_answers_at_once_and_keeps_progress() -> None:
    """A worker finds the table record there, and conditions hold; writes are stored if asked."""
    recorder = Recorder()
    key = {"user_id": {"S": "!table"}, "position": {"S": "!"}}
    async with (
        serving(recorder, topic="letters", partitions=3) as address,
        aiohttp.ClientSession() as session,
    ):

        async def call(operation: str, content: bytes) -> tuple[int, Any]:
            headers = {"X-Amz-Target": f"DynamoDB_20120810.{operation}"}
            async with session.post(address, data=content, headers=headers) as answer:
                return answer.status, json.loads(await answer.read())

        _, found = await call(
            "GetItem", json.dumps({"TableName": "mailboxes", "Key": key}).encode()
        )
        assert TableRecord.decode(found["Item"]).topic == "letters"
        refused = {"TableName": "mailboxes", "Item": found["Item"],
                   "ConditionExpression": "attribute_not_exists(user_id)"}  # fmt: skip
        status, error = await call("PutItem", json.dumps(refused).encode())
        assert (status, error["__type"]) == (400, "#ConditionalCheckFailedException")
        assert await call("BatchWriteItem", put(7, bundled=True)) == (200, {"UnprocessedItems": {}})

    assert {name: one.calls for name, one in recorder.calls.items()} == {
        "GetItem": 1, "PutItem": 1, "BatchWriteItem": 1,
    }  # fmt: skip
    assert list(recorder.readable_ns) == [7]


def test_schedule_made_again_is_the_same() -> None:
    """Else a wait would count from another moment than the producer's."""
    for chatty in (False, True):
        load = Load(0.5, 2_000, chatty=chatty)
        due = schedule(load)
        assert schedule(load) == due
        assert [at_s for at_s, _ in due] == [n / 2_000 for n in range(1_000)]
        assert (len({user for _, user in due}) < 500) == chatty


def test_percentile_of_too_few_is_not_reported() -> None:
    """Ten values lie above it, or it is one message's luck."""
    waits = [float(n) for n in range(1_000)]

    assert percentile(waits, 990) == pytest.approx(989, abs=1)
    assert percentile(waits, 999) is None
    assert percentile(waits[:999], 990) is None
