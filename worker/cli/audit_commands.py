"""The commands on stored data: `purge` and `export` of a user, `verify` of the log."""

import json
import time

import click

from worker.cli import audit_rendering as rendering
from worker.cli.arguments import JSON, TIME, USER, YES
from worker.cli.bar import progress_bar
from worker.cli.program import poste, read_settings, run
from worker.errors import OperatorError


@poste.command()
@USER
@JSON
@YES
@click.pass_context
def purge(context: click.Context, user: str, *, as_json: bool, yes: bool) -> None:
    """Delete the mailbox of USER for good: no replay brings it back.

    Kafka keeps its records until their retention. May be repeated, and run beside workers.
    """
    settings = read_settings(context)

    async def work() -> None:
        from worker.cli import purging

        now_ms = time.time_ns() // 1_000_000
        purged = await purging.purge(settings, user, now_ms=now_ms, yes=yes)
        if as_json:
            click.echo(json.dumps(rendering.purge_object(user, purged, yes=yes)))
        else:
            rendering.print_purge(user, purged, yes=yes)

    run(work)


@poste.command()
@USER
@click.option(
    "--records", is_flag=True, help="Also the user's records in the topic: reads all of it."
)
@click.pass_context
def export(context: click.Context, user: str, *, records: bool) -> None:
    """Print everything held about USER, as a JSON object per line.

    Cursors, messages with their bodies, dead letters. The last line says that it is complete.
    """
    settings = read_settings(context)

    async def work() -> None:
        from worker.cli.exporting import open_export

        with progress_bar("reading") as bar:
            async with open_export(settings, user) as opened:
                async for line in opened.lines(bar, records=records):
                    click.echo(json.dumps(line))

    run(work)


@poste.command()
@click.option("--partition", "partitions", type=click.IntRange(0), multiple=True,
              help="Partition to verify, may be repeated; default: all.")  # fmt: skip
@click.option("--offset", type=click.IntRange(0),
              help="First offset, of the one --partition that is named.")  # fmt: skip
@click.option("--since", "since_ms", type=TIME, help="Records with a timestamp from then on.")
@click.option("--sample", type=click.FloatRange(0, 100, min_open=True), metavar="PERCENT",
              help="Look for this share of the records only, chosen at random.")  # fmt: skip
@JSON
@click.pass_context
def verify(
    context: click.Context, *, partitions: tuple[int, ...], offset: int | None,
    since_ms: int | None, sample: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Check that every record below progress is where it has to be.

    In its mailbox, or acknowledged, expired, purged, or in the dead-letter topic. Changes nothing.
    """
    if offset is not None and (len(partitions) != 1 or since_ms is not None):
        raise click.UsageError("--offset needs one --partition, and no --since")
    settings = read_settings(context)

    async def work() -> None:
        from worker.cli import verifying

        share = 1.0 if sample is None else sample / 100
        wanted = verifying.VerifySelection(partitions, offset, since_ms, share)
        with progress_bar("verifying") as bar:
            now_ms = time.time_ns() // 1_000_000
            report = await verifying.verify(settings, wanted, now_ms=now_ms, bar=bar)
        if as_json:
            click.echo(json.dumps(rendering.verify_object(settings, report, sample)))
        else:
            rendering.print_report(report)
        if report.problem_count:
            raise OperatorError(
                f"{report.problem_count} of {report.checked} records are not where they have to be:"
                " rewind their partitions to materialize them again (`poste rewind`), and report it"
            )

    run(work)
