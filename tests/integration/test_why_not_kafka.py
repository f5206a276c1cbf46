"""The experiment runs, at sizes that take no time: what it counts is what is there."""

import os
from pathlib import Path

import pytest

from benchmarks.why_not_kafka import mailbox, routed, scan
from tests.conftest import Address


def test_a_scan_finds_its_users_messages_and_reads_all(kafka: Address, topic_name: str) -> None:
    """From the timestamp on, to the end: each of the user's messages, once."""
    sizes = [200, 20_000]
    scan.fill(kafka.bootstrap, sizes, topic_name)
    small, large = scan.measure(kafka.bootstrap, os.getpid(), sizes, topic_name)

    assert (small["records"], large["records"]) == (200, 20_000)
    assert small["found"] == large["found"] == scan.MISSED
    assert large["bytes"] > small["bytes"] > 200 * scan.BODY_BYTES / 2


def test_a_look_up_comes_to_the_worker_that_has_it(
    kafka: Address, unique: str, tmp_path: Path
) -> None:
    """Of two of one Faust app, whichever is asked: what is timed is an answer."""
    local, forwarded = routed.measure(kafka.bootstrap, tmp_path, name=unique, lookups=20)

    assert (local["way"], forwarded["way"]) == ("local", "forwarded")
    assert local["lookups"] == forwarded["lookups"] == 20
    assert min(local["p50_s"], forwarded["p50_s"]) > 0


@pytest.mark.usefixtures("dynamodb")
async def test_a_mailbox_is_two_queries_beside_others(table_name: str) -> None:
    """Ten times the messages in the table change neither units nor bytes (G7)."""
    small, large = await mailbox.measure([100, 1_000], table_name)

    assert (small["messages"], large["messages"]) == (100, 1_000)
    assert small["queries"] == large["queries"] == 2  # the first one is short
    assert (small["read_units"], small["bytes"]) == (large["read_units"], large["bytes"])
    assert small["bytes"] > scan.MISSED * scan.BODY_BYTES
