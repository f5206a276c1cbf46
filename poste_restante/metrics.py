"""What mailboxes report: the protocol `Metrics`, its default, and the closed lists it counts by.

    async with open_mailboxes(metrics=PrometheusMetrics()) as mailboxes: ...

`poste_restante.prometheus_metrics` and `poste_restante.opentelemetry_metrics` have ready ones, each
an extra. For another library, derive from `NoMetrics` and override what you count:

    class Slow(NoMetrics):
        def call_ended(self, started: object, call: CallEnded) -> None:
            if call.seconds > 1:
                print(call.operation, call.outcome, call.seconds)

Everything is reported once per call or page, never per message, and nothing names a user.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol


class Operation(StrEnum):
    """A call of a gateway. `pages` makes one fetch per page."""

    FETCH = "fetch"
    ACK = "ack"


class Outcome(StrEnum):
    """How a call ended. TypeError and ValueError for its arguments come before it begins."""

    OK = "ok"
    #: StoreUnavailable, for the rate of requests.
    THROTTLED = "throttled"
    #: StoreUnavailable, for any other reason; also where no call slot became free in time.
    UNAVAILABLE = "unavailable"
    INVALID_RECEIPT = "invalid_receipt"
    UNREADABLE_ITEM = "unreadable_item"
    TABLE_MISMATCH = "table_mismatch"
    #: MailboxError itself: access, credentials, configuration, a damaged cursor.
    REFUSED = "refused"
    #: Its caller cancelled it, or closing ended it.
    CANCELLED = "cancelled"
    #: Any other error: a fault of ours, or of the client.
    FAILED = "failed"


class StoreOperation(StrEnum):
    """A call to DynamoDB, by its AWS name."""

    QUERY = "Query"
    UPDATE_ITEM = "UpdateItem"
    BATCH_WRITE_ITEM = "BatchWriteItem"


class StoreOutcome(StrEnum):
    """How a call to DynamoDB ended, after the attempts that its client repeated."""

    OK = "ok"
    #: DynamoDB left deletes of a BatchWriteItem over.
    PARTIAL = "partial"
    THROTTLED = "throttled"
    #: A fault of the service or of a proxy, no connection, no answer, or a malformed one.
    UNAVAILABLE = "unavailable"
    TABLE_MISMATCH = "table_mismatch"
    #: Access, credentials, configuration.
    REFUSED = "refused"
    #: A cursor that is already as far, or exists: ordinary.
    CONDITION_FAILED = "condition_failed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class PageRead(NamedTuple):
    """One page. bytes: of the messages' bodies.

    prefetched: True, the page used items that an earlier page's Query had read; False, it continues
    behind a receipt with a limit, and no such items were kept; None, neither.
    """

    messages: int
    bytes: int
    prefetched: bool | None


class CallEnded(NamedTuple):
    """A call that ended. page: of a fetch that returned one."""

    operation: Operation
    outcome: Outcome
    seconds: float
    page: PageRead | None


class StoreCallEnded(NamedTuple):
    """A call to DynamoDB that ended. seconds: without the wait for a slot, with every attempt.

    read_units, write_units: as DynamoDB states them; 0 where it does not, as for an error.
    """

    operation: StoreOperation
    outcome: StoreOutcome
    seconds: float
    read_units: float
    write_units: float


class Load(Protocol):
    """Calls to DynamoDB at this moment. May be read from any thread."""

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        ...

    @property
    def waiting(self) -> int:
        """Calls that wait for one of those to end."""
        ...

    @property
    def limit(self) -> int:
        """Calls that may be under way."""
        ...


class Metrics(Protocol):
    """What mailboxes report to. One object may serve several mailboxes, of several event loops.

    Mailboxes call it in their event loop, so it must answer at once. What it raises (Exception) is
    logged once as a warning, and nothing else: the call goes on and its answer is returned.
    """

    def opened(self, load: Load) -> None:
        """Mailboxes are made. load: how busy they are, to be read when a scrape asks.

        Mailboxes over a client of their owner's report no end: hold `load` weakly.
        """
        ...

    def closed(self, load: Load) -> None:
        """The mailboxes of an `open_mailboxes` are closed."""
        ...

    def call_started(self, operation: Operation) -> object:
        """A call begins. What this returns is handed to `call_ended`."""
        ...

    def call_ended(self, started: object, call: CallEnded) -> None:
        """The call ended, in the task it began in. started: None where `call_started` raised."""
        ...

    def store_call_ended(self, call: StoreCallEnded) -> None:
        """A call to DynamoDB ended. Those of all methods are reported, and of the table check."""
        ...

    def throttled(self, reasons: Sequence[str]) -> None:
        """DynamoDB throttled an attempt, or left deletes over. reasons: of
        `retryable_errors.COUNTED_REASONS`.

        Attempts that `open_mailboxes` repeats are reported too. What a client of the owner's, or
        the public calls of `reader_client`, repeat themselves cannot be seen.
        """
        ...


#: The names of its methods.
METHODS = tuple(name for name in vars(Metrics) if not name.startswith("_"))


class NoMetrics:
    """The default: counts nothing. With it mailboxes measure nothing either."""

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
