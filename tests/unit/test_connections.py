"""Options for connections, on every command."""

import os
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from worker.cli import poste, program
from worker.config_file import load_settings
from worker.settings import Settings

OPTIONS = {"--bootstrap-server", "--table", "--region", "--endpoint-url", "--profile"}


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield from commands(command)
        else:
            yield command


def test_every_command_has_them() -> None:
    """Kafka and AWS people type them anywhere."""
    found = list(commands(poste))

    assert len(found) > 15
    for command in found:
        assert {option for p in command.params for option in p.opts} >= OPTIONS, command.name
    help_ = CliRunner().invoke(poste, ["dead-letters", "list", "--help"]).output
    assert help_.index("Options:") < help_.index("--reason") < help_.index("Connections:")
    assert help_.index("Connections:") < help_.index("--bootstrap-server")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that commands are run with; the environment is the test's own."""
    monkeypatch.setattr(os, "environ", {"PATH": "/bin"})
    found: list[Settings] = []

    def noted(*arguments: object) -> Settings:
        found.append(load_settings(*arguments))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(program, "load_settings", noted)
    return found


def run(*arguments: str) -> None:
    poste(["config", "check", *arguments], standalone_mode=False)


def test_they_override_the_environment(seen: list[Settings]) -> None:
    """As they override a file, through it."""
    os.environ |= {"POSTE_KAFKA__BOOTSTRAP_SERVERS": "a:1", "POSTE_DYNAMODB__TABLE": "theirs"}
    run()
    run("--bootstrap-server", "b:2,c:3", "--table", "ours")
    run("--table", "mine")

    assert [(s.kafka.bootstrap_servers, s.dynamodb.table) for s in seen] == [
        ("a:1", "theirs"), ("b:2,c:3", "ours"), ("a:1", "mine"),
    ]  # fmt: skip


def test_those_of_aws_are_set_where_its_sdk_looks(seen: list[Settings]) -> None:
    """A profile counts above credentials in the environment, as with AWS's own tools."""
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    os.environ |= {**keys, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
    run("--region", "eu-central-1", "--endpoint-url", "http://127.0.0.1:8000")
    assert os.environ["AWS_DEFAULT_REGION"] == os.environ["AWS_REGION"] == "eu-central-1"
    assert os.environ["AWS_ENDPOINT_URL_DYNAMODB"] == "http://127.0.0.1:8000"
    assert "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS" not in os.environ
    assert os.environ["AWS_ACCESS_KEY_ID"] == "k"

    run("--profile", "production")
    assert os.environ["AWS_PROFILE"] == "production"
    assert not keys.keys() & os.environ.keys()


def test_an_error_names_the_option(seen: list[Settings]) -> None:
    """Not the variable that it stands for."""
    with pytest.raises(Exception, match=r"\(--bootstrap-server\)"):
        run("--bootstrap-server", "nowhere")
    with pytest.raises(click.BadParameter, match="must not be empty"):
        run("--table", "")
