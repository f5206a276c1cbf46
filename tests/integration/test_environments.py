"""What is wrong with an environment, and every command in it: one line, and a row of the page.

A row is tried with one command in test_errors.py; the same cause takes another way, and may have
another line, in another one.
"""

import re
from pathlib import Path

import pytest

from tests.deployment import Deployment
from tests.operations_page import error_rows

#: One of each way to the services: `ack` goes as `fetch` does, moves go as `progress` does.
COMMANDS = [("init", "--check"), ("fetch", "bob"), ("progress",), ("worker",), ("send", "bob", "x")]
#: Commands of the read module: they do not ask Kafka.
READING = {"fetch"}
PROFILES = """
[profile sso]
sso_session = my
sso_account_id = 123456789012
sso_role_name = dev
region = us-east-1
[sso-session my]
sso_region = us-east-1
sso_start_url = https://sso.invalid/start
[profile nobinary]
credential_process = /no/such/binary
region = us-east-1
"""
#: Of each cause the variables, and those that are taken away.
AWS: dict[str, dict[str, str | None]] = {
    "no region": {"AWS_DEFAULT_REGION": None},
    "no credentials": {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
    "half of the credentials": {"AWS_SECRET_ACCESS_KEY": None},
    "an SSO profile without a token": {"AWS_ACCESS_KEY_ID": None, "AWS_PROFILE": "sso"},
    "a process that is not there": {"AWS_ACCESS_KEY_ID": None, "AWS_PROFILE": "nobinary"},
    "a profile that is not there": {"AWS_PROFILE": "gone"},
    "an endpoint that is no address": {"AWS_ENDPOINT_URL_DYNAMODB": "nonsense"},
    "an endpoint without a port": {"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:99999"},
    "no bundle of certificates": {
        "AWS_ENDPOINT_URL_DYNAMODB": "https://127.0.0.1:1", "AWS_CA_BUNDLE": "/nowhere/ca.pem",
    },
    "credentials that are wrong": {"AWS_ACCESS_KEY_ID": "not-a-key"},
}  # fmt: skip
KAFKA: dict[str, dict[str, str | None]] = {
    "a port above 65535": {"POSTE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:99999"},
    "an empty file name": {"POSTE_KAFKA__SSL_CAFILE": ""},
    "SASL that is not spoken": {
        "POSTE_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "POSTE_KAFKA__SASL_PLAIN_USERNAME": "bob", "POSTE_KAFKA__SASL_PLAIN_PASSWORD": "secret",
    },
    "TLS to a plaintext port": {"POSTE_KAFKA__SECURITY_PROTOCOL": "SSL"},
}  # fmt: skip


def _explained(line: str) -> bool:
    return any(re.fullmatch(row.pattern(), line) for row in error_rows().values())


@pytest.mark.parametrize("cause", [*AWS, *KAFKA])
async def test_an_environment_is_one_line_for_every_command(
    cause: str, deployment: Deployment, tmp_path: Path
) -> None:
    """Without a traceback, with the page's words, whichever command meets it."""
    deployment.init()
    (tmp_path / "aws").write_text(PROFILES)
    changes = {**AWS, **KAFKA}[cause]
    environment: dict[str, str] = {
        **deployment.environment,
        "AWS_CONFIG_FILE": str(tmp_path / "aws"),
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(tmp_path),
    }
    for name, value in changes.items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    if "AWS_PROFILE" in changes and changes.get("AWS_ACCESS_KEY_ID", "") is None:
        environment.pop("AWS_SECRET_ACCESS_KEY", None)
    deployment.environment = environment

    for command in COMMANDS:
        if cause in AWS and command[0] == "send":
            continue
        if cause in KAFKA and cause not in {"a port above 65535", "an empty file name"}:
            if command[0] in READING:
                continue
            if command[0] == "worker" and cause == "TLS to a plaintext port":
                continue  # it waits, saying so: a listener that is being changed closes, too
        if command[0] == "worker":
            child = deployment.worker()
            status, said = await deployment.exited(child), child.output()
            lines = [line for line in said.splitlines() if line]
            assert any(
                re.search(row.pattern(), line) for line in lines for row in error_rows().values()
            ), f"{command}: {said}"
        else:
            done = deployment.poste(*command, check=False)
            status, said = done.returncode, done.stderr
            assert said.count("\n") == 1, f"{command}: {said}"
            assert _explained(said.removeprefix("poste: ").rstrip("\n")), f"{command}: {said}"
        assert "Traceback" not in said, f"{command}: {said}"
        assert status in {1, 2}, f"{command}: {said}"
