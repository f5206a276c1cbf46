"""Mailboxes for commands: each error says what to do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from poste_restante import Mailboxes, Page, open_mailboxes
from poste_restante.credentials import CredentialsError
from poste_restante.errors import (
    InvalidReceipt,
    MailboxError,
    StoreUnavailable,
    UnreadableItem,
)
from worker.errors import OperatorError
from worker.secret_file import SecretFile
from worker.settings import Settings


@asynccontextmanager
async def open_command_mailboxes(settings: Settings) -> AsyncIterator[Mailboxes]:
    """Open the mailboxes. Their errors say what to do."""
    try:
        async with open_mailboxes(
            table=settings.dynamodb.table,
            receipt_keys=_receipt_keys(settings),
            timeout_s=settings.dynamodb.timeout_s,
        ) as mailboxes:
            yield mailboxes
    except MailboxError as error:
        raise OperatorError(f"{error}{_advice(error)}") from error


async def fetch_caught_up(
    mailboxes: Mailboxes, user: str, *, since: str | None, device: str | None, timeout_s: float
) -> tuple[Page, bool]:
    """Return all waiting messages as one page, and whether none sent before now is missing. Raises
    as `Mailboxes.fetch`."""
    found = mailboxes.catch_up(
        user, until=datetime.now(UTC), since=since, device=device, timeout_s=timeout_s
    )
    pages = [page async for page in found]
    messages = tuple(message for page in pages for message in page.messages)
    receipt = pages[-1].receipt if pages else since
    return Page(messages, receipt, more=False, fresh_as_of=found.fresh_as_of), found.complete


def _receipt_keys(settings: Settings) -> list[str]:
    """Return the receipt keys, the signing one first. Raises ConfigurationError for their file."""
    if settings.receipt_keys_file is not None:
        text = SecretFile("receipt_keys_file", settings.receipt_keys_file).read()
        return [line for line in text.splitlines() if line]
    return [key.get_secret_value() for key in settings.receipt_keys]


def _advice(error: MailboxError) -> str:
    """Return the remedy of an error of the read module. A gateway would use the error's type."""
    match error:
        case StoreUnavailable() if isinstance(error.__cause__, CredentialsError):
            return ""  # its text has the remedy
        case StoreUnavailable():
            return (
                ": is DynamoDB running, and are AWS_ENDPOINT_URL_DYNAMODB and"
                " AWS_DEFAULT_REGION right?"
            )
        case InvalidReceipt():
            return ": give the receipt that `poste fetch` printed for this user, device and table"
        case UnreadableItem():
            return f": go past it with `poste fetch --after {error.after}`"
        case _:
            return ""
