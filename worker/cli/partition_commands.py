"""The commands on partitions: `progress`, and the deliberate moves `skip`, `rewind`, `epoch`."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from worker.cli import rendering
from worker.cli.arguments import PARTITION, TEN_YEARS_S, YES
from worker.cli.program import poste, run, settings_of

if TYPE_CHECKING:
    from worker.cli.admin_client import AdminClient, Plan


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
    """Skip records. Those between progress and --to are never delivered."""
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
    """Materialize records again. Begins at a window border; for a restored table, for instance."""
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
    """Open the next epoch, for a re-created topic. It is read from its start as a new log."""
    _moves(context, yes=yes, planned=lambda admin, now: admin.epoch(now))
