"""Errors of readings and acknowledgements.

MailboxError                 base: catch this one at the edge of a gateway
├── StoreUnavailable         the store is away or throttles: try again later, nothing is lost
├── InvalidReceipt           not a receipt of this mailbox and table, or not authentic
├── UnreadableItem           the next item cannot be read by this version
└── TableMismatch            the table is missing, was replaced, or has another format
"""


class MailboxError(Exception):
    """Base of the errors that this package raises on purpose.

    Raised itself where the operator must act, as for denied access or wrong credentials.
    """


class StoreUnavailable(MailboxError):  # noqa: N818 - the contract's name, said as a state
    """The store did not answer in time, answered with a fault of its own, or throttled.

    throttled: whether the request rate was the only reason.
    """

    def __init__(self, reason: str, *, throttled: bool = False) -> None:
        super().__init__(reason)
        self.throttled = throttled


class InvalidReceipt(MailboxError):  # noqa: N818 - the contract's name, said as a state
    """A receipt that is damaged, unsigned, or belongs to another mailbox, table or version."""


class UnreadableItem(MailboxError):  # noqa: N818 - the contract's name, said as a state
    """The next item of the mailbox is damaged, or of a newer format.

    key: the item's sort key.
    after: a receipt with which `fetch(user_id, after=error.after)` continues after the item. Later
        messages of its partition are returned, but cannot be acknowledged until the item can be
        read.
    """

    def __init__(self, key: str, reason: str, *, after: str) -> None:
        super().__init__(f"cannot read the item at {key!r}: {reason}")
        self.key = key
        self.after = after


class TableMismatch(MailboxError):  # noqa: N818 - the contract's name, said as a state
    """The table is not the one that was opened, or not one that `poste init` created."""
