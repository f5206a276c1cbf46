"""One page of a mailbox."""

from dataclasses import dataclass
from datetime import datetime

from poste_restante.message import Message


@dataclass(frozen=True, slots=True)
class Page:
    """The result of one fetch.

    messages: in log order per partition.
    receipt: for `ack`, `fetch(after=...)` and `fetch(since=...)`. It covers this page and the pages
        before it. None: nothing was passed, and the fetch had no receipt.
    more: whether a further message waits after this page.
    fresh_as_of: an instant. Every message that was appended for this user before it is in this
        page, waits after it, was acknowledged, or had expired. None: it was not requested, or is
        not known.
    """

    messages: tuple[Message, ...]
    receipt: str | None
    more: bool
    fresh_as_of: datetime | None = None
