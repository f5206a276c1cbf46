"""What a reading or an acknowledgement can raise.

MailboxError                 base: catch this one at the edge of a gateway
├── StoreUnavailable         the store is away or throttles: try again later, nothing is lost
├── InvalidReceipt           not a receipt of this mailbox and table, or not an authentic one
├── UnreadableItem           an item that this version cannot read stands at the head
└── TableMismatch            not the table that was opened: missing, replaced, another format
"""


class MailboxError(Exception):
    """Base of everything that this package raises on purpose.

    Raised itself where the operator must act: access denied, wrong credentials.
    """


class StoreUnavailable(MailboxError):  # noqa: N818 - the contract's name, said as a state
    """The store did not answer in time, answered with a fault of its own, or throttled.

    throttled: whether it refused for the rate of requests alone.
    """

    def __init__(self, reason: str, *, throttled: bool = False) -> None:
        super().__init__(reason)
        self.throttled = throttled


class InvalidReceipt(MailboxError):  # noqa: N818 - the contract's name, said as a state
    """A receipt that is damaged, unsigned, or belongs to another mailbox, table or version."""


class UnreadableItem(MailboxError):  # noqa: N818 - the contract's name, said as a state
    """The next item of the mailbox is of a newer format, or damaged.

    key: the item's sort key.
    after: a receipt: `fetch(user_id, after=error.after)` goes on behind the item. What is
        returned from there on is shown, but of the item's partition nothing behind it can be
        acknowledged until the item can be read: an acknowledgement covers what was returned.
    """

    def __init__(self, key: str, reason: str, *, after: str) -> None:
        super().__init__(f"cannot read the item at {key!r}: {reason}")
        self.key = key
        self.after = after


class TableMismatch(MailboxError):  # noqa: N818 - the contract's name, said as a state
    """The table is not the one that was opened, or none that `poste init` made."""
