"""Kafka and DynamoDB with Python alone: Java from PyPI, and jars by hash."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from local import DYNAMODB_ADDRESS, KAFKA_ADDRESS
from local.choose import FORCED
from local.fetch import MIRROR, read_lock
from local.java import Java, java_from_pypi, java_with_maven, lock
from local.lock_jars import resolve_jars
from tests.checkout import without_cache

#: Seconds of a start with an empty cache, downloads of 150 MB included; 45 measured.
STARTED_S_MAX = 500.0
#: Starts both, uses both, and prints what their processes run and said.
SCRIPT = """
import boto3
from local import start_services
from poste_restante.table import TABLE_SCHEMA
with start_services() as services:
    services.tool("org.apache.kafka.tools.TopicCommand", "--create", "--topic", "made")
    assert "made" in services.tool("org.apache.kafka.tools.TopicCommand", "--list")
    client = boto3.client(
        "dynamodb", endpoint_url=services.endpoint, region_name="us-east-1",
        aws_access_key_id="local", aws_secret_access_key="local",
    )
    client.create_table(TableName="made", **TABLE_SCHEMA)
    assert client.list_tables()["TableNames"] == ["made"]
    for service in (services.kafka, services.dynamodb):
        print(service.command[0])
        print(service.tail())
"""


@pytest.mark.timeout(STARTED_S_MAX + 60)
def test_python_alone_starts_kafka_and_dynamodb(tmp_path: Path) -> None:
    """Where neither Docker nor Java nor Maven is found, and nothing was brought before."""
    checkout = without_cache(tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    away = {KAFKA_ADDRESS, DYNAMODB_ADDRESS, FORCED, "JAVA_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in away}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=checkout, env={**kept, "PATH": str(programs)},
        capture_output=True, text=True, check=False, timeout=STARTED_S_MAX,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "Kafka and DynamoDB run as JVM children, by a Java runtime from PyPI: no address is given,"
        " no Docker daemon answers, there is no Java 17 with Maven\n"
    )
    assert done.stdout.count(f"{checkout}/.cache/java/") == 2
    assert "WARNING" not in done.stdout


@pytest.mark.parametrize("service", ["kafka", "dynamodb"])
def test_the_lock_holds_what_maven_resolves(service: str) -> None:
    """Every jar, with its hash: both Javas run the same program."""
    if not java_with_maven():
        pytest.skip("needs Maven")
    assert {*resolve_jars(service)} == {*read_lock(lock(service))}


# ---- a repository that gives nothing, or something else


@pytest.fixture(scope="module")
def java() -> Java:
    return java_from_pypi()


class Answer(BaseHTTPRequestHandler):
    """The same answer to everything."""

    def __init__(self, status: int, *arguments: object) -> None:
        self.status = status
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"other")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def repository(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a Maven repository that answers with this status."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Answer, request.param)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv(MIRROR, address)
        yield address
        server.shutdown()


@pytest.mark.parametrize(
    ("repository", "words"),
    [(200, ["has SHA-256 ", " is pinned"]), (404, ["does not give ", "404 Client Error"])],
    indirect=["repository"],
)
def test_a_jar_that_is_missing_or_not_the_pinned_one_is_one_line(
    java: Java, tmp_path: Path, repository: str, words: list[str]
) -> None:
    """The repository that the variable names is asked; what it gives is not trusted."""
    with pytest.raises(RuntimeError) as caught:
        java.bring("kafka", tmp_path / "jars")

    (line,) = str(caught.value).splitlines()
    for word in (repository, *words):
        assert word in line


def test_a_repository_that_is_away_is_one_line(
    java: Java, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, "http://127.0.0.1:1")
    with pytest.raises(RuntimeError) as caught:
        java.bring("kafka", tmp_path / "jars")

    (line,) = str(caught.value).splitlines()
    assert "http://127.0.0.1:1 does not give " in line
