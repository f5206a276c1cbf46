"""The gateway of the chat example: its protocol, and what goes which way. No services."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestClient, TestServer
from aiokafka.errors import KafkaConnectionError

from examples.chat import gateway as module
from examples.chat.gateway import LATER, REPLACED, TEXT_MAX, Connection, Gateway
from poste_restante import StoreUnavailable
from poste_restante.testing import InMemoryMailboxes

#: Seconds until an answer must be there; a hang fails the test.
ANSWER_S = 30.0


class Producer:
    """Kafka, as a list: (key, value, headers). held: until it is set nothing is acknowledged."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes, dict[str, bytes]]] = []
        self.failure: Exception | None = None
        self.held = asyncio.Event()
        self.held.set()

    async def send_and_wait(
        self, topic: str, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None:
        assert topic == "topic"
        if self.failure is not None:
            raise self.failure
        self.sent.append((key, value, dict(headers)))
        await self.held.wait()


class Plain(Gateway):
    """It catches up when it is told to: other tests hold `catch_up` to the real thing."""

    may_catch_up: asyncio.Event

    async def catch_up(self, connection: Connection) -> None:
        await self.may_catch_up.wait()


class Chat:
    """A gateway that serves, and clients of it."""

    def __init__(self, gateway: Plain, producer: Producer, client: "Client") -> None:
        self.gateway, self.producer, self.client = gateway, producer, client

    async def connect(self, user: str, device: str, **headers: str) -> ClientWebSocketResponse:
        return await self.client.ws_connect(
            "/socket", params={"user": user, "device": device}, headers=headers
        )

    async def live(self, user: str, device: str) -> ClientWebSocketResponse:
        socket = await self.connect(user, device)
        assert await heard(socket) == {"state": "catching up"}
        assert await heard(socket) == {"state": "live"}
        return socket

    async def until_sent(self, count: int) -> None:
        async with asyncio.timeout(ANSWER_S):
            while len(self.producer.sent) < count:  # noqa: ASYNC110 - a list
                await asyncio.sleep(0)


Client = TestClient[web.Request, web.Application]


async def heard(socket: ClientWebSocketResponse) -> Any:
    return await socket.receive_json(timeout=ANSWER_S)


async def confirm(socket: ClientWebSocketResponse) -> list[str]:
    """The texts of what comes next, confirmed."""
    said = await heard(socket)
    await socket.send_json({"confirmed": said["number"]})
    return [event["data"] for event in said["events"]]


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    producer = Producer()
    gateway = Plain(InMemoryMailboxes(), producer, "topic")
    gateway.may_catch_up = asyncio.Event()
    gateway.may_catch_up.set()
    app = web.Application()
    app.router.add_get("/socket", gateway.connect)
    async with TestClient(TestServer(app)) as client:
        yield Chat(gateway, producer, client)
        await gateway.close()


def message(text: str = "hello", to: str = "bob", id_: str = "1") -> dict[str, str]:
    return {"id": id_, "to": to, "text": text}


# ---- which way a message goes


async def test_a_message_that_all_devices_confirm_goes_live_and_nowhere_else(chat: Chat) -> None:
    """It costs no record and no item (G12)."""
    alice, phone, laptop = [
        await chat.live(*who) for who in (("alice", "a"), ("bob", "phone"), ("bob", "laptop"))
    ]
    await alice.send_json(message())

    assert [await confirm(phone), await confirm(laptop)] == [["hello"], ["hello"]]
    assert await heard(alice) == {"accepted": "1", "way": "live"}
    assert chat.producer.sent == []


async def test_a_message_goes_to_kafka_where_one_device_is_offline(chat: Chat) -> None:
    """As a CloudEvent; the device that is online has it at once (G12)."""
    alice, phone = await chat.live("alice", "a"), await chat.live("bob", "phone")
    await chat.gateway.mailboxes.add_device("bob", "laptop")
    await alice.send_json(message())

    assert await confirm(phone) == ["hello"]
    assert await heard(alice) == {"accepted": "1", "way": "Kafka"}
    ((key, value, headers),) = chat.producer.sent
    assert (key, value) == (b"bob", b"hello")
    assert headers.items() > {
        "ce_specversion": b"1.0", "ce_id": b"1", "ce_source": b"/chat/alice",
        "ce_type": b"chat.message",
    }.items()  # fmt: skip


async def test_a_device_that_leaves_without_confirming_makes_it_go_to_kafka(chat: Chat) -> None:
    """A successful write to a socket proves nothing (G1)."""
    alice, phone = await chat.live("alice", "a"), await chat.live("bob", "phone")
    await alice.send_json(message())
    assert (await heard(phone))["events"][0]["data"] == "hello"
    await phone.close()

    assert await heard(alice) == {"accepted": "1", "way": "Kafka"}


async def test_a_device_that_registers_while_kafka_takes_a_message_gets_it_live(chat: Chat) -> None:
    """It may have read its mailbox before (G1, G11)."""
    alice = await chat.live("alice", "a")
    chat.producer.held.clear()
    await alice.send_json(message())
    await chat.until_sent(1)
    phone = await chat.live("bob", "phone")
    chat.producer.held.set()

    assert await confirm(phone) == ["hello"]
    assert await heard(alice) == {"accepted": "1", "way": "Kafka"}


async def test_what_is_sent_while_a_device_catches_up_comes_behind_in_order(chat: Chat) -> None:
    """And its sender does not wait for that (G3)."""
    alice = await chat.live("alice", "a")
    chat.gateway.may_catch_up.clear()
    phone = await chat.connect("bob", "phone")
    assert await heard(phone) == {"state": "catching up"}
    for text in ("one", "two"):
        await alice.send_json(message(text, id_=text))
        assert await heard(alice) == {"accepted": text, "way": "Kafka"}
    chat.gateway.may_catch_up.set()

    assert await heard(phone) == {"state": "live"}
    assert await confirm(phone) == ["one", "two"]


async def test_a_message_goes_to_kafka_where_the_devices_cannot_be_read(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some device might be offline (G10)."""
    alice, phone = await chat.live("alice", "a"), await chat.live("bob", "phone")

    async def unavailable(user: str) -> None:
        raise StoreUnavailable(user)

    monkeypatch.setattr(chat.gateway.mailboxes, "devices", unavailable)
    await alice.send_json(message())

    assert await confirm(phone) == ["hello"]
    assert await heard(alice) == {"accepted": "1", "way": "Kafka"}


async def test_a_message_that_kafka_does_not_take_is_not_accepted(chat: Chat) -> None:
    """Its sender tries again (G1)."""
    alice = await chat.live("alice", "a")
    chat.producer.failure = KafkaConnectionError()
    await alice.send_json(message())

    assert await heard(alice) == {"failed": "1", "why": "Kafka does not answer"}


# ---- connections


async def test_the_same_device_again_takes_the_place_of_the_first(chat: Chat) -> None:
    """And the first client is told, so that the two do not take turns."""
    first = await chat.live("bob", "phone")
    second = await chat.live("bob", "phone")

    assert (await first.receive(ANSWER_S)).type is WSMsgType.CLOSE
    assert first.close_code == REPLACED
    alice = await chat.live("alice", "a")
    await alice.send_json(message())
    assert await confirm(second) == ["hello"]


async def test_a_queue_that_is_full_ends_its_connection(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in it is in Kafka (G8)."""
    monkeypatch.setattr(module, "QUEUE_MAX", 2)
    alice = await chat.live("alice", "a")
    chat.gateway.may_catch_up.clear()
    phone = await chat.connect("bob", "phone")
    assert await heard(phone) == {"state": "catching up"}
    for n in range(3):
        await alice.send_json(message(id_=str(n)))
        assert await heard(alice) == {"accepted": str(n), "way": "Kafka"}

    assert (await phone.receive(ANSWER_S)).type is WSMsgType.CLOSE
    assert phone.close_code == LATER
    assert len(chat.producer.sent) == 3


async def test_a_client_that_cannot_be_registered_is_told_to_come_back(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store is away."""

    async def unavailable(user: str, device: str) -> None:
        raise StoreUnavailable(user + device)

    monkeypatch.setattr(chat.gateway.mailboxes, "add_device", unavailable)
    phone = await chat.connect("bob", "phone")

    assert (await phone.receive(ANSWER_S)).type is WSMsgType.CLOSE
    assert phone.close_code == LATER
    assert chat.gateway.online == {}


# ---- bad input


@pytest.mark.parametrize(
    ("user", "device"), [("", "a"), ("bob", ""), ("b b", "a"), ("b" * 37, "a")]
)
async def test_a_name_that_is_none_is_refused(chat: Chat, user: str, device: str) -> None:
    """In one line."""
    answer = await chat.client.get("/socket", params={"user": user, "device": device})

    assert answer.status == 400
    assert "must match" in await answer.text()


async def test_a_page_of_another_origin_is_refused(chat: Chat) -> None:
    """A browser would send the user's cookies, if there were any."""
    with pytest.raises(WSServerHandshakeError) as raised:
        await chat.connect("bob", "phone", Origin="http://elsewhere.example")

    assert raised.value.status == 403


@pytest.mark.parametrize(
    "said",
    [
        message(to=""), message(to="no name"), message(to="b" * 37), message(""), {},
        message("x" * (TEXT_MAX + 1)), {"id": [1], "to": {"a": 1}, "text": None},
    ],
    ids=lambda said: json.dumps(said)[:30],
)  # fmt: skip
async def test_a_message_that_makes_no_sense_is_refused(chat: Chat, said: dict[str, Any]) -> None:
    """It is not tried again, and the connection stays."""
    alice = await chat.live("alice", "a")
    await alice.send_json(said)
    answer = await heard(alice)
    await alice.send_json(message(to="carol"))

    assert set(answer) == {"refused", "why"}
    assert await heard(alice) == {"accepted": "1", "way": "Kafka"}


async def test_half_of_a_surrogate_pair_is_no_text_and_stops_nothing(chat: Chat) -> None:
    """JSON can carry it, UTF-8 cannot."""
    alice = await chat.live("alice", "a")
    await alice.send_str('{"id": "1", "to": "carol", "text": "\\ud83d"}')

    assert await heard(alice) == {"accepted": "1", "way": "Kafka"}
    assert chat.producer.sent[0][1] == b"?"


@pytest.mark.parametrize("text", ["no JSON", "[]", "7", "[" * 10_000, '{"confirmed": 1'])
async def test_a_client_that_breaks_the_protocol_is_disconnected(chat: Chat, text: str) -> None:
    """And nobody else."""
    bob, alice = await chat.live("bob", "phone"), await chat.live("alice", "a")
    await alice.send_str(text)

    assert (await alice.receive(ANSWER_S)).type is WSMsgType.CLOSE
    carol = await chat.live("carol", "c")
    await carol.send_json(message())
    assert await confirm(bob) == ["hello"]


async def test_two_messages_at_a_time_break_the_protocol(chat: Chat) -> None:
    """They might overtake each other (G3)."""
    alice = await chat.live("alice", "a")
    chat.producer.held.clear()
    await alice.send_json(message(id_="1"))
    await alice.send_json(message(id_="2"))

    assert (await alice.receive(ANSWER_S)).type is WSMsgType.CLOSE
    chat.producer.held.set()


async def test_a_confirmation_of_something_else_confirms_nothing(chat: Chat) -> None:
    """Of another number, or of none (G1)."""
    alice, phone = await chat.live("alice", "a"), await chat.live("bob", "phone")
    await alice.send_json(message())
    said = await heard(phone)
    for number in (said["number"] - 1, said["number"] + 1, None, "x"):
        await phone.send_json({"confirmed": number})
    await phone.close()

    assert await heard(alice) == {"accepted": "1", "way": "Kafka"}
