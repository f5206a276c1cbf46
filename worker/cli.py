"""The command `poste`: also `python -m worker`.

Exit status: 0 done, 1 failed, 2 wrong usage or configuration. An error is one line on standard
error that says what to do.
"""

import asyncio
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from poste_restante.errors import MailboxError
from worker import rendering
from worker.configuration import load_settings
from worker.errors import OperatorError
from worker.reference import shown
from worker.settings import Settings

#: Exit status of a command that Ctrl-C ended, as shells have it: 128 + SIGINT.
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config", type=click.Path(path_type=Path), help="TOML file; default: POSTE_CONFIG, or none."
)
@click.version_option(version("poste-restante"))
@click.pass_context
def poste(context: click.Context, config: Path | None) -> None:
    """Per-user mailboxes in DynamoDB, fed from a Kafka topic."""
    context.obj = config


def settings_of(context: click.Context) -> Settings:
    """Read when a command runs, so that --help works whatever the configuration is."""
    return load_settings(context.find_root().obj, os.environ)


def run(command: Awaitable[None]) -> None:
    """One command's work. Clients' logs are silenced: what they would say, our error says."""
    logging.disable(logging.CRITICAL)

    async def main() -> None:
        await command

    asyncio.run(main())


@poste.command()
@click.option("--check", is_flag=True, help="Make nothing; exit 1 where something is missing.")
@click.option("--partitions", default=4, show_default=True, type=click.IntRange(1),
              help="Of topics that are made.")  # fmt: skip
@click.option("--replication-factor", default=1, show_default=True, type=click.IntRange(1),
              help="Of topics that are made; 3 in production.")  # fmt: skip
@click.pass_context
def init(context: click.Context, *, check: bool, partitions: int, replication_factor: int) -> None:
    """Create topics, table and table record where missing; verify what is there."""
    from worker.dynamodb import open_store
    from worker.kafka import open_kafka
    from worker.patience import impatient
    from worker.provisioning import init as provision

    settings = settings_of(context)

    async def work() -> None:
        missing = 0
        async with open_kafka(settings.kafka) as kafka, open_store() as store:
            async for finding in provision(
                settings, kafka, impatient(store),
                check=check, partitions=partitions, replication=replication_factor,
            ):  # fmt: skip
                state = "missing" if finding.missing else "made" if finding.made else "ok"
                click.echo(f"{state:8}{finding.what}")
                missing += finding.missing
        if missing:
            raise OperatorError("something is missing: run `poste init`")

    run(work())


@poste.command()
@click.pass_context
def worker(context: click.Context) -> None:
    """Run one worker in the foreground, until SIGTERM or Ctrl-C."""
    from worker.app import run as run_worker

    run_worker(settings_of(context))


@poste.command()
@click.argument("user")
@click.argument("text")
@click.option("--id", "id_", help="CloudEvents id; default: a random one.")
@click.option("--source", default="/poste", show_default=True, help="CloudEvents source.")
@click.option("--type", "type_", default="poste.message", show_default=True,
              help="CloudEvents type.")  # fmt: skip
@click.option("--expires-in", type=click.FloatRange(0), metavar="SECONDS",
              help="Until it is no longer shown.")  # fmt: skip
@click.pass_context
def send(
    context: click.Context, user: str, text: str, *,
    id_: str | None, source: str, type_: str, expires_in: float | None,
) -> None:  # fmt: skip
    """Publish one message for USER: a CloudEvent with the body TEXT."""
    from worker.sending import send_text

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

    run(work())


def _mailboxes(settings: Settings) -> Any:
    from poste_restante import open_mailboxes

    return open_mailboxes(
        table=settings.dynamodb.table,
        receipt_keys=[key.get_secret_value() for key in settings.receipt_keys],
    )


@poste.command()
@click.argument("user")
@click.option("--limit", type=click.IntRange(1), help="Messages at most; default: one Query.")
@click.option("--after", metavar="RECEIPT", help="Go on behind what a receipt covers.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (worker/schemas).")
@click.pass_context
def fetch(
    context: click.Context, user: str, *, limit: int | None, after: str | None, as_json: bool
) -> None:
    """Show the messages that wait for USER, without acknowledging them."""
    settings = settings_of(context)

    async def work() -> None:
        async with _mailboxes(settings) as mailboxes:
            page = await mailboxes.fetch(user, limit=limit, after=after)
        if as_json:
            click.echo(json.dumps(rendering.page_object(user, page), ensure_ascii=False))
        else:
            rendering.page(user, page)

    run(work())


@poste.command()
@click.argument("user")
@click.argument("receipt")
@click.pass_context
def ack(context: click.Context, user: str, receipt: str) -> None:
    """Acknowledge what the fetch that gave RECEIPT returned."""
    settings = settings_of(context)

    async def work() -> None:
        async with _mailboxes(settings) as mailboxes:
            await mailboxes.ack(user, receipt)
        click.echo("acknowledged")

    run(work())


@poste.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object (worker/schemas).")
@click.pass_context
def progress(context: click.Context, *, as_json: bool) -> None:
    """Show, per partition, how far the log is materialized."""
    from worker.operations import open_office

    settings = settings_of(context)

    async def work() -> None:
        async with open_office(settings) as office:
            standings = await office.standings()
            if as_json:
                click.echo(json.dumps(rendering.progress_object(office, standings)))
            else:
                rendering.progress(office, standings)

    run(work())


YES = click.option("--yes", is_flag=True, help="Do it; without, only say what would be done.")
PARTITION = click.option(
    "--partition", type=click.IntRange(0), multiple=True, help="Only this one; may be repeated."
)


def _moves(context: click.Context, *, yes: bool, plan: Callable[..., Awaitable[Any]],
           make: str = "make", none: str = "nothing to do") -> None:  # fmt: skip
    """Plan, show, and with --yes make moves, while no worker runs."""
    from worker.operations import open_office

    settings = settings_of(context)

    async def work() -> None:
        async with open_office(settings) as office:
            await office.insist_on_no_workers()
            moves = await plan(office, time.time_ns() // 1_000_000)
            for move in moves:
                click.echo(f"{'' if yes else 'would move '}{move}")
            if not moves and make == "make":
                click.echo(none)
            elif not yes:
                click.echo("nothing was changed: add --yes to do it")
            else:
                await getattr(office, make)(moves)
                click.echo("done: start the workers")

    run(work())


@poste.command()
@click.option("--partition", type=click.IntRange(0), required=True, help="Which one.")
@click.option("--to", required=True, metavar="OFFSET|end|TIME", help="First offset to read.")
@YES
@click.pass_context
def skip(context: click.Context, *, partition: int, to: str, yes: bool) -> None:
    """Leave out what lies between progress and TO. It is never delivered."""
    _moves(context, yes=yes, plan=lambda office, now: office.skip(partition, to, now))


@poste.command()
@PARTITION
@click.option("--to", metavar="OFFSET|TIME", help="First offset to replay; rounded down.")
@click.option("--minutes", type=click.FloatRange(0), help="Before progress was last written.")
@YES
@click.pass_context
def rewind(
    context: click.Context, *, partition: tuple[int, ...], to: str | None,
    minutes: float | None, yes: bool,
) -> None:  # fmt: skip
    """Materialize again, from a window border: after a restore of the table to a point in time."""
    only = partition or None
    if (to is None) == (minutes is None):
        raise click.UsageError("name one of --to and --minutes")
    if minutes is not None:
        _moves(context, yes=yes, plan=lambda o, now: o.rewind_minutes(only, minutes, now))
    else:
        _moves(context, yes=yes, plan=lambda o, now: o.rewind_to(only, to, now))


@poste.command()
@YES
@click.pass_context
def epoch(context: click.Context, *, yes: bool) -> None:
    """Open the next epoch: the topic was re-created, and is read from its start as a new log."""
    _moves(context, yes=yes, plan=lambda office, now: office.epoch(now), make="open_epoch")


@poste.group()
def config() -> None:
    """The effective settings."""


@config.command("show")
@click.pass_context
def config_show(context: click.Context) -> None:
    """Print the effective settings as JSON, secrets hidden."""
    click.echo(json.dumps(shown(settings_of(context)), indent=2))


@config.command("check")
@click.pass_context
def config_check(context: click.Context) -> None:
    """Say whether the configuration is valid."""
    from worker.kafka import client_options

    client_options(settings_of(context).kafka)  # reads the certificates
    click.echo("the configuration is valid")


def main() -> None:
    """Entry point of the command."""
    try:
        poste(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except OperatorError as error:
        sys.exit(_say(error, error.exit_status))
    except (MailboxError, ValueError) as error:
        sys.exit(_say(error, 1))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)


def _say(error: Exception, status: int) -> int:
    click.echo(f"poste: {' '.join(str(error).split())}", err=True)
    return status
