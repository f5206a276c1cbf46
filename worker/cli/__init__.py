"""The command `poste`: also `python -m worker`.

Exit status: 0 done, 1 failed, 2 wrong usage or configuration. An error is one line on standard
error that says what to do.
"""

import asyncio
import errno
import io
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poste_restante.position import PARTITION_MAX
from worker.cli import rendering
from worker.cli.arguments import DEVICE, PARTITION, TEN_YEARS_S, USER, YES, text_argument
from worker.config_file import load_settings
from worker.errors import OperatorError
from worker.memory import cgroup_bytes
from worker.settings import Settings
from worker.settings_reference import shown

if TYPE_CHECKING:
    from worker.cli.admin_client import AdminClient, Plan

#: Errors of standard output, a full disk most often. One that nobody reads is click's to notice.
_CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
#: Exit status of a command that Ctrl-C ended, as shells have it: 128 + SIGINT.
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="TOML file of settings; default: POSTE_CONFIG, or no file.",
)
@click.version_option(version("poste-restante"))
@click.pass_context
def poste(context: click.Context, config: Path | None) -> None:
    """Per-user mailboxes in DynamoDB, fed from a Kafka topic."""
    context.obj = config


def settings_of(context: click.Context) -> Settings:
    """Read when a command runs, so that --help works whatever the configuration is."""
    return load_settings(context.find_root().obj, os.environ)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """One command's work. Clients' logs are silenced: what they would say, our error says."""
    logging.getLogger().addHandler(logging.NullHandler())  # else there is a handler of last resort
    asyncio.run(work())


@poste.command()
@click.option("--check", is_flag=True, help="Create nothing; exit with 1 if something is missing.")
@click.option("--partitions", type=click.IntRange(1, PARTITION_MAX + 1),
              help="Partitions of a new topic.")  # fmt: skip
@click.option("--replication-factor", type=click.IntRange(1, 32_767),
              help="Replication factor of new topics; use 3 in production.")  # fmt: skip
@click.pass_context
def init(
    context: click.Context, *, check: bool, partitions: int | None, replication_factor: int | None
) -> None:
    """Create topics, table and table record if missing; verify existing ones."""
    from worker.cli.deadline_store import open_deadline_store
    from worker.cli.provisioning import PRODUCERS_NOTE
    from worker.cli.provisioning import init as provision
    from worker.kafka.admin import open_kafka_admin

    settings = settings_of(context)

    async def work() -> None:
        missing = unverified = 0
        async with (
            open_kafka_admin(settings.kafka) as kafka,
            open_deadline_store(settings.dynamodb) as store,
        ):
            async for finding in provision(
                settings, kafka, store,
                check=check, partitions=partitions, replication=replication_factor,
            ):  # fmt: skip
                click.echo(f"{rendering.state_of(finding):8}{finding.what}")
                missing += finding.missing
                unverified += finding.unverified
        click.echo(f"{'note':8}{PRODUCERS_NOTE}")
        if missing:
            raise OperatorError("something is missing: run `poste init`")
        if unverified and check:
            raise OperatorError(
                "something could not be verified: grant this user DescribeConfigs on both topics"
            )

    run(work)


@poste.command()
@click.pass_context
def worker(context: click.Context) -> None:
    """Run one worker in the foreground until SIGTERM or Ctrl-C."""
    from worker.app import run as run_worker

    run_worker(settings_of(context))


@poste.command()
@USER
@click.argument("text", callback=text_argument)
@click.option("--id", "id_", callback=text_argument, help="CloudEvents id; default: random.")
@click.option("--source", default="/poste", show_default=True, callback=text_argument,
              help="CloudEvents source.")  # fmt: skip
@click.option("--type", "type_", default="poste.message", show_default=True, callback=text_argument,
              help="CloudEvents type.")  # fmt: skip
@click.option("--expires-in", type=click.IntRange(0, TEN_YEARS_S), metavar="SECONDS",
              help="Seconds until the message expires.")  # fmt: skip
@click.pass_context
def send(
    context: click.Context, user: str, text: str, *,
    id_: str | None, source: str, type_: str, expires_in: int | None,
) -> None:  # fmt: skip
    """Publish a CloudEvent with the body TEXT for USER."""
    from worker.cli.sending import send_text

    settings = settings_of(context)
    expires_at = None
    if expires_in is not None:
        expires_at = datetime.now(UTC) + timedelta(seconds=expires_in)

    async def work() -> None:
        partition, offset = await send_text(
            settings.kafka, user, text,
            id_=id_ or str(uuid.uuid4()), source=source, type_=type_, expires_at=expires_at,
        )  # fmt: skip
        click.echo(f"sent to {settings.kafka.topic}, partition {partition}, offset {offset}")

    run(work)


@poste.command()
@USER
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    help="Maximum number of messages; default: one Query.",
)
@click.option(
    "--after", metavar="RECEIPT", help="Continue after the page that returned this receipt."
)
@click.option("--since", metavar="RECEIPT", help="Fetch as if this receipt had been acknowledged.")
@DEVICE
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object (schema: worker/cli/schemas)."
)
@click.pass_context
def fetch(
    context: click.Context, user: str, *, limit: int | None, after: str | None, since: str | None,
    device: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Show the messages that wait for USER, without acknowledging them."""
    from worker.cli.mailboxes import open_command_mailboxes

    if after is not None and since is not None:
        raise click.UsageError("name one of --after and --since")
    settings = settings_of(context)

    async def work() -> None:
        async with open_command_mailboxes(settings) as mailboxes:
            page = await mailboxes.fetch(user, limit=limit, after=after, since=since, device=device)
        if as_json:
            click.echo(json.dumps(rendering.page_object(user, page), allow_nan=False))
        else:
            rendering.page(user, page)

    run(work)


@poste.command()
@USER
@click.argument("receipt")
@DEVICE
@click.pass_context
def ack(context: click.Context, user: str, receipt: str, *, device: str | None) -> None:
    """Acknowledge the messages of the fetch that returned RECEIPT."""
    from worker.cli.mailboxes import open_command_mailboxes

    settings = settings_of(context)

    async def work() -> None:
        async with open_command_mailboxes(settings) as mailboxes:
            await mailboxes.ack(user, receipt, device=device)
        click.echo("acknowledged")

    run(work)


@poste.command()
@USER
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object (schema: worker/cli/schemas)."
)
@click.pass_context
def devices(context: click.Context, user: str, *, as_json: bool) -> None:
    """Show the devices of USER that have a cursor, and what each has acknowledged."""
    from worker.cli.mailboxes import open_command_mailboxes

    settings = settings_of(context)

    async def work() -> None:
        async with open_command_mailboxes(settings) as mailboxes:
            found = await mailboxes.devices(user)
        if as_json:
            click.echo(json.dumps(rendering.devices_object(user, found)))
        else:
            rendering.devices(user, found)

    run(work)


@poste.command()
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object (schema: worker/cli/schemas)."
)
@click.pass_context
def progress(context: click.Context, *, as_json: bool) -> None:
    """Show how far each partition is materialized."""
    from worker.cli.admin_client import open_admin_client

    settings = settings_of(context)

    async def work() -> None:
        async with open_admin_client(settings) as admin:
            partition_statuses = await admin.partition_statuses()
            if as_json:
                click.echo(json.dumps(rendering.progress_object(admin, partition_statuses)))
            else:
                rendering.progress(admin, partition_statuses)

    run(work)


def _moves(
    context: click.Context, *, yes: bool, planned: Callable[["AdminClient", int], Awaitable["Plan"]]
) -> None:
    """Plan, show, and with --yes make moves, while no worker runs."""
    from worker.cli.admin_client import open_admin_client

    settings = settings_of(context)

    async def work() -> None:
        async with open_admin_client(settings) as admin:
            await admin.require_empty_group()
            plan = await planned(admin, time.time_ns() // 1_000_000)
            for line in plan.lines():
                click.echo(f"{'moving' if yes else 'would move'} {line}")
            if not plan.lines():
                click.echo("there is nothing to move")
            elif not yes:
                click.echo("nothing was changed: add --yes to do it")
            else:
                await admin.make(plan)
                click.echo("done: start the workers")

    run(work)


@poste.command()
@click.option("--partition", type=click.IntRange(0), required=True, help="Partition to move.")
@click.option("--to", required=True, metavar="OFFSET|end|TIME", help="First offset to read.")
@YES
@click.pass_context
def skip(context: click.Context, *, partition: int, to: str, yes: bool) -> None:
    """Skip the records between progress and --to: they are never delivered."""
    _moves(context, yes=yes, planned=lambda admin, now: admin.skip(partition, to, now))


@poste.command()
@PARTITION
@click.option(
    "--to", metavar="OFFSET|TIME", help="First offset to replay, rounded down to a window border."
)
@click.option(
    "--minutes",
    type=click.IntRange(0, TEN_YEARS_S // 60),
    help="Minutes to go back from when progress was last written.",
)
@YES
@click.pass_context
def rewind(
    context: click.Context, *, partition: tuple[int, ...], to: str | None,
    minutes: int | None, yes: bool,
) -> None:  # fmt: skip
    """Materialize again from an earlier window border, such as after a restore of the table."""
    only = partition or None
    if (to is None) == (minutes is None):
        raise click.UsageError("name one of --to and --minutes")
    if minutes is not None:
        _moves(context, yes=yes, planned=lambda o, now: o.rewind_minutes(only, minutes, now))
    if to is not None:
        _moves(context, yes=yes, planned=lambda o, now: o.rewind_to(only, to, now))


@poste.command()
@YES
@click.pass_context
def epoch(context: click.Context, *, yes: bool) -> None:
    """Open the next epoch after the topic was re-created: read it from its start as a new log."""
    _moves(context, yes=yes, planned=lambda admin, now: admin.epoch(now))


@poste.group()
def config() -> None:
    """Show or check the settings."""


@config.command("show")
@click.pass_context
def config_show(context: click.Context) -> None:
    """Print the effective settings as JSON, secrets hidden."""
    click.echo(json.dumps(shown(settings_of(context), cgroup_bytes()), indent=2))


@config.command("check")
@click.pass_context
def config_check(context: click.Context) -> None:
    """Check whether the configuration is valid."""
    from worker.kafka.options import client_options

    client_options(settings_of(context).kafka)  # reads the certificates
    click.echo("the configuration is valid")


def main() -> None:
    """Entry point of the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # whatever the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        poste(prog_name="poste", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except OperatorError as error:
        click.echo(f"poste: {' '.join(str(error).split())}", err=True)
        sys.exit(error.exit_status)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        click.echo(f"poste: cannot write the output: {error.strerror}", err=True)
        sys.stdout = None  # else Python flushes it again, and complains
        sys.exit(1)
