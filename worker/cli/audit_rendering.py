"""Output of the commands on users' data: JSON for programs, lines for people."""

from typing import TYPE_CHECKING, Any

from worker.cli.rendering import console, printable, shortened, time_text

if TYPE_CHECKING:
    from worker.cli.purging import PurgeResult
    from worker.cli.verifying import VerifyReport
    from worker.settings import Settings


def purge_object(user_id: str, purged: "PurgeResult", *, yes: bool) -> dict[str, Any]:
    """Return the object of `poste purge --json`: worker/cli/schemas/purge.json."""
    return {
        "user_id": user_id,
        "done": yes,
        "partitions": purged.partitions,
        "cursors": purged.cursors,
        "bundles": purged.bundles,
        "newer": purged.newer,
        "acknowledged_meanwhile": purged.changed,
        "expires_at": time_text(purged.expires_at_ms),
        "kept_because": purged.kept_because or None,
        "behind": [
            {"partition": partition, "offsets": count} for partition, count in purged.behind.items()
        ],
    }


def print_purge(user_id: str, purged: "PurgeResult", *, yes: bool) -> None:
    """Print the result, or the preview, of a purge."""
    user = printable(user_id)
    print(
        f"{'raised' if yes else 'would raise'} {purged.cursors} cursors of {user} to the log's end"
        f" in {purged.partitions} partitions, and {'deleted' if yes else 'delete'}"
        f" {purged.bundles} bundles"
    )
    if purged.expires_at_ms is None:
        print(f"the cursors stay for ever: {purged.kept_because}")
    else:
        print(
            f"the cursors expire at {time_text(purged.expires_at_ms)}: nothing can come back then"
        )
    if purged.changed:
        print(
            f"{purged.changed} of the cursors were acknowledged on, or removed, meanwhile, and do"
            " not expire: run it again when the user is offline"
        )
    if purged.newer:
        print(f"{purged.newer} bundles hold messages from behind the end and stay: run it again")
    if purged.behind:
        partitions = ", ".join(f"{p} ({count} offsets)" for p, count in purged.behind.items())
        print(
            f"partitions {partitions} are not read to their end: what comes of it is hidden; run"
            " it again when they are, to delete it"
        )
    if not yes:
        print("nothing was changed: add --yes to do it")


def verify_object(
    settings: "Settings", report: "VerifyReport", sample: float | None
) -> dict[str, Any]:
    """Return the object of `poste verify --json`: worker/cli/schemas/verify.json."""
    from worker.cli.verifying import Outcome

    return {
        "topic": settings.kafka.topic,
        "table": settings.dynamodb.table,
        "sample": sample,
        "checked": report.checked,
        "problem_count": report.problem_count,
        "partitions": [
            {
                "partition": each.partition,
                "first": each.range.first,
                "end": each.range.end,
                "gone": None if each.removed is None else each.removed._asdict(),
                "checked": each.checked,
                **{outcome.value: each.outcomes[outcome] for outcome in Outcome},
            }
            for each in report.partitions.values()
        ],
        "problems": [
            {
                **each.place._asdict(),
                "outcome": each.outcome,
                "user_id": each.user_id,
                "detail": each.detail,
            }
            for each in report.problems
        ],
    }


def print_report(report: "VerifyReport") -> None:
    """Print one line per partition and per problem."""
    from rich.table import Table

    from worker.cli.verifying import Outcome

    table = Table("partition", "first", "end", "checked", *Outcome, box=None)
    for each in report.partitions.values():
        counts = [str(each.outcomes[outcome]) for outcome in Outcome]
        table.add_row(
            str(each.partition), str(each.range.first), str(each.range.end), str(each.checked),
            *counts,
        )  # fmt: skip
    console().print(table)
    for each in report.partitions.values():
        if each.removed is not None:
            print(
                f"partition {each.partition}: retention has removed offsets {each.removed.first} to"
                f" {each.removed.end - 1}, which are not verified"
            )
    for problem in report.problems:
        user = "" if problem.user_id is None else f" of {shortened(problem.user_id)}"
        print(f"{problem.outcome}: {problem.place}{user}: {printable(problem.detail)}")
    if report.problem_count > len(report.problems):
        print(f"and {report.problem_count - len(report.problems)} more")
