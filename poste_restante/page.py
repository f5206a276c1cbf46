"""One page of a mailbox."""

from dataclasses import dataclass
from datetime import datetime

from poste_restante.message import Message


@dataclass(frozen=True, slots=True)
class Page:
    """What one fetch returned.

    messages: in log order per partition. receipt: for `ack`, or for `fetch(after=...)` and
    `fetch(since=...)`; None where nothing was passed, and neither of them was given. It covers
    everything up to the end of the page, so the pages that it was fetched behind as well.
    more: a further message waits behind this page. fresh_as_of: everything that was appended to
    the topic for this user before this instant is in this page or waits behind it, or was
    acknowledged, or had expired. A lower bound; None: it was not asked for, or nothing is known.
    """

    messages: tuple[Message, ...]
    receipt: str | None
    more: bool
    fresh_as_of: datetime | None = None
