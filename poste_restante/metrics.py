"""The metrics of mailboxes: the protocol `Metrics`, its default, and the closed lists of outcomes.

    async with open_mailboxes(metrics=PrometheusMetrics()) as mailboxes: ...

`poste_restante.prometheus_metrics` and `poste_restante.opentelemetry_metrics`, each an extra, have
implementations. For another library, derive from `NoMetrics` and override some methods:

    class Slow(NoMetrics):
        def call_ended(self, started: object, call: CallEnded) -> None:
            if call.seconds > 1:
                print(call.operation, call.outcome, call.seconds)

Mailboxes report once per call or page, never per message, and never name a user.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol


class Operation(StrEnum):
    """A call of a gateway. `pages` makes one fetch per page."""

    FETCH = "fetch"
    ACK = "ack"


class Outcome(StrEnum):
    """The result of a call. TypeError and ValueError for its arguments come before it begins."""

    OK = "ok"
    #: StoreUnavailable, for the request rate.
    THROTTLED = "throttled"
    #: StoreUnavailable, for any other reason, such as no call slot in time.
    UNAVAILABLE = "unavailable"
    INVALID_RECEIPT = "invalid_receipt"
    UNREADABLE_ITEM = "unreadable_item"
    TABLE_MISMATCH = "table_mismatch"
    #: MailboxError itself: access, credentials, configuration, a damaged cursor.
    REFUSED = "refused"
    #: The caller, or closing, cancelled it.
    CANCELLED = "cancelled"
    #: Any other error: a bug, also of the client.
    FAILED = "failed"


class StoreOperation(StrEnum):
    """A call to DynamoDB, by its AWS name."""

    QUERY = "Query"
    UPDATE_ITEM = "UpdateItem"
    BATCH_WRITE_ITEM = "BatchWriteItem"


class StoreOutcome(StrEnum):
    """The result of a call to DynamoDB, after the client's retries."""

    OK = "ok"
    #: DynamoDB left deletes of a BatchWriteItem unprocessed.
    PARTIAL = "partial"
    THROTTLED = "throttled"
    #: A fault of the service or of a proxy, no connection, no answer, or a malformed one.
    UNAVAILABLE = "unavailable"
    TABLE_MISMATCH = "table_mismatch"
    #: Access, credentials, configuration.
    REFUSED = "refused"
    #: A cursor is already as far, or exists, which is normal.
    CONDITION_FAILED = "condition_failed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class PageRead(NamedTuple):
    """One page. bytes: of the messages' bodies.

    prefetched: True, the page used items that an earlier page's Query had read. False, it follows a
    receipt, with a limit, and no such items were kept. None: neither.
    """

    messages: int
    bytes: int
    prefetched: bool | None


class CallEnded(NamedTuple):
    """A completed call. page: of a fetch that returned one."""

    operation: Operation
    outcome: Outcome
    seconds: float
    page: PageRead | None


class StoreCallEnded(NamedTuple):
    """A completed call to DynamoDB. seconds: of every attempt, without the wait for a slot.

    read_units, write_units: as DynamoDB states them; else 0, as for an error.
    """

    operation: StoreOperation
    outcome: StoreOutcome
    seconds: float
    read_units: float
    write_units: float


class Load(Protocol):
    """The present calls to DynamoDB. Thread-safe."""

    @property
    def in_flight(self) -> int:
        """Return the number of calls under way."""
        ...

    @property
    def waiting(self) -> int:
        """Return the number of calls that wait for a slot."""
        ...

    @property
    def limit(self) -> int:
        """Return the limit of calls under way."""
        ...


class Metrics(Protocol):
    """The receiver of mailboxes' metrics. One object may serve several mailboxes, of several event
    loops.

    Mailboxes call it in their event loop, so it must not block. Its first error (Exception) is
    logged as a warning, and the call continues.
    """

    def opened(self, load: Load) -> None:
        """Receive the load of new mailboxes, to be read at a scrape.

        Mailboxes over a client of their owner report no end: hold `load` weakly.
        """
        ...

    def closed(self, load: Load) -> None:
        """Receive the load of a closed `open_mailboxes`."""
        ...

    def call_started(self, operation: Operation) -> object:
        """Receive the begin of a call. `call_ended` gets the returned value."""
        ...

    def call_ended(self, started: object, call: CallEnded) -> None:
        """Receive a completed call, in its task. started: None if `call_started` raised."""
        ...

    def store_call_ended(self, call: StoreCallEnded) -> None:
        """Receive a completed call to DynamoDB, of any method or of the table check."""
        ...

    def throttled(self, reasons: Sequence[str]) -> None:
        """Receive the reasons of a throttled attempt or of unprocessed deletes, of
        `retryable_errors.COUNTED_REASONS`.

        This includes the retries of `open_mailboxes`. It excludes those of an owner's client, and
        of the public calls of `reader_client`.
        """
        ...


#: The methods of `Metrics`.
METHODS = tuple(name for name in vars(Metrics) if not name.startswith("_"))


class NoMetrics:
    """The default, which counts nothing. With it mailboxes measure nothing."""

    def opened(self, load: Load) -> None:
        """Ignore the load."""

    def closed(self, load: Load) -> None:
        """Ignore the end."""

    def call_started(self, operation: Operation) -> object:
        """Remember nothing."""

    def call_ended(self, started: object, call: CallEnded) -> None:
        """Ignore the call."""

    def store_call_ended(self, call: StoreCallEnded) -> None:
        """Ignore the call."""

    def throttled(self, reasons: Sequence[str]) -> None:
        """Ignore the attempt."""


NO_METRICS = NoMetrics()
