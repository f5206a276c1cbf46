"""Catching up at a reconnect: read a mailbox until it is proven to hold everything sent before.

    catching_up = mailboxes.catch_up("bob", until=datetime.now(UTC))
    async for page in catching_up:
        ...                         # show it; acknowledge it when the client has it
    catching_up.complete            # True: nothing that was sent before `until` is missing

A *reading* is a first page and the pages after it. The claims are read before its first Query, so
they hold for all of its pages. The next reading begins since the last page that was returned.
"""

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, Self

from poste_restante import arguments
from poste_restante.claims import Freshness
from poste_restante.errors import StoreUnavailable
from poste_restante.page import Page
from poste_restante.position import OFFSET_MAX, PARTITION_MAX

#: Seconds until a mailbox is read again without a proof, to return what has arrived.
PAUSE_FIRST_S, PAUSE_MAX_S = 1.0, 8.0
#: Minimum seconds between two reads of the claims.
CLAIMS_READ_S_MIN = 0.05


class UntilInstant(NamedTuple):
    """Everything appended before an instant, in epoch milliseconds."""

    ms: int

    def is_proven(self, freshness: Freshness, partitions: Collection[int], skew_ms: float) -> bool:
        """Return whether the claims prove it for a mailbox in these partitions."""
        as_of_ms = freshness.as_of_ms(partitions)
        return as_of_ms is not None and as_of_ms - skew_ms >= self.ms


class UntilOffsets(NamedTuple):
    """The records at these offsets, by partition, and all before them."""

    offsets: Mapping[int, int]

    def is_proven(self, freshness: Freshness, _partitions: Collection[int], _skew: float) -> bool:
        """Return whether the claims prove it. No clock is compared."""
        return freshness.covers(self.offsets)


def parse_until(value: Any) -> UntilInstant | UntilOffsets:
    """Parse the argument `until`. Raises TypeError or ValueError."""
    if not isinstance(value, Mapping):
        return UntilInstant(math.ceil(arguments.aware("until", value).timestamp() * 1000))
    if not value:
        raise ValueError("until must name a partition, or be a datetime")
    return UntilOffsets(
        {
            arguments.number("a partition of until", partition, 0, PARTITION_MAX):
            arguments.number("an offset of until", offset, 0, OFFSET_MAX)
            for partition, offset in value.items()
        }
    )  # fmt: skip


class ClaimsEvidence(NamedTuple):
    """The claims as they were before a reading's first Query. partitions: those that may hold
    messages of the mailbox."""

    freshness: Freshness
    partitions: frozenset[int]


class PageSource(Protocol):
    """Reads one mailbox for `CatchUp`."""

    async def fetch_first(self, since: str | None) -> tuple[Page, ClaimsEvidence]:
        """Read the claims, then the first page since a receipt. Raises as `Mailboxes.fetch`."""

    async def fetch_next(self, after: str | None) -> Page:
        """Read the page after a receipt. Raises as `Mailboxes.fetch`."""

    async def freshness(self) -> Freshness:
        """Return the freshness that the claims prove. Reads the claims if that is due."""

    def due_in_s(self) -> float:
        """Return the seconds until the next read of the claims is due."""


class CatchUp:
    """An asynchronous iterator over the pages of one mailbox, until a proof or a time-out. For one
    use.

    It returns pages with messages, in order, each message once, and acknowledges nothing. It raises
    as `Mailboxes.fetch` does, but StoreUnavailable only if the store is unavailable at the
    time-out. The time-out ends it between two calls of the store, so it may be late by one call.
    """

    def __init__(
        self,
        source: PageSource,
        until: UntilInstant | UntilOffsets,
        *,
        since: str | None,
        timeout_s: float,
        skew_s: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._source = source
        self._until = until
        self._since = since
        self._timeout_s = timeout_s
        self._skew_ms = skew_s * 1000
        self._clock = clock
        self._sleep = sleep
        self._pages = self._read()
        self._complete = False
        self._fresh_as_of: datetime | None = None

    @property
    def complete(self) -> bool:
        """Return whether everything that `until` covers was returned, was acknowledged, or has
        expired."""
        return self._complete

    @property
    def fresh_as_of(self) -> datetime | None:
        """Return `Page.fresh_as_of` of the last completed reading."""
        return self._fresh_as_of

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page:
        return await anext(self._pages)

    async def aclose(self) -> None:
        """End the iteration early."""
        await self._pages.aclose()

    async def _read(self) -> AsyncGenerator[Page, None]:
        deadline_s = self._clock() + self._timeout_s
        pause_s = PAUSE_FIRST_S
        while True:
            evidence = None
            try:
                page, evidence = await self._source.fetch_first(self._since)
                fresh_as_of = page.fresh_as_of
                while True:
                    self._since = page.receipt or self._since
                    if page.messages:
                        yield page
                    if not page.more:
                        break
                    page = await self._source.fetch_next(page.receipt)
            except StoreUnavailable:
                if self._clock() >= deadline_s:
                    raise
            else:
                self._fresh_as_of = fresh_as_of
                self._complete = self._is_proven(evidence.freshness, evidence.partitions)
            if self._complete or self._clock() >= deadline_s:
                return
            await self._wait(min(deadline_s, self._clock() + pause_s), evidence)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _wait(self, until_s: float, evidence: ClaimsEvidence | None) -> None:
        """Wait until the claims prove `until` for the evidence's partitions, or until a time of the
        clock."""
        while (now_s := self._clock()) < until_s:
            await self._sleep(min(max(self._source.due_in_s(), CLAIMS_READ_S_MIN), until_s - now_s))
            freshness = await self._source.freshness()
            if evidence is not None and self._is_proven(freshness, evidence.partitions):
                return

    def _is_proven(self, freshness: Freshness, partitions: Collection[int]) -> bool:
        return self._until.is_proven(freshness, partitions, self._skew_ms)


def as_datetime(as_of_ms: int | None, skew_s: float) -> datetime | None:
    """Return an instant of the claims as a datetime, `skew_s` seconds earlier."""
    return None if as_of_ms is None else datetime.fromtimestamp(as_of_ms / 1000 - skew_s, tz=UTC)
