"""What the commands on users' data print: JSON for programs, lines for people."""

from typing import TYPE_CHECKING, Any

from worker.cli.rendering import printable, time_text

if TYPE_CHECKING:
    from worker.cli.purging import Purged


def purge_object(user_id: str, purged: "Purged", *, yes: bool) -> dict[str, Any]:
    """The object of `poste purge --json`: worker/cli/schemas/purge.json."""
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


def purged(user_id: str, purged: "Purged", *, yes: bool) -> None:
    """For a person: what was done, or would be, and what is left."""
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
