"""Options of every command for its connections, named as in Kafka's and AWS's own tools.

They take precedence over the environment, which takes precedence over the file.
"""

from collections.abc import MutableMapping
from typing import Any

import click

from worker.config_file import variable_name

_META = "worker.cli.connections"


def _store_option(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        if not value:
            raise click.BadParameter("must not be empty")
        context.find_root().meta.setdefault(_META, {})[parameter.opts[0]] = value


def _option(name: str, metavar: str, help_: str) -> click.Option:
    return click.Option(
        [name], metavar=metavar, help=help_, callback=_store_option, expose_value=False
    )


#: Options that are settings.
_SETTINGS = {
    "--bootstrap-server": variable_name("kafka.bootstrap_servers"),
    "--table": variable_name("dynamodb.table"),
}
#: Variables of the AWS SDK that an option sets, and those that it removes, as they take precedence.
_AWS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "--region": (("AWS_DEFAULT_REGION", "AWS_REGION"), ()),
    "--endpoint-url": (("AWS_ENDPOINT_URL_DYNAMODB",), ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",)),
    "--profile": (
        ("AWS_PROFILE",),
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_PROFILE"),
    ),
}


def connection_options() -> list[click.Option]:
    """Return new instances of the options."""
    return [
        _option("--bootstrap-server", "HOST:PORT", "Kafka brokers (kafka.bootstrap_servers)."),
        _option("--table", "NAME", "DynamoDB table (dynamodb.table)."),
        _option("--region", "REGION", "AWS region."),
        _option("--endpoint-url", "URL", "Endpoint of DynamoDB."),
        _option("--profile", "NAME", "Profile in the AWS SDK's files."),
    ]


def setting_options(context: click.Context) -> dict[str, tuple[str, str]]:
    """Return the settings from options: variable -> (option, value)."""
    given = context.find_root().meta.get(_META, {})
    return {
        variable: (option, given[option])
        for option, variable in _SETTINGS.items()
        if option in given
    }


def apply_aws_options(context: click.Context, environ: MutableMapping[str, str]) -> None:
    """Set the AWS SDK's variables from the options."""
    given = context.find_root().meta.get(_META, {})
    for option, (variables, others) in _AWS.items():
        if option in given:
            for other in others:
                environ.pop(other, None)
            environ.update(dict.fromkeys(variables, given[option]))


class ConnectedCommand(click.Command):
    """A command with the options for connections, which its help lists separately."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._connections = connection_options()
        self.params += self._connections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        connections: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            line = parameter.get_help_record(ctx)
            if line is not None:
                (connections if parameter in self._connections else own).append(line)
        for title, lines in (("Options", own), ("Connections", connections)):
            with formatter.section(title):
                formatter.write_dl(lines)


class ConnectedGroup(click.Group):
    """A group whose commands and groups have the options for connections."""

    command_class = ConnectedCommand
    group_class = type
