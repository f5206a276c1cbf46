"""The commands on one mailbox: `send`, `fetch`, `ack`, `devices`."""

import json
import sys
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from worker.cli import rendering
from worker.cli.arguments import DEVICE, HEADER, JSON, TEN_YEARS_S, USER, text_argument
from worker.cli.program import poste, read_settings, run
from worker.errors import OperatorError

if TYPE_CHECKING:
    from poste_restante import Page

#: Headers that `send` sets.
_OWN_HEADERS = frozenset({"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_expirytime"})


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
@click.option("--header", "headers", type=HEADER, multiple=True,
              help="A further header; may be repeated.")  # fmt: skip
@click.option("--plain", is_flag=True, help="Send a plain record, not a CloudEvent.")
@click.pass_context
def send(
    context: click.Context, user: str, text: str, *, id_: str | None, source: str, type_: str,
    expires_in: int | None, headers: tuple[tuple[str, bytes], ...], plain: bool,
) -> None:  # fmt: skip
    """Publish a CloudEvent with the body TEXT for USER; `-` is standard input, byte for byte."""
    from worker.cli import sending

    names = [name for name, _ in headers]
    if plain and (expires_in is not None or _is_given(context, "id_", "source", "type_")):
        raise click.UsageError("a plain record has no --id, --source, --type and --expires-in")
    if not plain and any(name.startswith("ce_") and name in _OWN_HEADERS for name in names):
        raise click.UsageError("use --id, --source, --type and --expires-in, or --plain")
    settings = read_settings(context)
    body = sending.standard_input(sys.stdin.buffer) if text == "-" else text.encode()
    made: list[tuple[str, bytes | None]] = []
    if not plain:
        expires_at = None
        if expires_in is not None:
            expires_at = datetime.now(UTC) + timedelta(seconds=expires_in)
        made = sending.event_headers(
            body, id_=id_ or str(uuid.uuid4()), source=source, type_=type_, expires_at=expires_at
        )
    if "content-type" in names:
        made = [header for header in made if header[0] != "content-type"]

    async def work() -> None:
        partition, offset = await sending.send_body(settings.kafka, user, body, [*made, *headers])
        click.echo(f"sent to {settings.kafka.topic}, partition {partition}, offset {offset}")

    run(work)


def _is_given(context: click.Context, *parameters: str) -> bool:
    """Return whether one of the parameters was typed."""
    typed = click.core.ParameterSource.COMMANDLINE
    return any(context.get_parameter_source(name) is typed for name in parameters)


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
@click.option("--all", "every", is_flag=True, help="Fetch page after page, to the end.")
@click.option("--follow", is_flag=True, help="The same, then wait for more until Ctrl-C.")
@click.option(
    "--fresh", "fresh_s", type=click.FloatRange(0, 3600), metavar="SECONDS",
    help="Wait, at most so long, until nothing that was sent before now can be missing, and show"
    " all that waits; exit status 1 if it is not proven by then.",
)  # fmt: skip
@DEVICE
@JSON
@click.pass_context
def fetch(
    context: click.Context, user: str, *, limit: int | None, after: str | None, since: str | None,
    device: str | None, as_json: bool, every: bool, follow: bool, fresh_s: float | None,
) -> None:  # fmt: skip
    """Show the messages of USER without acknowledging them.

    With --all or --follow: page by page, each with the receipt of all up to it.
    """
    from worker.cli.following import pages
    from worker.cli.mailboxes import fetch_caught_up, open_command_mailboxes

    if after is not None and since is not None:
        raise click.UsageError("name one of --after and --since")
    if fresh_s is not None and (limit is not None or after is not None or every or follow):
        raise click.UsageError(
            "--fresh shows all that waits: leave out --limit, --after, --all and --follow"
        )
    settings = read_settings(context)

    def show(page: "Page", *, complete: bool | None = None) -> None:
        if as_json:
            found = rendering.page_object(user, page, complete=complete)
            click.echo(json.dumps(found, allow_nan=False))
        else:
            rendering.print_page(user, page, complete=complete)

    async def work() -> None:
        async with open_command_mailboxes(settings) as mailboxes:
            if fresh_s is not None:
                page, complete = await fetch_caught_up(
                    mailboxes, user, since=since, device=device, timeout_s=fresh_s
                )
                show(page, complete=complete)
                if not complete:
                    raise OperatorError(
                        f"not proven complete within {fresh_s:g} s: `poste progress` shows which"
                        " partition is behind"
                    )
                return
            async for page in pages(
                mailboxes, user, limit=limit, after=after, since=since, device=device,
                every=every or follow, follow=follow,
            ):  # fmt: skip
                show(page)

    run(work)


@poste.command()
@USER
@click.argument("receipt")
@DEVICE
@click.pass_context
def ack(context: click.Context, user: str, receipt: str, *, device: str | None) -> None:
    """Acknowledge the fetch that returned RECEIPT."""
    from worker.cli.mailboxes import open_command_mailboxes

    settings = read_settings(context)

    async def work() -> None:
        async with open_command_mailboxes(settings) as mailboxes:
            await mailboxes.ack(user, receipt, device=device)
        click.echo("acknowledged")

    run(work)


@poste.command()
@USER
@JSON
@click.pass_context
def devices(context: click.Context, user: str, *, as_json: bool) -> None:
    """Show the cursor of each device of USER."""
    from worker.cli.mailboxes import open_command_mailboxes

    settings = read_settings(context)

    async def work() -> None:
        async with open_command_mailboxes(settings) as mailboxes:
            found = await mailboxes.devices(user)
        if as_json:
            click.echo(json.dumps(rendering.devices_object(user, found)))
        else:
            rendering.print_devices(user, found)

    run(work)
