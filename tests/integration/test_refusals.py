"""Refused is refused, unanswered is unanswered: commands and workers at brokers that say no."""

import re
from pathlib import Path

import pytest

from local import new_kafka
from tests.deployment import Deployment
from tests.integration.conftest import SecuredDeployment
from tests.operations_page import error_rows


def _explained(said: str, row: str) -> None:
    """Fails unless it is one line, that of the page."""
    assert re.fullmatch(f"poste: {error_rows()[row].pattern()}\n", said), said


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"POSTE_KAFKA__SASL_PLAIN_PASSWORD": "wrong"}, "SaslAuthenticationFailed"),
        ({"POSTE_KAFKA__SASL_MECHANISM": "SCRAM-SHA-256"}, "UnsupportedSaslMechanismError"),
    ],
)
async def test_a_user_that_is_refused_ends_a_command_and_a_worker(
    secured_deployment: SecuredDeployment, change: dict[str, str], name: str
) -> None:
    """It is no broker that is away: a worker that waited would wait for ever."""
    deployment = secured_deployment
    deployment.init()
    env = {**deployment.as_user, **change}
    done = deployment.poste("progress", check=False, **env)
    worker = deployment.worker(**env)
    status = await deployment.exited(worker)

    _explained(done.stderr, "Kafka at … refuses: …")
    assert name in done.stderr
    assert "kafka.sasl_" in done.stderr
    assert (done.returncode, status) == (1, 1)
    assert name in deployment.log()
    assert "Traceback" not in deployment.log()


async def test_no_sasl_to_a_listener_that_wants_it_names_the_protocol(
    secured_deployment: SecuredDeployment,
) -> None:
    """The broker closes the connection without a word."""
    deployment = secured_deployment
    plain = {**deployment.as_user, "POSTE_KAFKA__SECURITY_PROTOCOL": "PLAINTEXT"}
    done = deployment.poste("progress", check=False, **plain)

    _explained(done.stderr, "Kafka at … closes the connection (…): does it speak …")
    assert done.returncode == 1


async def test_sending_without_permission_says_so(secured_deployment: SecuredDeployment) -> None:
    """And not the repr of an exception."""
    deployment = secured_deployment
    deployment.init()
    deployment.allow(["DESCRIBE"], "TOPIC", deployment.topic)
    done = deployment.poste("send", "bob", "hello", check=False, **deployment.as_user)

    _explained(done.stderr, "not sent: …")
    assert "refuses: " in done.stderr
    assert "AuthorizationFailed" in done.stderr
    assert done.returncode == 1


async def test_a_configuration_that_may_not_be_read_is_not_vouched_for(
    secured_deployment: SecuredDeployment,
) -> None:
    """A compacted topic was "ok" without DescribeConfigs (G1)."""
    deployment = secured_deployment
    deployment.init()
    deployment.admin.set_topic_config(deployment.topic, "cleanup.policy", "compact")
    for topic in (deployment.topic, f"{deployment.topic}.dead-letters"):
        deployment.allow(["DESCRIBE"], "TOPIC", topic)
    checked = deployment.poste("init", "--check", check=False, **deployment.as_user)
    made = deployment.poste("init", check=False, **deployment.as_user)

    for done, status in ((checked, 1), (made, 0)):
        assert done.returncode == status
        assert done.stdout.count("unknown configuration of ") == 2
        assert "TopicAuthorizationFailedError" in done.stdout
    _explained(checked.stderr, "something could not be verified: …")


async def test_an_advertised_address_that_does_not_resolve_is_named(
    deployment: Deployment, tmp_path: Path
) -> None:
    """The first connection works, the next one goes where nobody is; a worker waits, saying so."""
    kafka = new_kafka(
        tmp_path, properties={"advertised.listeners": "PLAINTEXT://kafka.invalid:9092"}
    )
    kafka.start()
    try:
        env = {"POSTE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap}
        deployment.init()
        done = deployment.poste("progress", check=False, **env)
        sent = deployment.poste("send", "bob", "hello", check=False, **env)
        deployment.worker(**env)
        await deployment.said(
            "names broker 1 at kafka.invalid:9092, which cannot be reached from here"
        )
    finally:
        kafka.stop()

    for each in (done, sent):
        row = "Kafka at … names broker …, which cannot be reached from here (…): …"
        _explained(each.stderr, row)
        assert "broker 1 at kafka.invalid:9092" in each.stderr
        assert "the name does not resolve" in each.stderr
