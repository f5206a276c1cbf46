"""A partition that a dead transactional producer holds back, and the way out that is named."""

import json
import re
import sys
from pathlib import Path

from local.ready import free_ports
from tests.deployment import Deployment
from tests.health import ask_health
from tests.preloaded import PreloadedChild

PRODUCER = Path(__file__).with_name("open_transaction.py")
_TRANSACTIONS = "org.apache.kafka.tools.TransactionsCommand"


async def killed_in_a_transaction(deployment: Deployment) -> None:
    """A producer sends one record to partition 0 and is killed before it commits."""
    producer = PreloadedChild(
        [sys.executable, str(PRODUCER), deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"],
         deployment.topic, "0"],
        log=deployment.directory / "producer.log", env=deployment.environment,
    )  # fmt: skip
    producer.start()
    await deployment.until(lambda: "is open" in producer.output(), "the transaction is open")
    producer.kill()


def command(deployment: Deployment, verb: str) -> list[str]:
    """The arguments of `kafka-transactions.sh` that the worker's log names, but for the brokers,
    which the test's tool adds as it reaches them."""
    brokers = deployment.environment["POSTE_KAFKA__BOOTSTRAP_SERVERS"]
    found = re.search(
        rf"`kafka-transactions\.sh --bootstrap-server {brokers} ({verb} [^`]*)`", deployment.log()
    )
    assert found is not None, deployment.log()[-3000:]
    return found[1].split()


async def test_a_dead_producers_transaction_is_seen_everywhere_and_ends_as_the_log_says(
    deployment: Deployment,
) -> None:
    """50 records wait behind one of a transaction whose producer was killed. Lag counts them, the
    log, `/readyz` and `poste progress` name the transaction, the worker stays ready (a restart does
    not help), and the command of the log line ends it: all 50 are delivered (G1, G8)."""
    (port,) = free_ports(1)
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"0")])
    limits = {"POSTE_TRANSACTION_WARN_S": "3", "POSTE_STALLED_S": "10.5"}
    worker = deployment.worker(POSTE_HTTP__PORT=str(port), **limits)
    await deployment.drained()
    await killed_in_a_transaction(deployment)
    await deployment.produce([("bob", b"%d" % n) for n in range(1, 51)])

    (standing,) = deployment.progress()
    ends = {name: standing[name] for name in ("next", "log_end", "stable_end", "lag")}
    assert ends == {"next": 1, "log_end": 52, "stable_end": 1, "lag": 51}
    shown = deployment.poste("progress").stdout
    assert "partition 0: an open transaction holds back 51 offsets from 1 on" in shown
    assert "--start-offset 1`" in shown

    await deployment.said("an open transaction has held back its 51 offsets from 1 on for")
    status, body = await ask_health(f"http://127.0.0.1:{port}/readyz")
    assert (status, body["ready"]) == (200, True)
    (note,) = body["notes"]
    assert (note["kind"], note["partition"]) == ("open_transaction", 0)

    described = deployment.kafka_tool(_TRANSACTIONS, *command(deployment, "describe-producers"))
    assert "CurrentTransactionStartOffset" in described
    deployment.kafka_tool(_TRANSACTIONS, *command(deployment, "abort"))
    await deployment.said("partition 0: the transaction that held it back has ended")
    await deployment.until(
        lambda: deployment.progress()[0]["next"] == 52, "all that was held back is read"
    )
    assert await deployment.bodies("bob") == [b"%d" % n for n in range(51)]
    status, body = await ask_health(f"http://127.0.0.1:{port}/readyz")
    assert (status, body["notes"]) == (200, [])
    assert worker.alive
    assert deployment.progress()[0]["lag"] == 1  # the marker, which no record ever reaches


async def test_a_skip_to_the_end_leaves_a_transactions_records_to_be_delivered(
    deployment: Deployment,
) -> None:
    """What is held back was not there to be left out: it is delivered when it can be read. By its
    offset it can be left out on purpose, and the partition opens there (G1, G2)."""
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"0"), ("bob", b"1")])
    first = deployment.worker()
    await deployment.drained()
    first.stop()
    await killed_in_a_transaction(deployment)
    await deployment.produce([("bob", b"2")])

    deployment.poste("skip", "--partition", "0", "--to", "end", "--yes")
    assert deployment.progress()[0]["next"] == 2
    done = deployment.poste("skip", "--partition", "0", "--to", "5", "--yes", check=False)
    assert "the log ends at 4" in done.stderr
    deployment.poste("skip", "--partition", "0", "--to", "4", "--yes")

    second = deployment.worker()
    await deployment.until(
        lambda: "partition 0: reading from offset 4" in second.output(), "the partition is opened"
    )
    deployment.kafka_tool(
        _TRANSACTIONS,
        "abort",
        "--topic",
        deployment.topic,
        "--partition",
        "0",
        "--start-offset",
        "2",
    )
    await deployment.produce([("bob", b"3")])
    await deployment.drained()
    assert await deployment.bodies("bob") == [b"0", b"1", b"3"]
    assert json.loads(deployment.poste("progress", "--json").stdout)["partitions"][0]["lag"] == 0
