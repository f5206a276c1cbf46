"""The commands on dead letters: `dead-letters list`, `show` and `replay`."""

import json
import re

import click

from worker.cli import dead_letter_rendering as rendering
from worker.cli.arguments import JSON, TIME, YES
from worker.cli.bar import progress_bar
from worker.cli.program import poste, read_settings, run
from worker.cli.stored_letter import DeadLetterSelection, RecordPlace, StoredDeadLetter
from worker.errors import DeadLetterReason


class _PlaceType(click.ParamType):
    name = "PARTITION/OFFSET"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> RecordPlace:
        match = re.fullmatch(r"(\d{1,9})/(\d{1,18})", str(value), re.ASCII)
        if match is None:
            self.fail(f"{value!r} is not a place such as 3/4711", param, ctx)
        return RecordPlace(int(match[1]), int(match[2]))


PLACE = _PlaceType()
REASON = click.option(
    "--reason", "reasons", type=click.Choice([reason.value for reason in DeadLetterReason]),
    multiple=True, help="Only of this reason; may be repeated.",
)  # fmt: skip
PARTITION = click.option(
    "--partition", "partitions", type=click.IntRange(0), multiple=True,
    help="Only of this partition of the dead-letter topic; may be repeated.",
)  # fmt: skip
OFFSET = click.option(
    "--offset", type=click.IntRange(0), help="First offset, of the one --partition that is named."
)
SINCE = click.option(
    "--since", "since_ms", type=TIME,
    help="Only records with a timestamp at or after this time. A dead letter has its record's.",
)  # fmt: skip


def _selection(
    reasons: tuple[str, ...], partitions: tuple[int, ...], offset: int | None,
    since_ms: int | None, places: tuple[RecordPlace, ...] = (),
) -> DeadLetterSelection:  # fmt: skip
    if offset is not None and len(partitions) != 1:
        raise click.UsageError("--offset needs one --partition")
    return DeadLetterSelection(
        frozenset(map(DeadLetterReason, reasons)), partitions, offset, since_ms, places
    )


@poste.group("dead-letters")
def dead_letters() -> None:
    """Show records that could not become messages, and send them again."""


@dead_letters.command("list")
@REASON
@PARTITION
@OFFSET
@SINCE
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True,
              help="Maximum number of dead letters.")  # fmt: skip
@JSON
@click.pass_context
def list_(
    context: click.Context, *, reasons: tuple[str, ...], partitions: tuple[int, ...],
    offset: int | None, since_ms: int | None, limit: int, as_json: bool,
) -> None:  # fmt: skip
    """List dead letters, partition by partition, without their bodies."""
    selection = _selection(reasons, partitions, offset, since_ms)
    settings = read_settings(context)

    async def work() -> None:
        from worker.cli.dead_letter_topic import open_dead_letter_topic

        found: list[StoredDeadLetter] = []
        following: RecordPlace | None = None
        with progress_bar("reading") as bar:
            async with open_dead_letter_topic(settings.kafka) as topic:
                async for letter in topic.letters(selection, bar):
                    if len(found) == limit:
                        following = letter.place
                        break
                    found.append(letter)
        if as_json:
            made = rendering.list_object(settings.kafka.dead_letters_topic, found, following)
            click.echo(json.dumps(made))
        else:
            rendering.print_letters(settings.kafka.dead_letters_topic, found, following)

    run(work)


@dead_letters.command()
@click.argument("place", type=PLACE)
@JSON
@click.pass_context
def show(context: click.Context, *, place: RecordPlace, as_json: bool) -> None:
    """Show one record of the dead-letter topic whole, with its headers and body."""
    settings = read_settings(context)

    async def work() -> None:
        from worker.cli.dead_letter_topic import open_dead_letter_topic

        async with open_dead_letter_topic(settings.kafka) as topic:
            with progress_bar("reading") as bar:
                (letter,) = [
                    letter
                    async for letter in topic.letters(DeadLetterSelection(places=(place,)), bar)
                ]
        made = rendering.letter_object(letter, whole=True)
        if as_json:
            click.echo(json.dumps(made))
        else:
            rendering.print_letter(made)

    run(work)


@dead_letters.command()
@click.argument("places", type=PLACE, nargs=-1)
@REASON
@PARTITION
@OFFSET
@SINCE
@click.option("--all", "every", is_flag=True, help="Every dead letter of the topic.")
@click.option("--json", "as_json", is_flag=True,
              help="Print a JSON object per line (schema: worker/cli/schemas).")  # fmt: skip
@YES
@click.pass_context
def replay(
    context: click.Context, *, places: tuple[RecordPlace, ...], reasons: tuple[str, ...],
    partitions: tuple[int, ...], offset: int | None, since_ms: int | None, every: bool,
    as_json: bool, yes: bool,
) -> None:  # fmt: skip
    """Send dead letters to the topic again, as new records: key, value and headers are the same.

    It remembers nothing: what is replayed twice is sent twice.
    """
    selection = _selection(reasons, partitions, offset, since_ms, places)
    filtered = selection != DeadLetterSelection(places=places)
    if sum((bool(places), filtered, every)) != 1:
        raise click.UsageError("name places, or filters, or --all")
    settings = read_settings(context)

    async def work() -> None:
        from worker.cli.replaying import replay

        done = left_out = 0
        async for letter, to in replay(settings.kafka, selection, yes=yes):
            left_out += bool(letter.foreign)
            done += not letter.foreign
            if as_json:
                click.echo(json.dumps(rendering.replay_object(letter, to)))
            else:
                rendering.print_replayed(letter, settings.kafka.topic, to)
        if not as_json:
            rendering.print_replay_summary(done, left_out, yes=yes)

    run(work)
