"""What every run of a worker produces: the same records, in parts, good ones and bad ones.

A part is several flushes of several waves, and a commit: what a step is passed in three times.
"""

from tests.audit import Outgoing

#: One part is produced when the one before is materialized and committed.
PARTS = 3
PARTITIONS = 2
USERS = 6
#: Messages of one user in one part: with bundles of two, three waves.
MESSAGES_PER_PART = 5
#: In the body of a message that the store is told to refuse.
POISON = b"poison"

_NO_KEY = Outgoing(key=None, value=b"to nobody", dead="no_user_id")
_NO_BODY = Outgoing(key=b"user-0", value=None, dead="no_body")
_NOT_UTF8 = Outgoing(key=b"\xff\xfe", value=b"to \xff", dead="user_id_not_utf8")
_NO_EVENT = Outgoing(
    key=b"user-1", value=b"no event", headers=(("ce_id", b"1"),),
    dead="malformed_cloudevent",
)  # fmt: skip
#: One of them in every part and partition, in turn.
_BAD = (_NO_KEY, _NO_BODY, _NOT_UTF8, _NO_EVENT)


def users() -> list[str]:
    return [f"user-{number}" for number in range(USERS)]


def part(number: int, *, poisoned: bool = False, rejecting: bool = False) -> list[Outgoing]:
    """The records of one part, from 0, in order.

    poisoned: some hold POISON, and become dead letters. rejecting: the store will refuse items
    by chance, and any message may become a dead letter.
    """
    records: list[Outgoing] = []
    for turn in range(MESSAGES_PER_PART):
        for user in range(USERS):
            body = b"part %d, message %d" % (number, turn)
            records.append(
                Outgoing(
                    key=b"user-%d" % user, value=body, partition=user % PARTITIONS,
                    perhaps=rejecting,
                )
            )  # fmt: skip
        if turn == 1:
            records += [_at(_BAD[(number + p) % len(_BAD)], p) for p in range(PARTITIONS)]
        if turn == 2 and poisoned:
            records += [
                Outgoing(
                    key=b"user-%d" % p, value=POISON + b" %d" % number, partition=p,
                    dead="rejected_by_store",
                )
                for p in range(PARTITIONS)
            ]  # fmt: skip
    return records


def _at(record: Outgoing, partition: int) -> Outgoing:
    return Outgoing(
        key=record.key, value=record.value, headers=record.headers, partition=partition,
        dead=record.dead,
    )  # fmt: skip
