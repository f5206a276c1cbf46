"""What the store's errors mean, and how it is waited for."""

import asyncio
from typing import Any

import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from tests.faults import refusal
from tests.store_client import store_on
from worker.backoff import WaitTracker
from worker.dynamodb.errors import classify
from worker.dynamodb.retrying_store import UNEXPECTED_MAX, client_config, open_store
from worker.errors import Bug, ConditionFailed, ItemRefused, OperatorError

#: A table and a key, and the item that is there.
WHERE: Any = ("mailboxes", {"user_id": {"S": "bob"}})
ITEM = {"a": {"S": "b"}}


class Failing:
    """A client whose every call raises what is next, and then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def get_item(self, **_: Any) -> dict[str, Any]:
        if self.errors:
            raise self.errors.pop(0)
        return {"Item": ITEM}


class Answering:
    """A client whose every call is answered with what is next."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)

    async def get_item(self, **_: Any) -> dict[str, Any]:
        return self.answers.pop(0)


async def no_sleep(delay_s: float) -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("code", "text", "meaning"),
    [
        ("ConditionalCheckFailedException", "The conditional request failed", ConditionFailed),
        ("ValidationException", "Item size has exceeded the maximum allowed size", ItemRefused),
        ("ValidationException", "Number overflow. Attempting to store a number", ItemRefused),
        ("ValidationException", "Nesting Levels have exceeded supported limits", ItemRefused),
        ("ValidationException", "Size of hashkey has exceeded the maximum size limit", ItemRefused),
        (
            "ValidationException",
            "The provided key element does not match the schema",
            OperatorError,
        ),
        ("ValidationException", "Missing the key position in the item", OperatorError),
        ("ValidationException", "Invalid ConditionExpression: Syntax error", Bug),
        ("ValidationException", "Too many items requested for the BatchWriteItem call", Bug),
        ("SerializationException", "", Bug),
        ("ResourceNotFoundException", "Requested resource not found", OperatorError),
        ("AccessDeniedException", "User is not authorized", OperatorError),
        ("ExpiredTokenException", "", OperatorError),
        ("InvalidSignatureException", "", OperatorError),
        ("ItemCollectionSizeLimitExceededException", "", OperatorError),
        ("SomethingNewException", "", OperatorError),
    ],
)
def test_a_refusal_has_one_meaning(code: str, text: str, meaning: type[Exception]) -> None:
    """Bad input is what is about an item; what nobody foresaw ends the process (G1, G9)."""
    with pytest.raises(meaning):
        classify(refusal(code, text), "batch_write_item")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ProvisionedThroughputExceededException", 400),
        ("ThrottlingException", 400),
        ("RequestLimitExceeded", 400),
        ("ReplicatedWriteConflictException", 400),
        ("InternalServerError", 500),
        ("AccessDeniedException", 503),
        ("504", 504),
        ("408", 408),
    ],
)
def test_what_passes_is_waited_for(code: str, status: int) -> None:
    """Throttling and faults of the service or on the way to it (G9)."""
    assert code in classify(refusal(code, status=status), "get_item")


@pytest.mark.parametrize(
    "error",
    [NoCredentialsError(), PartialCredentialsError(provider="env", cred_var="secret")],
)
async def test_missing_credentials_are_the_operators(error: Exception) -> None:
    """Waiting would not bring them (G9)."""
    with pytest.raises(OperatorError, match="cannot call DynamoDB"):
        await store_on(Failing(error), sleep=no_sleep).get_item(*WHERE)


async def test_an_outage_is_waited_for_without_end() -> None:
    """However long it lasts (G1)."""
    away = [ConnectTimeoutError(endpoint_url="http://nowhere")] * 1000
    store = store_on(Failing(*away), sleep=no_sleep)

    assert await store.get_item(*WHERE) == ITEM


async def test_a_caller_that_waits_is_counted_until_it_is_served() -> None:
    """A stall while somebody waits is the store's; a call that is served at once, or refused
    for good, waits for nobody (G1, G8)."""
    wait_tracker = WaitTracker()
    seen: list[int] = []

    async def look(delay_s: float) -> None:
        seen.append(wait_tracker.count)

    away = [ConnectTimeoutError(endpoint_url="http://nowhere")] * 2
    store = store_on(Failing(*away), wait_tracker=wait_tracker, sleep=look)
    await store.get_item(*WHERE)
    assert (seen, wait_tracker.count) == ([1, 1], 0)

    await store.get_item(*WHERE)
    refused = store_on(
        Failing(*away, refusal("AccessDeniedException")), wait_tracker=wait_tracker, sleep=no_sleep
    )
    with pytest.raises(OperatorError):
        await refused.get_item(*WHERE)
    assert wait_tracker.count == 0


@pytest.mark.parametrize(
    "error", [TypeError("ours"), HTTPClientError(error=TypeError("ours, wrapped"))]
)
async def test_what_may_be_our_own_fault_is_not_waited_for_without_end(error: Exception) -> None:
    """It ends the process rather than hide in a wait (G8)."""
    store = store_on(Failing(*[error] * (UNEXPECTED_MAX + 1)), sleep=no_sleep)
    with pytest.raises(type(error)):
        await store.get_item(*WHERE)

    patient = store_on(Failing(*[error] * UNEXPECTED_MAX), sleep=no_sleep)
    assert await patient.get_item(*WHERE) == ITEM


async def test_a_refusal_without_a_name_is_no_answer() -> None:
    """The error's body was cut off on the way, so botocore names it by its status: the call is
    made again; one that never says why ends the process (G1, G8)."""
    cut_off = refusal("400", '{"__type":"com.amazonaws.dynamodb.v2')
    store = store_on(Failing(*[cut_off] * UNEXPECTED_MAX), sleep=no_sleep)
    assert await store.get_item(*WHERE) == ITEM

    never = store_on(Failing(*[cut_off] * (UNEXPECTED_MAX + 1)), sleep=no_sleep)
    with pytest.raises(OperatorError, match="without saying why"):
        await never.get_item(*WHERE)


async def test_a_connection_reset_that_is_not_known_as_one_is_an_outage() -> None:
    """aiobotocore wraps what it does not know (G1)."""
    wrapped = [HTTPClientError(error=ConnectionResetError())] * 100

    assert await store_on(Failing(*wrapped), sleep=no_sleep).get_item(*WHERE) == ITEM


async def test_open_store_does_not_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is away at the start is waited for by the first call (G1)."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")
    async with open_store():
        pass


def test_the_sdk_makes_one_attempt_and_has_a_connection_for_every_call() -> None:
    """The store repeats by itself, so that throttling is seen (G8)."""
    config = client_config(calls_in_flight_max=3, timeout_s=1.5)

    assert config.retries["total_max_attempts"] == 1
    assert (config.connect_timeout, config.read_timeout) == (1.5, 1.5)
    assert config.max_pool_connections >= 3


@pytest.mark.parametrize("variable", ["AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_DYNAMODB"])
async def test_an_incomplete_environment_is_the_operators(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """One line, before the first call (G9)."""
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    if variable != "AWS_DEFAULT_REGION":
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv(variable, "no address")
    with pytest.raises(OperatorError, match="cannot use DynamoDB") as caught:
        async with open_store():
            pass
    assert "\n" not in str(caught.value)


async def test_an_answer_without_its_members_is_none() -> None:
    """It is asked for again, and not for ever: what is no DynamoDB would never give it (G8)."""
    unexpected: Any = {"strange": 1}
    store = store_on(Answering(unexpected, {"ConsumedCapacity": {}}), sleep=no_sleep)
    assert await store.get_item("mailboxes", {"user_id": {"S": "bob"}}) is None
    store = store_on(Answering(unexpected, {"Item": {"a": {"S": "b"}}}), sleep=no_sleep)
    assert await store.get_item("mailboxes", {"user_id": {"S": "bob"}}) == {"a": {"S": "b"}}

    with pytest.raises(OperatorError, match="without Item or ConsumedCapacity"):
        await store_on(Answering(*[unexpected] * 99), sleep=no_sleep).get_item("mailboxes", {})
