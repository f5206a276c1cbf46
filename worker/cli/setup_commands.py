"""The commands that set up and run: `init`, `worker`, `config`."""

import json

import click

from poste_restante.position import PARTITION_MAX
from worker.cli import rendering
from worker.cli.program import poste, read_settings, run
from worker.errors import OperatorError
from worker.memory_limits import cgroup_bytes
from worker.settings_reference import shown


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
    """Create or verify topics, table and table record."""
    from worker.cli.deadline_store import open_deadline_store
    from worker.cli.provisioning import PRODUCERS_NOTE
    from worker.cli.provisioning import init as provision
    from worker.kafka.admin import open_kafka_admin

    settings = read_settings(context)

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
                click.echo(f"{rendering.state_word(finding):8}{finding.what}")
                missing += finding.is_missing
                unverified += finding.is_unverified
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

    run_worker(read_settings(context))


@poste.group()
def config() -> None:
    """Show or check the settings."""


@config.command("show")
@click.pass_context
def config_show(context: click.Context) -> None:
    """Print the effective settings as JSON, secrets hidden."""
    click.echo(json.dumps(shown(read_settings(context), cgroup_bytes()), indent=2))


@config.command("check")
@click.pass_context
def config_check(context: click.Context) -> None:
    """Check whether the configuration is valid."""
    from worker.kafka.options import client_options

    client_options(read_settings(context).kafka)  # reads the certificates
    click.echo("the configuration is valid")
