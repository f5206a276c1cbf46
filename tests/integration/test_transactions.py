"""A partition that a dead transactional producer holds back, and the way out that is named."""

import json
import re
import sys
from pathlib import Path

from tests.health import ask_health
from tests.scene import Scene
from tests.services.child import Child
from tests.services.ready import free_ports

PRODUCER = Path(__file__).with_name("open_transaction.py")
_TRANSACTIONS = "org.apache.kafka.tools.TransactionsCommand"


async def killed_in_a_transaction(scene: Scene) -> None:
    """A producer sends one record to partition 0 and is killed before it commits."""
    producer = Child(
        [sys.executable, str(PRODUCER), scene.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"],
         scene.topic, "0"],
        log=scene.directory / "producer.log", env=scene.environment,
    )  # fmt: skip
    producer.start()
    await scene.until(lambda: "is open" in producer.output(), "the transaction is open")
    producer.kill()


def command(scene: Scene, verb: str) -> list[str]:
    """The arguments of `kafka-transactions.sh` that the worker's log names, but for the brokers,
    which the test's tool adds as it reaches them."""
    brokers = scene.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"]
    found = re.search(
        rf"`kafka-transactions\.sh --bootstrap-server {brokers} ({verb} [^`]*)`", scene.log()
    )
    assert found is not None, scene.log()[-3000:]
    return found[1].split()


async def test_a_dead_producers_transaction_is_seen_everywhere_and_ends_as_the_log_says(
    scene: Scene,
) -> None:
    """50 records wait behind one of a transaction whose producer was killed. Lag counts them, the
    log, `/readyz` and `poste progress` name the transaction, the worker stays ready (a restart does
    not help), and the command of the log line ends it: all 50 are delivered (G1, G8)."""
    (port,) = free_ports(1)
    scene.init(partitions=1)
    await scene.produce([("bob", b"0")])
    limits = {"POSTE_TRANSACTION_WARN_S": "3", "POSTE_STALLED_S": "10.5"}
    worker = scene.worker(POSTE_HTTP__PORT=str(port), **limits)
    await scene.drained()
    await killed_in_a_transaction(scene)
    await scene.produce([("bob", b"%d" % n) for n in range(1, 51)])

    (standing,) = scene.progress()
    ends = {name: standing[name] for name in ("next", "log_end", "stable_end", "lag")}
    assert ends == {"next": 1, "log_end": 52, "stable_end": 1, "lag": 51}
    shown = scene.poste("progress").stdout
    assert "partition 0: an open transaction holds back 51 offsets from 1 on" in shown
    assert "--start-offset 1`" in shown

    await scene.said("an open transaction has held back its 51 offsets from 1 on for")
    status, body = await ask_health(f"http://127.0.0.1:{port}/readyz")
    assert (status, body["ready"]) == (200, True)
    (note,) = body["notes"]
    assert (note["kind"], note["partition"]) == ("open_transaction", 0)

    described = scene.tool(_TRANSACTIONS, *command(scene, "describe-producers"))
    assert "CurrentTransactionStartOffset" in described
    scene.tool(_TRANSACTIONS, *command(scene, "abort"))
    await scene.said("partition 0: the transaction that held it back has ended")
    await scene.until(lambda: scene.progress()[0]["next"] == 52, "all that was held back is read")
    assert await scene.bodies("bob") == [b"%d" % n for n in range(51)]
    status, body = await ask_health(f"http://127.0.0.1:{port}/readyz")
    assert (status, body["notes"]) == (200, [])
    assert worker.alive
    assert scene.progress()[0]["lag"] == 1  # the marker, which no record ever reaches


async def test_a_skip_to_the_end_leaves_a_transactions_records_to_be_delivered(
    scene: Scene,
) -> None:
    """What is held back was not there to be left out: it is delivered when it can be read. By its
    offset it can be left out on purpose, and the partition opens there (G1, G2)."""
    scene.init(partitions=1)
    await scene.produce([("bob", b"0"), ("bob", b"1")])
    first = scene.worker()
    await scene.drained()
    first.stop()
    await killed_in_a_transaction(scene)
    await scene.produce([("bob", b"2")])

    scene.poste("skip", "--partition", "0", "--to", "end", "--yes")
    assert scene.progress()[0]["next"] == 2
    done = scene.poste("skip", "--partition", "0", "--to", "5", "--yes", check=False)
    assert "the log ends at 4" in done.stderr
    scene.poste("skip", "--partition", "0", "--to", "4", "--yes")

    second = scene.worker()
    await scene.until(
        lambda: "partition 0: reading from offset 4" in second.output(), "the partition is opened"
    )
    scene.tool(
        _TRANSACTIONS, "abort", "--topic", scene.topic, "--partition", "0", "--start-offset", "2"
    )
    await scene.produce([("bob", b"3")])
    await scene.drained()
    assert await scene.bodies("bob") == [b"0", b"1", b"3"]
    assert json.loads(scene.poste("progress", "--json").stdout)["partitions"][0]["lag"] == 0
