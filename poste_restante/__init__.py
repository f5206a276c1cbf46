"""Read and acknowledge the mailboxes that poste-restante keeps in DynamoDB.

import json

from poste_restante import open_mailboxes

async with open_mailboxes(table="mailboxes", receipt_keys=[key]) as mailboxes:
    async for page in mailboxes.pages("bob", limit=100):  # all that waits; acknowledges nothing
        events = [message.to_cloudevent() for message in page.messages]
        await socket.send(json.dumps({"messages": events, "receipt": page.receipt}))
        confirmed = json.loads(await socket.recv())  # the client, when it has stored the page
        await mailboxes.ack("bob", confirmed["receipt"])  # none of it comes back
"""

from poste_restante.catch_up import CatchUp
from poste_restante.devices import Device
from poste_restante.errors import (
    InvalidReceipt,
    MailboxError,
    StoreUnavailable,
    TableMismatch,
    UnreadableItem,
)
from poste_restante.mailboxes import Mailboxes, open_mailboxes
from poste_restante.message import Header, Message
from poste_restante.page import Page
from poste_restante.position import Position

__all__ = [
    "CatchUp",
    "Device",
    "Header",
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
