"""The end of `open_mailboxes`, and use from another event loop: refused, and nothing is left."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from poste_restante import StoreUnavailable, lifetime, open_mailboxes, table_check
from poste_restante.testing import InMemoryMailboxes
from tests.fault_proxy.wire import Answer, read_request
from tests.unit.test_signed_client import RECORD, page

#: Fetches under way at the end, and more than the connections that they share.
FETCHES, CONNECTIONS = 300, 40


class Endpoint:
    """Answers every Query with the table record and nothing else, once `answering` is set."""

    def __init__(self) -> None:
        self.answering = asyncio.Event()
        self.asked = 0
        self.open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            while request := await read_request(reader):
                self.asked += 1
                gone = asyncio.create_task(reader.read(1))
                answering = asyncio.create_task(self.answering.wait())
                await asyncio.wait({gone, answering}, return_when=asyncio.FIRST_COMPLETED)
                answering.cancel()
                gone.cancel()  # before the next request is read
                await asyncio.wait({gone, answering})
                if not self.answering.is_set():
                    break
                items = [RECORD] if b'"!table"' in request.body else []
                writer.write(Answer.of(200, page(*items)).encode())
        finally:
            self.open.discard(writer)
            writer.close()

    async def until_asked(self, times: int) -> None:
        while self.asked < times:  # noqa: ASYNC110 - a test's own server
            await asyncio.sleep(0.01)

    async def until_all_have_left(self) -> None:
        async with asyncio.timeout(30):
            while self.open:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Endpoint]:
    """Where `open_mailboxes` leads. It answers at first."""
    endpoint = Endpoint()
    endpoint.answering.set()
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{port}")
        yield endpoint


async def test_after_the_end_every_call_is_refused_and_opens_nothing(endpoint: Endpoint) -> None:
    """A connection that is opened then nobody closes (G8)."""
    async with open_mailboxes() as mailboxes:
        receipt = (await mailboxes.fetch("bob")).receipt
    await endpoint.until_all_have_left()
    asked = endpoint.asked

    with pytest.raises(RuntimeError, match="closed"):
        await mailboxes.fetch("bob")
    for token in (receipt, None, "anything"):
        with pytest.raises(RuntimeError, match="closed"):
            await mailboxes.ack("bob", token)
    with pytest.raises(RuntimeError, match="closed"):
        await anext(mailboxes.pages("bob"))
    assert (endpoint.asked, endpoint.open) == (asked, set())


async def test_calls_under_way_at_the_end_are_waited_for(endpoint: Endpoint) -> None:
    """Their users get their pages; nothing is left open (G8)."""
    async with open_mailboxes(connections=CONNECTIONS, timeout_s=60) as mailboxes:
        endpoint.answering.clear()
        before = endpoint.asked
        fetches = [asyncio.create_task(mailboxes.fetch("bob")) for _ in range(FETCHES)]
        await endpoint.until_asked(before + CONNECTIONS)
        asyncio.get_running_loop().call_later(0.1, endpoint.answering.set)

    pages = await asyncio.gather(*fetches)
    assert [p.messages for p in pages] == [()] * FETCHES
    await endpoint.until_all_have_left()


@pytest.mark.parametrize("table_is_looked_at", [False, True])
async def test_calls_that_do_not_end_are_ended(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, *, table_is_looked_at: bool
) -> None:
    """After a limit: an error for whoever waits, no task and no socket left (G8)."""
    monkeypatch.setattr(lifetime, "CLOSE_S_MAX", 0.1)
    before = asyncio.all_tasks()
    async with open_mailboxes(connections=CONNECTIONS, timeout_s=600) as mailboxes:
        if table_is_looked_at:
            monkeypatch.setattr(table_check, "TABLE_RECORD_TRUSTED_S", 0.0)
        endpoint.answering.clear()
        asked = endpoint.asked
        fetches = [asyncio.create_task(mailboxes.fetch("bob")) for _ in range(FETCHES)]
        await endpoint.until_asked(asked + CONNECTIONS)

    left = [t for t in asyncio.all_tasks() - before if "serve" not in repr(t.get_coro())]
    errors = await asyncio.gather(*fetches, return_exceptions=True)
    assert {type(error) for error in errors} == {StoreUnavailable}
    assert "closed" in str(errors[0])
    assert not any("poste_restante" in repr(task.get_coro()) for task in left if not task.done())
    await endpoint.until_all_have_left()


async def test_an_end_that_is_cancelled_ends_calls_at_once(endpoint: Endpoint) -> None:
    """A gateway that is told to stop does not wait for the store (G8)."""
    opened = asyncio.Event()
    fetches: list[asyncio.Task[object]] = []

    async def gateway() -> None:
        async with open_mailboxes(timeout_s=600) as mailboxes:
            endpoint.answering.clear()
            fetches.append(asyncio.create_task(mailboxes.fetch("bob")))
            await endpoint.until_asked(2)
            opened.set()

    running = asyncio.create_task(gateway())
    await opened.wait()
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})
    (error,) = await asyncio.gather(*fetches, return_exceptions=True)

    assert running.cancelled()
    assert isinstance(error, StoreUnavailable)
    await endpoint.until_all_have_left()


async def test_a_call_that_is_cancelled_by_its_caller_stays_cancelled() -> None:
    """The end of a call from outside is no other error (G1)."""
    mailboxes = InMemoryMailboxes()
    fetch = asyncio.create_task(mailboxes.fetch("bob"))
    fetch.cancel()
    await asyncio.wait({fetch})

    assert fetch.cancelled()


async def test_an_address_that_cannot_be_called_leaves_no_client_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was opened is closed, also where opening fails behind it (G8)."""
    closed: list[object] = []
    from aiobotocore.client import AioBaseClient

    really = AioBaseClient.__aexit__

    async def aexit(self: object, *error: object) -> None:
        closed.append(self)
        await really(self, *error)

    monkeypatch.setattr(AioBaseClient, "__aexit__", aexit)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:99999")
    with pytest.raises(Exception, match="cannot use the store"):
        async with open_mailboxes():
            pass

    assert len(closed) == 1


def test_a_second_event_loop_is_named_at_its_first_call() -> None:
    """Not "no answer from the store": whoever reads that looks at the store (G9)."""
    mailboxes = InMemoryMailboxes()
    mailboxes.deliver("bob", b"hello")
    assert len(asyncio.run(mailboxes.fetch("bob")).messages) == 1

    for call in (mailboxes.fetch, lambda user: mailboxes.ack(user, None)):
        with pytest.raises(RuntimeError, match="another event loop"):
            asyncio.run(call("bob"))


def test_of_many_event_loops_at_a_time_one_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made outside of any: the first call binds, in whatever thread (G9)."""
    mailboxes = InMemoryMailboxes()
    together = threading.Barrier(8)
    outcomes: list[object] = []

    def gateway() -> None:
        async def fetch() -> None:
            together.wait()
            for _ in range(20):
                try:
                    outcomes.append((await mailboxes.fetch("bob")).messages)
                except RuntimeError as error:
                    outcomes.append(str(error))

        asyncio.run(fetch())

    threads = [threading.Thread(target=gateway) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes.count(()) == 20
    assert sum("another event loop" in str(outcome) for outcome in outcomes) == 140
