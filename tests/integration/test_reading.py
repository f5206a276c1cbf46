"""A fetch reads the same whatever its table holds: counted on DynamoDB Local, and never timed."""

from benchmarks.reading import fetching
from tests.conftest import Address

SIZES = {"tables": [100, 2_000], "mailboxes": [0, 1, 10, 1_000], "deep": 2_500, "fetches": 3}


async def test_what_a_fetch_reads_does_not_grow_with_the_table(dynamodb: Address) -> None:
    """A Query or two of the mailbox's own bytes, and pages of a deep one read it once (G7)."""
    rows = await fetching.measure(SIZES)
    counted = {
        (row["table"], row["mailbox"]): (row["queries"], row["read_units"], row["bytes"])
        for row in rows
    }

    for mailbox in (0, 1, 10, 1_000, 2_500):
        assert counted[100, mailbox] == counted[2_000, mailbox]
    assert [counted[100, mailbox][0] for mailbox in (0, 1, 10, 1_000)] == [1, 1, 1, 2]
    assert counted[100, 1_000][2] < 1_000 * 420  # of bodies of 300 bytes
    # Three pages of 2,500 messages, which read every bundle once.
    assert sum(row["fetches"] * row["bytes"] for row in rows if row["mailbox"] == 2_500) < (
        2 * 2_500 * 420
    )
