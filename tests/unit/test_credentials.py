"""Credentials that are not there: what it means, how often they are asked for, what is said."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, SSLError

from poste_restante import MailboxError, StoreUnavailable, open_mailboxes
from poste_restante.credentials import Credentials, CredentialsError, CredentialsFault
from poste_restante.retryable_errors import UNSIGNED
from poste_restante.store import translate_errors
from tests.faults import refusal
from tests.store_client import kind_on, store_on
from worker.cli.deadline_store import DeadlineStore
from worker.dynamodb.errors import Limit, meaning
from worker.dynamodb.retrying_store import REFUSALS_MAX, RetryingStore, open_store
from worker.errors import OperatorError

CONFIGURATION, FAILED, UNANSWERED = (
    CredentialsFault.CONFIGURATION, CredentialsFault.FAILED, CredentialsFault.UNANSWERED,
)  # fmt: skip
#: A table and a key.
WHERE: Any = ("mailboxes", {})
FAILING = exceptions.CredentialRetrievalError(provider="iam-role", error_msg="HTTP 500")


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


class Source:
    """A session that fails with each of `errors`, None: without any, and then has credentials."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)

    async def get_credentials(self) -> Any:
        if not self.errors:
            return self
        error = self.errors.pop(0)
        if error is not None:
            raise error
        return None

    async def get_frozen_credentials(self) -> str:
        return "frozen"


class Signed:
    """A client whose every call asks for credentials first."""

    def __init__(self, *errors: Exception | None) -> None:
        self.source = Source(*errors)

    async def get_item(self, **_: Any) -> dict[str, Any]:
        return {"Item": {"key": {"S": await Credentials(self.source).get_frozen_credentials()}}}


@pytest.mark.parametrize(
    ("cause", "fault"),
    [
        (exceptions.SSOTokenLoadError(error_msg="no token"), CONFIGURATION),
        (exceptions.UnauthorizedSSOTokenError(), CONFIGURATION),
        (exceptions.ProfileNotFound(profile="x"), CONFIGURATION),
        (exceptions.ConfigParseError(path="x"), CONFIGURATION),
        (exceptions.InvalidConfigError(error_msg="x"), CONFIGURATION),
        (exceptions.PartialCredentialsError(provider="env", cred_var="x"), CONFIGURATION),
        (FileNotFoundError(2, "No such file", "/no/such/binary"), CONFIGURATION),
        (PermissionError(13, "Permission denied", "/etc"), CONFIGURATION),
        (FAILING, FAILED),
        (exceptions.MetadataRetrievalError(error_msg="x"), FAILED),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="x"), FAILED),
        (exceptions.NoCredentialsError(), FAILED),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRole"), FAILED),
        (ValueError("no JSON"), FAILED),
        (AttributeError("'list' object has no attribute 'get'"), FAILED),
        (BlockingIOError(11, "Resource temporarily unavailable"), FAILED),
        (exceptions.EndpointConnectionError(endpoint_url="https://sts"), UNANSWERED),
        (HTTPClientError(error=OSError()), UNANSWERED),
        (TimeoutError(), UNANSWERED),
    ],
)
async def test_a_failure_of_a_source_has_one_meaning(
    cause: Exception, fault: CredentialsFault
) -> None:
    """By its kind, whichever source it is of, in one line (G9)."""
    with pytest.raises(CredentialsError) as caught:
        await Credentials(Source(cause)).get_frozen_credentials()

    assert caught.value.fault is fault
    assert str(caught.value).startswith("no AWS credentials: ")
    assert "\n" not in str(caught.value)


async def _translated(error: Exception) -> None:
    async def fails() -> None:
        raise error

    await translate_errors(fails(), "mailboxes")


async def test_every_error_of_the_sdk_has_a_meaning() -> None:
    """None of botocore's own errors leaves a command, a worker or a reader as it is."""
    known: list[Any] = [
        kind
        for kind in vars(exceptions).values()
        if isinstance(kind, type) and issubclass(kind, BotoCoreError)
    ]
    assert len(known) > 50
    for kind in known:
        error = kind.__new__(kind)
        error.args, error.kwargs = ("said",), {}
        try:
            wait = meaning(error, "get_item")
        except OperatorError as raised:
            assert "cannot call DynamoDB: " in str(raised)  # noqa: PT017
        else:
            assert wait.limit is not Limit.UNEXPECTED or kind is HTTPClientError
        with pytest.raises(MailboxError):
            await _translated(error)


@pytest.mark.parametrize("kind", [RetryingStore, DeadlineStore])
async def test_one_failing_answer_is_asked_again(kind: type[RetryingStore]) -> None:
    """By a worker and by a command: an agent that answers badly once ends nothing (G1)."""
    store = kind_on(kind, Signed(FAILING, None, FAILING), sleep=at_once)

    assert await store.get_item(*WHERE) == {"key": {"S": "frozen"}}


@pytest.mark.parametrize("kind", [RetryingStore, DeadlineStore])
async def test_a_source_that_goes_on_failing_is_the_operators(kind: type[RetryingStore]) -> None:
    """After a named number of answers, with the source's own words (G8)."""
    client = Signed(*[FAILING] * 100)
    with pytest.raises(OperatorError, match=r"no AWS credentials: .*HTTP 500"):
        await kind_on(kind, client, sleep=at_once).get_item(*WHERE)

    assert len(client.source.errors) == 100 - kind.refusals_max


async def test_a_configuration_is_not_asked_again() -> None:
    """The same file gives the same answer."""
    client = Signed(*[exceptions.SSOTokenLoadError(error_msg="no token")] * 2)
    with pytest.raises(OperatorError, match="run `aws sso login`"):
        await store_on(client, sleep=at_once).get_item(*WHERE)

    assert len(client.source.errors) == 1


async def test_a_source_that_does_not_answer_is_waited_for_without_end() -> None:
    """As the store is: a restart would not bring the network back (G1)."""
    away = [exceptions.EndpointConnectionError(endpoint_url="https://sts")] * 1000

    assert await store_on(Signed(*away), sleep=at_once).get_item(*WHERE) == {"key": {"S": "frozen"}}


class Refusing:
    """Refuses so many calls with a code, then answers."""

    def __init__(self, code: str, times: int) -> None:
        self.code, self.times = code, times

    async def get_item(self, **_: Any) -> dict[str, Any]:
        self.times -= 1
        if self.times >= 0:
            raise refusal(self.code, "Signature expired: 1 is now earlier than 2")
        return {"Item": {}}


@pytest.mark.parametrize("code", sorted(UNSIGNED))
async def test_a_signature_that_has_just_expired_is_made_again(code: str) -> None:
    """A pause, a clock that is being set, credentials that were renewed: all pass (G1); what does
    not pass is a refusal, and is said as one (G8)."""
    assert await store_on(Refusing(code, REFUSALS_MAX - 1), sleep=at_once).get_item(*WHERE) == {}
    assert await kind_on(DeadlineStore, Refusing(code, 1), sleep=at_once).get_item(*WHERE) == {}

    for kind in (RetryingStore, DeadlineStore):
        with pytest.raises(OperatorError, match=f"DynamoDB refuses get_item: {code}: Signature"):
            await kind_on(kind, Refusing(code, 100), sleep=at_once).get_item(*WHERE)


async def test_a_refusal_that_cannot_pass_is_not_asked_again() -> None:
    """A permission that is missing is missing (G9)."""
    client = Refusing("AccessDeniedException", 2)
    with pytest.raises(OperatorError, match="DynamoDB refuses"):
        await store_on(client, sleep=at_once).get_item(*WHERE)

    assert client.times == 1


async def test_a_refusal_is_no_silence_to_a_command() -> None:
    """Where its time is over between two attempts it says what it was told, not that nobody
    answers."""
    store = kind_on(DeadlineStore, Refusing("ExpiredTokenException", 10_000))
    store.answer_s_max, store.refusals_max = 0.05, 10_000
    with pytest.raises(OperatorError, match="DynamoDB refuses get_item: ExpiredTokenException"):
        await store.get_item(*WHERE)


@pytest.mark.parametrize(
    "error",
    [
        SSLError(endpoint_url="https://x", error=ssl.SSLCertVerificationError("not trusted")),
        HTTPClientError(error=FileNotFoundError(2, "No such file", "/no/such/ca.pem")),
    ],
)
async def test_a_certificate_that_is_not_trusted_is_no_outage(error: Exception) -> None:
    """Nor is a file of AWS_CA_BUNDLE that is not there: waiting would not mend them (G8)."""

    class Untrusted:
        async def get_item(self, **_: Any) -> None:
            raise error

    with pytest.raises(OperatorError, match=r"cannot call DynamoDB: .*AWS_CA_BUNDLE"):
        await store_on(Untrusted(), sleep=at_once).get_item(*WHERE)
    with pytest.raises(MailboxError) as caught:
        await _translated(error)
    assert type(caught.value) is MailboxError


# ---- the sources themselves

PROFILES = """
[profile sso]
sso_session = my
sso_account_id = 123456789012
sso_role_name = dev
[sso-session my]
sso_region = us-east-1
sso_start_url = https://sso.invalid/start
[profile nobinary]
credential_process = /no/such/binary
[profile directory]
credential_process = /
[profile nojson]
credential_process = /bin/echo hello
[profile fails]
credential_process = /bin/false
[profile quote]
credential_process = "/bin/echo
[profile partial]
aws_access_key_id = x
[profile nosource]
role_arn = arn:aws:iam::123456789012:role/x
source_profile = gone
[profile token]
role_arn = arn:aws:iam::123456789012:role/x
web_identity_token_file = /no/such/token
"""
NAMES = ["sso", "nobinary", "directory", "nojson", "fails", "quote", "partial", "nosource", "token"]
#: Of these the next answer may be another one.
PASSING = {"nojson", "fails", "quote"}


@pytest.mark.parametrize("name", NAMES)
async def test_a_profile_without_credentials_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """For a worker, a command and a reader, on opening, and it says what is wrong."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    (tmp_path / "config").write_text(PROFILES)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_PROFILE", name)
    with pytest.raises(OperatorError, match="cannot call DynamoDB: no AWS credentials: ") as caught:
        async with open_store(kind=DeadlineStore):
            pass
    with pytest.raises(MailboxError, match="cannot call the store: no AWS credentials: ") as read:
        async with open_mailboxes():
            pass

    assert isinstance(read.value, StoreUnavailable) == (name in PASSING)
    assert "\n" not in f"{caught.value}{read.value}"
    assert name != "nobinary" or "'/no/such/binary'" in str(caught.value)
