"""The contract of `delete_acknowledged` and `tidy`, on the fake table and on DynamoDB Local."""

from collections.abc import AsyncIterator

import pytest

from poste_restante import tidying
from poste_restante.errors import MailboxError, StoreUnavailable
from poste_restante.item import Item, encode_bundle
from poste_restante.position import BundleKey, LogId
from tests.faults import (
    Fault,
    answer_empty,
    answer_lost,
    answer_misshapen,
    not_reached,
    refuses,
    unprocessed,
)
from tests.mailbox_table import MailboxTable, offsets, open_admin_client
from tests.records import TOPIC, message
from tests.tables import READER_KINDS

LOG = LogId(1, 3)


@pytest.fixture(params=READER_KINDS)
async def admin(request: pytest.FixtureRequest, table_name: str) -> AsyncIterator[MailboxTable]:
    async with open_admin_client(request, table_name) as admin:
        admin.mailboxes = admin.reader(delete_acknowledged=True)
        yield admin


async def acknowledge(admin: MailboxTable, device: str | None = None, limit: int = 100) -> None:
    page = await admin.mailboxes.fetch("bob", device=device, limit=limit)
    await admin.mailboxes.ack("bob", page.receipt, device=device)


async def test_what_was_acknowledged_is_deleted(admin: MailboxTable) -> None:
    """Of every log, behind the confirmed cursor, 25 a call; what is unread stays (G2, G4)."""
    for partition in (1, 2):
        await admin.put(*(encode_bundle([message(n, partition=partition)], TOPIC)
                           for n in range(20)))  # fmt: skip
    receipt = await admin.receipt()
    await admin.deliver_offsets(20, 21, partition=2)
    calls = await admin.calls_of(lambda: admin.mailboxes.ack("bob", receipt))

    assert calls == [
        "update_item", "update_item", "query", "query", "batch_write_item", "query",
        "batch_write_item",
    ]  # fmt: skip
    assert await admin.bundles() == [(20, 21)]
    assert offsets(await admin.mailboxes.fetch("bob")) == [20, 21]


async def test_a_bundle_that_is_half_acknowledged_stays(admin: MailboxTable) -> None:
    """It goes when all of it is (G2)."""
    await admin.deliver_offsets(1, 2, 3)
    await acknowledge(admin, limit=2)
    assert await admin.bundles() == [(1, 3)]

    await acknowledge(admin)
    assert await admin.bundles() == []


async def test_what_a_replay_writes_again_is_hidden_and_deleted_later(admin: MailboxTable) -> None:
    """A deleted bundle brings nothing back (G4)."""
    await admin.deliver_offsets(1, 2, 3)
    await acknowledge(admin)
    await admin.deliver_offsets(1, 2)
    await admin.deliver_offsets(3, 4)
    page = await admin.mailboxes.fetch("bob")
    assert offsets(page) == [4]

    await admin.mailboxes.ack("bob", page.receipt)
    assert await admin.bundles() == []


async def test_without_the_option_nothing_is_deleted_until_it_is_tidied(
    admin: MailboxTable,
) -> None:
    """TTL removes it for nothing (G7)."""
    admin.mailboxes = admin.reader()
    for offset in (1, 2, 3):
        await admin.deliver_offsets(offset)
    await acknowledge(admin, limit=2)
    assert len(await admin.bundles()) == 3

    assert await admin.mailboxes.tidy("bob") == 2
    assert await admin.bundles() == [(3, 3)]
    assert await admin.mailboxes.tidy("bob") == 0


async def test_a_mailbox_of_which_the_account_acknowledged_nothing_is_left_alone(
    admin: MailboxTable,
) -> None:
    """A device without a cursor of its own reads from there (G12)."""
    await admin.deliver_offsets(1)
    assert await admin.mailboxes.tidy("bob") == 0
    await acknowledge(admin, device="phone")
    assert await admin.mailboxes.tidy("bob") == 0
    assert await admin.bundles() == [(1, 1)]


async def test_a_bundle_is_deleted_when_every_device_has_passed_it(
    admin: MailboxTable, caplog: pytest.LogCaptureFixture
) -> None:
    """Until then it waits for the slowest, which is said once (G12)."""
    for offset in (1, 2, 3):
        await admin.deliver_offsets(offset)
    receipt = await admin.receipt()
    await admin.mailboxes.add_device("bob", "phone", start="oldest")
    for _ in range(2):
        await admin.mailboxes.ack("bob", receipt)
    assert len(await admin.bundles()) == 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "every device" in caplog.text

    await acknowledge(admin, device="phone", limit=2)
    assert await admin.bundles() == [(3, 3)]
    assert offsets(await admin.mailboxes.fetch("bob", device="phone")) == [3]
    await admin.mailboxes.remove_device("bob", "phone")
    assert await admin.mailboxes.tidy("bob") == 1


async def test_a_damaged_cursor_of_a_device_keeps_everything(admin: MailboxTable) -> None:
    """How far it has come is not known (G12)."""
    await admin.deliver_offsets(1)
    await admin.put(
        {"user_id": {"S": "bob"}, "position": {"S": "!phone"}, "0001.00003": {"S": "1"}}
    )
    await acknowledge(admin)

    assert await admin.bundles() == [(1, 1)]
    assert await admin.cursor() == {LOG: 1}


async def test_an_item_of_a_later_version_is_not_deleted(admin: MailboxTable) -> None:
    """What stands at such a key is not known (G1)."""
    later: Item = {
        "user_id": {"S": "bob"}, "position": {"S": BundleKey(*LOG, 1, 1).encode() + ".later"}
    }  # fmt: skip
    await admin.deliver_offsets(1)
    await admin.deliver_offsets(2)
    receipt = await admin.receipt()
    await admin.put(later)
    await admin.mailboxes.ack("bob", receipt)

    assert [item["position"]["S"] for item in await admin.items()] == ["!", later["position"]["S"]]


async def test_what_one_acknowledgement_deletes_is_bounded(
    admin: MailboxTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest goes with the next one (G8)."""
    monkeypatch.setattr(tidying, "BUNDLES_MAX", 30)
    await admin.put(*(encode_bundle([message(n, partition=p)], TOPIC)
                       for n in range(40) for p in (1, 2)))  # fmt: skip
    await admin.mailboxes.ack("bob", await admin.receipt())
    assert len(await admin.bundles()) == 50
    assert await admin.mailboxes.tidy("bob") == 30
    assert await admin.mailboxes.tidy("bob") == 20
    assert await admin.bundles() == []


@pytest.mark.parametrize("operation", ["query", "batch_write_item"])
@pytest.mark.parametrize(
    "fault",
    [
        refuses("ProvisionedThroughputExceededException"),
        refuses("AccessDeniedException"),
        not_reached,
        answer_lost,
        answer_empty,
        answer_misshapen,
    ],
)
async def test_a_delete_that_fails_is_harmless(
    admin: MailboxTable, operation: str, fault: Fault
) -> None:
    """The cursor hides what is left, and it goes later (G4, G6)."""
    await admin.put(*(encode_bundle([message(n)], TOPIC) for n in range(30)))
    receipt = await admin.receipt()
    admin.client.on[operation] = [fault]
    await admin.mailboxes.ack("bob", receipt)
    assert await admin.cursor() == {LOG: 29}

    page = await admin.mailboxes.fetch("bob")
    assert (page.messages, page.receipt, page.more) == ((), None, False)
    await admin.mailboxes.tidy("bob")
    assert await admin.bundles() == []


@pytest.mark.parametrize("left", [3, 25])
async def test_what_a_throttled_delete_leaves_over_goes_later(
    admin: MailboxTable, left: int
) -> None:
    """It is not sent again at once; `tidy` says how many are gone (G6, G8)."""
    await admin.put(*(encode_bundle([message(n)], TOPIC) for n in range(30)))
    receipt = await admin.receipt()
    admin.client.on["batch_write_item"] = [unprocessed(left), unprocessed(2)]
    await admin.mailboxes.ack("bob", receipt)
    assert len(await admin.bundles()) == left + 2

    assert await admin.mailboxes.tidy("bob") == left + 2


async def test_a_delete_that_is_refused_is_said_once(
    admin: MailboxTable, caplog: pytest.LogCaptureFixture
) -> None:
    """Mailboxes would grow and nobody know why; a store that is away is no news (G8)."""
    for offset, fault, said in (
        (1, not_reached, 0),
        (2, refuses("AccessDeniedException", "not you"), 1),
        (3, refuses("AccessDeniedException", "not you"), 1),
    ):
        await admin.deliver_offsets(offset)
        receipt = await admin.receipt()
        admin.client.on["batch_write_item"] = [fault]
        await admin.mailboxes.ack("bob", receipt)
        assert len(caplog.records) == said

    assert "not you" in caplog.text
    assert "hello" not in caplog.text


@pytest.mark.parametrize(
    ("fault", "error"),
    [(not_reached, StoreUnavailable), (refuses("AccessDeniedException"), MailboxError)],
)
async def test_tidying_says_what_befell_it(
    admin: MailboxTable, fault: Fault, error: type[MailboxError]
) -> None:
    """Somebody asked for it (G9)."""
    await admin.deliver_offsets(1)
    admin.mailboxes = admin.reader()
    await acknowledge(admin)
    for operation in ("query", "batch_write_item"):
        admin.client.on[operation] = [fault]
        with pytest.raises(error):
            await admin.mailboxes.tidy("bob")
    assert await admin.mailboxes.tidy("bob") == 1
