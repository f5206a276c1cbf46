"""The command group `poste`, and the running of its commands."""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from worker.cli.connections import ConnectedGroup, apply_aws_options, setting_options
from worker.config_file import load_settings
from worker.settings import Settings


@click.group(cls=ConnectedGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="TOML file of settings; default: POSTE_CONFIG, or no file.",
)
@click.version_option(version("poste-restante-worker"))
@click.pass_context
def poste(context: click.Context, config: Path | None) -> None:
    """Per-user mailboxes in DynamoDB, fed from a Kafka topic."""
    context.obj = config


def read_settings(context: click.Context) -> Settings:
    """Read the settings when a command runs, so that --help works with any configuration."""
    apply_aws_options(context, os.environ)
    given = setting_options(context)
    environ = {**os.environ, **{variable: value for variable, (_, value) in given.items()}}
    names = {variable: option for variable, (option, _) in given.items()}
    return load_settings(context.find_root().obj, environ, names)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run one command. Clients' logs are silent, because the error says the same."""
    logging.getLogger().addHandler(
        logging.NullHandler()
    )  # else logging uses a handler of last resort
    asyncio.run(work())
