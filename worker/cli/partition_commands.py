"""The commands on partitions: `progress`, and the moves `skip`, `rewind`, `epoch`."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from worker.cli import rendering
from worker.cli.arguments import JSON, PARTITION, TEN_YEARS_S, YES
from worker.cli.program import poste, read_settings, run

if TYPE_CHECKING:
    from worker.cli.admin_client import AdminClient, MovePlan


@poste.command()
@JSON
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True,
              metavar="SECONDS", help="Seconds between two looks of --watch.")  # fmt: skip
@click.option("--max-lag", type=click.IntRange(0), metavar="OFFSETS",
              help="Exit with 1 if a partition lags by more.")  # fmt: skip
@click.pass_context
def progress(
    context: click.Context, *, as_json: bool, watch: bool, interval: float, max_lag: int | None
) -> None:
    """Show how far each partition is materialized."""
    from worker.cli.admin_client import open_admin_client, require_lag

    if watch and max_lag is not None:
        raise click.UsageError("name one of --watch and --max-lag")
    settings = read_settings(context)

    async def work() -> None:
        async with open_admin_client(settings) as admin:
            while True:
                statuses = await admin.partition_statuses()
                freshness = await admin.freshness()
                if as_json:
                    click.echo(json.dumps(rendering.progress_object(admin, statuses, freshness)))
                else:
                    if watch:
                        click.clear()  # on a terminal
                    rendering.print_progress(admin, statuses, freshness)
                if not watch:
                    break
                await asyncio.sleep(interval)
        if max_lag is not None:
            require_lag(statuses, max_lag)

    run(work)


def _moves(
    context: click.Context,
    *,
    yes: bool,
    planned: Callable[["AdminClient", int], Awaitable["MovePlan"]],
) -> None:
    """Plan, show and, with --yes, apply moves, while no worker runs."""
    from worker.cli.admin_client import open_admin_client

    settings = read_settings(context)

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
                await admin.apply(plan)
                click.echo("done: start the workers")

    run(work)


@poste.command()
@click.option("--partition", type=click.IntRange(0), multiple=True,
              help="Partition to move, may be repeated.")  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Every partition that is not further already.")
@click.option("--to", required=True, metavar="OFFSET|end|group|TIME",
              help="First offset to read; `group`: the group's own.")  # fmt: skip
@YES
@click.pass_context
def skip(
    context: click.Context, *, partition: tuple[int, ...], every: bool, to: str, yes: bool
) -> None:
    """Skip records. Those between progress and --to are never delivered."""
    if bool(partition) == every:
        raise click.UsageError("name --partition, or --all")
    if every:
        _moves(context, yes=yes, planned=lambda admin, now: admin.skip_all(to, now))
    else:
        _moves(context, yes=yes, planned=lambda admin, now: admin.skip_each(partition, to, now))


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
@click.option("--to", metavar="OFFSET|end|group|TIME",
              help="First offset to read; `group`: the group's own, as a mirror translates it;"
                   " default: each log's start.")  # fmt: skip
@YES
@click.pass_context
def epoch(context: click.Context, *, to: str | None, yes: bool) -> None:
    """Open the next epoch, for a re-created or mirrored topic. It is read as a new log."""
    _moves(context, yes=yes, planned=lambda admin, now: admin.epoch(now, to))
