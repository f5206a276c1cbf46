"""AWS credentials, and the reasons for their absence.

Both clients get credentials apart from the calls that these sign, which separates the errors of a
source from those of DynamoDB. Sources are variables, files, a process, an agent of the host or the
container, STS and SSO. Each failure becomes one CredentialsError with one of three faults.
"""

from enum import Enum
from typing import Any

import aiohttp
from botocore import exceptions as botocore_exceptions
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError

from poste_restante.retryable_errors import MISSING_FILE


class CredentialsFault(Enum):
    """The kind of a failure to get credentials."""

    #: STS or SSO does not answer. Callers wait as for a store that does not answer.
    UNANSWERED = "unanswered"
    #: A source failed, and may answer the next request.
    FAILED = "failed"
    #: The configuration is incomplete or wrong. A further request gets the same answer.
    CONFIGURATION = "configuration"


#: Errors of the network on the way to STS or SSO. For IMDS and the container's agent, botocore
#: raises CredentialRetrievalError instead, or finds no credentials.
_UNANSWERED = (
    botocore_exceptions.ConnectionError, HTTPClientError, aiohttp.ClientError, TimeoutError,
    ConnectionError,
)  # fmt: skip
#: botocore's errors of a source with a bad or no answer.
_FAILED = (
    botocore_exceptions.CredentialRetrievalError, botocore_exceptions.MetadataRetrievalError,
    botocore_exceptions.TokenRetrievalError, NoCredentialsError,
)  # fmt: skip


class CredentialsError(Exception):
    """There are no credentials. The text is one line with the cause and the remedy."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(_text(cause))
        self.fault = _fault(cause)


def _fault(cause: BaseException) -> CredentialsFault:
    if isinstance(cause, _UNANSWERED):
        return CredentialsFault.UNANSWERED
    if isinstance(cause, MISSING_FILE):
        return CredentialsFault.CONFIGURATION
    if isinstance(cause, BotoCoreError) and not isinstance(cause, _FAILED):
        return CredentialsFault.CONFIGURATION
    # A refusal of STS or SSO, a process whose output is not JSON, a bad answer of an agent.
    return CredentialsFault.FAILED


def _text(cause: BaseException) -> str:
    text = " ".join(str(cause).split())[:500]
    if not isinstance(cause, (BotoCoreError, ClientError)):
        text = f"{type(cause).__name__}: {text}"
    return f"no AWS credentials: {text}; {_advice(cause)}"


def _advice(cause: BaseException) -> str:
    sso = (botocore_exceptions.SSOError, botocore_exceptions.TokenRetrievalError)
    if isinstance(cause, sso):
        return "run `aws sso login`"
    if isinstance(cause, OSError) and not isinstance(cause, _UNANSWERED):
        return "correct the AWS profile, where it names that"
    if isinstance(cause, ClientError):
        return "check the role and its source in the AWS profile"
    return "set the AWS SDK's variables (AWS_ACCESS_KEY_ID, AWS_PROFILE) or files"


class Credentials:
    """The credentials of one session of aioboto3 or aiobotocore, renewed as they expire.

    A failure is not cached: the next call tries again.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    async def get_frozen_credentials(self) -> Any:
        """Return key, secret and token for one signature. Raises CredentialsError."""
        try:
            found = await self._session.get_credentials()
            if found is None:
                raise NoCredentialsError
            return await found.get_frozen_credentials()
        except Exception as error:  # every error of a source is about its environment
            raise CredentialsError(error) from error
