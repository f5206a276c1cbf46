"""The commands on what is held about a user: `purge`."""

import json
import time

import click

from worker.cli import audit_rendering as rendering
from worker.cli.arguments import JSON, USER, YES
from worker.cli.program import poste, run, settings_of


@poste.command()
@USER
@JSON
@YES
@click.pass_context
def purge(context: click.Context, user: str, *, as_json: bool, yes: bool) -> None:
    """Delete the mailbox of USER for good: no replay brings it back.

    Kafka keeps its records until their retention. May be repeated, and run beside workers.
    """
    settings = settings_of(context)

    async def work() -> None:
        from worker.cli import purging

        now_ms = time.time_ns() // 1_000_000
        purged = await purging.purge(settings, user, now_ms=now_ms, yes=yes)
        if as_json:
            click.echo(json.dumps(rendering.purge_object(user, purged, yes=yes)))
        else:
            rendering.purged(user, purged, yes=yes)

    run(work)
