"""Read and acknowledge the mailboxes that poste-restante keeps in DynamoDB.

async with open_mailboxes(table="mailboxes", receipt_keys=[key]) as mailboxes:
    page = await mailboxes.fetch("bob", limit=100)
    for message in page.messages:
        ...
    await mailboxes.ack("bob", page.receipt)
"""

from poste_restante.errors import (
    InvalidReceipt,
    MailboxError,
    StoreUnavailable,
    TableMismatch,
    UnreadableItem,
)
from poste_restante.mailboxes import Mailboxes, Page, open_mailboxes
from poste_restante.message import Message
from poste_restante.position import Position

__all__ = [
    "InvalidReceipt",
    "MailboxError",
    "Mailboxes",
    "Message",
    "Page",
    "Position",
    "StoreUnavailable",
    "TableMismatch",
    "UnreadableItem",
    "open_mailboxes",
]
