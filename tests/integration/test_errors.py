"""Every line of the tables of errors in docs/operations.md, from the real program.

The cases stand in the order of the page; `Done` is what `poste` printed, or a worker's log.
"""

import base64
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import aioboto3
import pytest

from poste_restante.position import BundleKey
from poste_restante.table import TABLE_SCHEMA
from tests import certificates
from tests.deployment import Deployment
from tests.new_protocol import new_protocol_member
from tests.operations_page import error_rows
from tests.records import MadeRecord
from worker.dead_letters import DeadLetter, dead_letter_headers
from worker.errors import DeadLetterReason

ROWS = error_rows()
#: Lines that need a moment no test can choose; where they are tested instead.
ELSEWHERE = {
    **{
        line: "tests/integration/test_group.py, tests/unit/test_group_monitor.py"
        for line, row in ROWS.items()
        if row.section == "The consumer group"
    },
    "Kafka at … did not answer within 10 s: …": "tests/unit/test_kafka_admin.py",
    "something could not be verified: …": "tests/integration/test_refusals.py",
    "Kafka at … cannot do that now: …": "tests/unit/test_kafka_errors.py",
    "Kafka at … names broker …, which cannot be reached from here (…): …":
        "tests/integration/test_refusals.py",
    "cannot write the output: …": "tests/unit/test_cli.py",
    "tracing needs OpenTelemetry: …": "tests/unit/test_tracing.py",
    "…: cannot read …: …": "tests/unit/test_sasl.py",
    "kafka.sasl_oauth_token_provider: cannot use …: …": "tests/unit/test_sasl.py",
    "cannot authenticate to Kafka: …": "tests/integration/test_security.py",
    "not proven complete within … s: `poste progress` shows which partition is behind":
        "tests/integration/test_freshness.py",
    "not sent: …": "tests/integration/test_refusals.py",
    "the topic … was created but is not visible yet: …": "tests/unit/test_messages.py",
    "the topic … has … partitions, more than the … that a position can hold: …":
        "tests/unit/test_provisioning.py",
    "the store throttles: …": "tests/contract/test_reader_failures.py",
    "the store has a fault: …": "tests/contract/test_reader_failures.py",
    "malformed response from the store…": "tests/contract/test_reader_failures.py",
    "more than … dead letters: replay them a part at a time, …": "tests/unit/test_replaying.py",
    "a text of more than … bytes is too large for Kafka": "tests/unit/test_cli.py",
    "devices are added all the time: run `poste purge` again when the user is offline":
        "tests/unit/test_purging.py",
    "the store throttles: not everything is deleted yet. …": "tests/unit/test_purging.py",
    "DynamoDB answers … without …: …": "tests/unit/test_dynamodb_store.py",
    "the table … is not active after … s: check its status": "tests/unit/test_provisioning.py",
    "the table record changed meanwhile: check `poste progress`, and try again":
        "tests/contract/test_progress.py",
    "the table serves the topic …, not …: …": "tests/unit/test_opening.py",
    "…: it was written by another version": "tests/contract/test_progress.py",
    "the mailbox's cursor cannot be read: …": "tests/contract/test_reader_failures.py",
    "the cursor of the device … cannot be read: …": "tests/contract/test_devices.py",
    "a receipt of version …, of an earlier poste-restante: fetch again: …":
        "tests/unit/test_receipt.py",
    "a receipt of version …, which this reader does not know: …": "tests/unit/test_receipt.py",
    "epoch … is the last one: …": "tests/unit/test_resume.py",
    "cannot serve /healthz and /readyz at … port …: …": "tests/unit/test_http_server.py",
    '…: kafka.start is "group", but the group\'s offset … is above the log\'s end …: …':
        "tests/unit/test_resume.py",
    "memory_mb is …, and the cgroup allows … MiB: …": "tests/unit/test_memory_limits.py",
    "…: offsets … to … were removed by retention before they were read; …":
        "tests/integration/test_log_changes.py",
}  # fmt: skip
#: Nobody listens there.
NOWHERE = "127.0.0.1:1"


@dataclass(frozen=True, slots=True)
class Done:
    """status: None: it goes on."""

    status: int | None
    said: str


Case = Callable[[Deployment], Awaitable[Done]]
CASES: dict[str, Case] = {}


def case(line: str) -> Callable[[Case], Case]:
    def register(made: Case) -> Case:
        assert line not in CASES
        CASES[line] = made
        return made

    return register


def poste(deployment: Deployment, *arguments: str, **env: str) -> Done:
    done = deployment.poste(*arguments, check=False, **env)
    return Done(done.returncode, done.stderr)


@pytest.mark.parametrize("line", ROWS)
async def test_an_error_is_one_line_that_the_page_explains(
    line: str, deployment: Deployment
) -> None:
    """The program says what the page says, in one line, with the page's exit status, and without
    a traceback; no row is untried (an operator can act)."""
    if line in ELSEWHERE:
        return
    row = ROWS[line]
    done = await CASES[line](deployment)

    assert "Traceback" not in done.said
    if row.line in WORKERS:
        assert re.search(row.pattern(), done.said), done.said
    else:
        assert re.fullmatch(f"poste: {row.pattern()}\n", done.said), done.said
    assert done.status == row.status


def test_no_case_is_without_a_row() -> None:
    """What is tried is on the page."""
    assert set(CASES) | set(ELSEWHERE) == set(ROWS)


# ---- configuration


def _with_file(deployment: Deployment, text: str) -> Done:
    path = deployment.directory / "poste.toml"
    path.write_text(text)
    return poste(deployment, "--config", str(path), "config", "check")


#: Topics are made; what is wrong is the table.
INIT = ("init", "--partitions", "1", "--replication-factor", "1")


@case("unknown key … in …; …")
async def _(deployment: Deployment) -> Done:
    return _with_file(deployment, '[kafka]\ntopik = "x"\n')


@case("unknown variable … in the environment; …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "progress", POSTE_KAFKA__TOPIK="x")


@case("cannot read …: …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "progress", POSTE_CONFIG="/nowhere/poste.toml")


@case("… is not TOML: …")
async def _(deployment: Deployment) -> Done:
    return _with_file(deployment, "kafka: topic\n")


@case("kafka.start: …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "worker", POSTE_KAFKA__START="yesterday")


@case("receipt_keys: not a JSON list, such as …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "fetch", "bob", POSTE_RECEIPT_KEYS="secret")


@case("kafka.bootstrap_servers: … has no port from 1 to 65535 (…)")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "progress", POSTE_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:99999")


@case("kafka.ssl_cafile: is empty: …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "worker", POSTE_KAFKA__SSL_CAFILE="")


@case("kafka.ssl_…: cannot use …: …")
async def _(deployment: Deployment) -> Done:
    return poste(
        deployment, "config", "check",
        POSTE_KAFKA__SECURITY_PROTOCOL="SSL", POSTE_KAFKA__SSL_CAFILE="/nowhere/ca.pem",
    )  # fmt: skip


@case("memory_mb is … MiB, and a worker needs 128: give it more memory")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "worker", POSTE_MEMORY_MB="64")


@case("kafka.ssl_password …: … is encrypted")
async def _(deployment: Deployment) -> Done:
    return poste(
        deployment, "config", "check",
        POSTE_KAFKA__SECURITY_PROTOCOL="SSL",
        POSTE_KAFKA__SSL_CERTFILE=str(certificates.LOCALHOST),
        POSTE_KAFKA__SSL_KEYFILE=str(certificates.LOCALHOST_ENCRYPTED_KEY),
    )  # fmt: skip


# ---- Kafka


@case("no Kafka broker answers at … (…): is it running, …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "progress", POSTE_KAFKA__BOOTSTRAP_SERVERS=NOWHERE)


@case("Kafka at … closes the connection (…): does it speak …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "init", POSTE_KAFKA__SECURITY_PROTOCOL="SSL")


@case("Kafka at … refuses: …")
async def _(deployment: Deployment) -> Done:
    return poste(
        deployment, "send", "bob", "hello",
        POSTE_KAFKA__SECURITY_PROTOCOL="SASL_PLAINTEXT",
        POSTE_KAFKA__SASL_PLAIN_USERNAME="bob", POSTE_KAFKA__SASL_PLAIN_PASSWORD="secret",
    )  # fmt: skip


@case("there is no topic … at the broker, or no permission to see it: …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "send", "bob", "hello")


@case("the broker refuses to create the topic …: …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "init", "--partitions", "1", "--replication-factor", "99")


@case("there is no topic …: create it with …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "init", "--partitions", "3")


@case("the topic … has cleanup.policy=…: …")
async def _(deployment: Deployment) -> Done:
    deployment.create_topic(1, cleanup_policy="compact")
    return poste(deployment, "init")


@case("the dead-letter topic … accepts … bytes, …")
async def _(deployment: Deployment) -> Done:
    deployment.create_topic(1)
    dead = replace(deployment, topic=f"{deployment.topic}.dead-letters")
    dead.create_topic(1, retention_ms="-1")
    return poste(deployment, "init")


@case("the dead-letter topic … has retention.ms=…: …")
async def _(deployment: Deployment) -> Done:
    deployment.create_topic(1)
    dead = replace(deployment, topic=f"{deployment.topic}.dead-letters")
    dead.create_topic(1, retention_ms="1000", max_message_bytes="2000000")
    return poste(deployment, "init")


@case("a text of … bytes is too large for Kafka")
async def _(deployment: Deployment) -> Done:
    deployment.create_topic(1, max_message_bytes="1000")
    return poste(deployment, "send", "bob", "x" * 2_000)


# ---- dead letters by command


@case("the topic … has no record at …: partition … holds … to …")
async def _(deployment: Deployment) -> Done:
    deployment.init()
    await _foreign(deployment)
    return poste(deployment, "dead-letters", "show", "0/9")


@case("the topic … has no record at …: partition … is empty")
async def _(deployment: Deployment) -> Done:
    deployment.init()
    return poste(deployment, "dead-letters", "replay", "0/9")


@case("the record at … of … is no dead letter of … and is not sent again: …")
async def _(deployment: Deployment) -> Done:
    deployment.init()
    await _foreign(deployment)
    return poste(deployment, "dead-letters", "replay", "0/0", "--yes")


async def _foreign(deployment: Deployment) -> None:
    """A record that no worker wrote, in the dead-letter topic."""
    record = {"key": "bob", "value": b"x", "partition": 0}
    await deployment.produce([record], topic=f"{deployment.topic}.dead-letters")


@case("the replay stopped at …: …")
async def _(deployment: Deployment) -> Done:
    deployment.create_topic(1, max_message_bytes="200")
    deployment.init()
    letter = DeadLetter(
        MadeRecord(topic=deployment.topic, partition=0), DeadLetterReason.NO_BODY, "null"
    )
    record = {"key": "bob", "value": b"x" * 500, "headers": dead_letter_headers(letter)}
    await deployment.produce([record], topic=f"{deployment.topic}.dead-letters")
    return poste(deployment, "dead-letters", "replay", "--all", "--yes")


# ---- DynamoDB


def _without(deployment: Deployment, *names: str) -> Deployment:
    environment = {k: v for k, v in deployment.environment.items() if k not in names}
    return replace(deployment, environment={**environment, "AWS_CONFIG_FILE": "/dev/null",
                                       "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
                                       "AWS_EC2_METADATA_DISABLED": "true"})  # fmt: skip


@case("DynamoDB does not answer (…): …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "progress", AWS_ENDPOINT_URL_DYNAMODB=f"http://{NOWHERE}")


@case("no answer from the store: …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "fetch", "bob", AWS_ENDPOINT_URL_DYNAMODB=f"http://{NOWHERE}")


@case("cannot call DynamoDB: no AWS credentials: …")
async def _(deployment: Deployment) -> Done:
    return poste(_without(deployment, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "progress")


@case("cannot call DynamoDB: …")
async def _(deployment: Deployment) -> Done:
    return poste(
        deployment, "progress",
        AWS_CA_BUNDLE="/nowhere/ca.pem", AWS_ENDPOINT_URL_DYNAMODB=f"https://{NOWHERE}",
    )  # fmt: skip


@case("cannot use DynamoDB: …")
async def _(deployment: Deployment) -> Done:
    return poste(_without(deployment, "AWS_REGION", "AWS_DEFAULT_REGION"), "progress")


@case("cannot use the store: …")
async def _(deployment: Deployment) -> Done:
    return poste(_without(deployment, "AWS_REGION", "AWS_DEFAULT_REGION"), "fetch", "bob")


@case("cannot call the store: …")
async def _(deployment: Deployment) -> Done:
    return poste(_without(deployment, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "fetch", "bob")


@case("DynamoDB refuses …: …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "progress", AWS_ACCESS_KEY_ID="not-a-key")


@case("the store refuses: …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "fetch", "bob", AWS_ACCESS_KEY_ID="not-a-key")


# ---- the table


def _client() -> Any:
    return aioboto3.Session().client("dynamodb")


async def _foreign_table(deployment: Deployment) -> None:
    async with _client() as client:
        await client.create_table(
            TableName=deployment.table,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )


@case("something is missing: run `poste init`")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "init", "--check")


@case("the table does not exist (…): …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "progress")


@case("there is no table …: run `poste init`")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "fetch", "bob")


@case("the table … has no table record: run `poste init`")
async def _(deployment: Deployment) -> Done:
    async with _client() as client:
        await client.create_table(TableName=deployment.table, **TABLE_SCHEMA)
    return poste(deployment, "fetch", "bob")


@case("the table … serves the topic …, not …: one table per topic; …")
async def _(deployment: Deployment) -> Done:
    deployment.init()
    return poste(deployment, *INIT, POSTE_KAFKA__TOPIC=f"{deployment.topic}-2")


@case("the table … does not have the key schema user_id (S), position (S): …")
async def _(deployment: Deployment) -> Done:
    await _foreign_table(deployment)
    return poste(deployment, *INIT)


@case("the table has a different key schema (…): …")
async def _(deployment: Deployment) -> Done:
    await _foreign_table(deployment)
    return poste(deployment, "progress")


@case("the table … has a different key schema: …")
async def _(deployment: Deployment) -> Done:
    await _foreign_table(deployment)
    return poste(deployment, "fetch", "bob")


@case("the table … expires items by …, not by …: …")
async def _(deployment: Deployment) -> Done:
    async with _client() as client:
        await client.create_table(TableName=deployment.table, **TABLE_SCHEMA)
        await client.update_time_to_live(
            TableName=deployment.table,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"},
        )
    return poste(deployment, *INIT)


@case("cannot use the table …: …")
async def _(deployment: Deployment) -> Done:
    deployment.init()
    await _set(deployment, "!table", "v", "99")
    return poste(deployment, "progress")


async def _set(deployment: Deployment, user_id: str, attribute: str, number: str) -> None:
    """One numeric attribute of a system item."""
    async with _client() as client:
        await client.update_item(
            TableName=deployment.table,
            Key={"user_id": {"S": user_id}, "position": {"S": "!"}},
            UpdateExpression="SET #name = :number",
            ExpressionAttributeNames={"#name": attribute},
            ExpressionAttributeValues={":number": {"N": number}},
        )


# ---- mailboxes


async def _receipt(deployment: Deployment, **env: str) -> str:
    """A real receipt of bob's mailbox."""
    deployment.init()
    await _bundle(deployment)
    return str(
        json.loads(deployment.poste("fetch", "bob", "--json", check=True, **env).stdout)["receipt"]
    )


async def _bundle(deployment: Deployment, version: str = "1") -> None:
    """One bundle of bob's with one message, as a worker would write it."""
    message = {"M": {"o": {"N": "0"}, "b": {"B": b"hello"}}}
    async with _client() as client:
        await client.put_item(
            TableName=deployment.table,
            Item={
                "user_id": {"S": "bob"},
                "position": {"S": BundleKey(1, 0, last=0, first=0).encode()},
                "v": {"N": version},
                "messages": {"L": [message]},
            },
        )


@case("not a receipt…")
async def _(deployment: Deployment) -> Done:
    deployment.init()
    return poste(deployment, "ack", "bob", "AAAA")


@case("the receipt is damaged: …")
async def _(deployment: Deployment) -> Done:
    receipt = await _receipt(deployment)
    raw = bytearray(base64.urlsafe_b64decode(receipt + "=" * (-len(receipt) % 4)))
    raw[-1] ^= 1
    return poste(deployment, "ack", "bob", base64.urlsafe_b64encode(raw).decode().rstrip("="))


@case("the receipt belongs to another mailbox or table: …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "ack", "alice", await _receipt(deployment))


@case("the receipt belongs to another device, not to …: …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "ack", "bob", await _receipt(deployment), "--device", "phone")


KEYS = '["a key of the gateway"]'


@case("the receipt is not signed: …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "ack", "bob", await _receipt(deployment), POSTE_RECEIPT_KEYS=KEYS)


@case("the receipt is signed, and no receipt keys are set here: …")
async def _(deployment: Deployment) -> Done:
    return poste(deployment, "ack", "bob", await _receipt(deployment, POSTE_RECEIPT_KEYS=KEYS))


@case("the receipt's signature matches no receipt key: …")
async def _(deployment: Deployment) -> Done:
    receipt = await _receipt(deployment, POSTE_RECEIPT_KEYS=KEYS)
    return poste(deployment, "ack", "bob", receipt, POSTE_RECEIPT_KEYS='["another"]')


@case("cannot read the item at …: …: go past it with …")
async def _(deployment: Deployment) -> Done:
    deployment.init()
    await _bundle(deployment, version="99")
    return poste(deployment, "fetch", "bob")


# ---- deliberate moves


async def _begun(deployment: Deployment, records: int = 0) -> None:
    """A topic of one partition whose progress stands at its end, without a worker."""
    deployment.init(partitions=1)
    deployment.poste("epoch", "--yes")  # writes progress at the log's start
    await deployment.produce([("bob", b"%d" % n) for n in range(records)])
    if records:
        deployment.poste("skip", "--partition", "0", "--to", "end", "--yes")


@case("… workers of the group … are running: stop them, and try again")
async def _(deployment: Deployment) -> Done:
    deployment.init()
    deployment.worker()
    await deployment.said("assigned: partitions")
    return poste(deployment, "skip", "--partition", "0", "--to", "end", "--yes")


@case("consumers of the group … are running: stop them, and try again")
async def _(deployment: Deployment) -> Done:
    await _begun(deployment, records=5)
    with new_protocol_member(deployment):
        return poste(deployment, "rewind", "--to", "0", "--yes")


@case("the topic … has no partition …: it has 0 to …")
async def _(deployment: Deployment) -> Done:
    deployment.init()
    return poste(deployment, "skip", "--partition", "9", "--to", "end")


@case("partition … has no progress yet: …")
async def _(deployment: Deployment) -> Done:
    deployment.init()
    return poste(deployment, "skip", "--partition", "0", "--to", "end")


@case("…: … is below progress …; to go back use `poste rewind`")
async def _(deployment: Deployment) -> Done:
    await _begun(deployment, records=5)
    return poste(deployment, "skip", "--partition", "0", "--to", "3")


@case("…: … is above progress …; to go forward use `poste skip`")
async def _(deployment: Deployment) -> Done:
    await _begun(deployment, records=5)
    # As if a worker had read them: at an origin a rewind to 7 has been made already.
    await _set(deployment, f"!progress/{deployment.topic}/0", "origin", "0")
    return poste(deployment, "rewind", "--to", "7")


@case("…: cannot skip to …: the log ends at …")
async def _(deployment: Deployment) -> Done:
    await _begun(deployment, records=5)
    return poste(deployment, "skip", "--partition", "0", "--to", "6")


@case("the group … has no offset in partition …: give an offset or a time")
async def _(deployment: Deployment) -> Done:
    deployment.init()
    return poste(deployment, "epoch", "--to", "group")


@case("… partitions lag by more than … offsets, partition … by …")
async def _(deployment: Deployment) -> Done:
    deployment.init(partitions=1)
    await deployment.produce([("bob", b"hello")])
    return poste(deployment, "progress", "--max-lag", "0")


@case("… is neither an offset, nor `end` or `group`, nor a time such as …")
async def _(deployment: Deployment) -> Done:
    await _begun(deployment)
    return poste(deployment, "skip", "--partition", "0", "--to", "2026-01-31T00:00:00")


# ---- verifying


@case("… of … records are not where they have to be: …")
async def _(deployment: Deployment) -> Done:
    await _begun(deployment)
    await deployment.produce([("bob", b"hello")])
    await _set(deployment, f"!progress/{deployment.topic}/0", "next", "1")
    return poste(deployment, "verify")


@case("there is nothing to verify: retention has removed offsets … to … of partition …")
async def _(deployment: Deployment) -> Done:
    await _begun(deployment)
    await deployment.produce([("bob", b"hello")] * 3)
    await _set(deployment, f"!progress/{deployment.topic}/0", "next", "3")
    deployment.admin.delete_records(deployment.topic, 0, 3)
    return poste(deployment, "verify")


@case("partition … cannot be verified: its progress is of epoch …, …")
async def _(deployment: Deployment) -> Done:
    await _begun(deployment)
    await _set(deployment, f"!progress/{deployment.topic}/0", "epoch", "3")
    return poste(deployment, "verify")


# ---- the worker


async def _ended(deployment: Deployment, **env: str) -> Done:
    worker = deployment.worker(**env)
    return Done(await deployment.exited(worker), deployment.log())


async def _goes_on(deployment: Deployment, text: str, **env: str) -> Done:
    worker = deployment.worker(**env)
    await deployment.said(text)
    return Done(None if worker.alive else worker.wait(), deployment.log())


@case("waiting for Kafka at …: …")
async def _(deployment: Deployment) -> Done:
    deployment.init()
    return await _goes_on(deployment, "waiting for", POSTE_KAFKA__BOOTSTRAP_SERVERS=NOWHERE)


@case("waiting for DynamoDB: …")
async def _(deployment: Deployment) -> Done:
    return await _goes_on(deployment, "waiting for", AWS_ENDPOINT_URL_DYNAMODB=f"http://{NOWHERE}")


@case('…: kafka.start is "group", but the group has no offset there: …')
async def _(deployment: Deployment) -> Done:
    deployment.init()
    return await _ended(deployment, POSTE_KAFKA__START="group")


@case("…: the group's offset … is above progress … and is not followed: …")
async def _(deployment: Deployment) -> Done:
    await _begun(deployment)
    await deployment.produce([("bob", b"hello")])
    deployment.move_group("latest")
    return await _goes_on(deployment, "is not followed")


@case("…: progress … is above the log's end …: …")
async def _(deployment: Deployment) -> Done:
    await _begun(deployment)
    await _set(deployment, f"!progress/{deployment.topic}/0", "next", "7")
    return await _goes_on(deployment, "above the log's end")


@case("…: its progress is of epoch …, the table's epoch is …: …")
async def _(deployment: Deployment) -> Done:
    await _begun(deployment)
    await _set(deployment, f"!progress/{deployment.topic}/0", "epoch", "3")
    return await _goes_on(deployment, "the table's epoch")


@case("…: … records in a row cannot become messages, …")
async def _(deployment: Deployment) -> Done:
    await _begun(deployment)
    await deployment.produce([(None, b"hello")] * 3)
    return await _ended(deployment, POSTE_DEAD_LETTERS_CONSECUTIVE_MAX="2")


#: Lines of a worker's log; it may say more.
WORKERS = set(list(CASES)[list(CASES).index("waiting for Kafka at …: …") :])
