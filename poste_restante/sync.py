"""Mailboxes for synchronous gateways, such as Django's and Flask's: the same names without `await`.

    from poste_restante.sync import open_mailboxes

    with open_mailboxes(table="mailboxes", receipt_keys=[key]) as mailboxes:
        page = mailboxes.fetch("bob", limit=100)

A thread runs an event loop with the asynchronous module. A call hands its work to it and waits, so
every rule is written once. Any number of threads may use one `Mailboxes`.

Needs `anyio`: `pip install 'poste-restante[sync]'`.
"""

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Self, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from poste_restante import catch_up as asynchronous_catch_up
from poste_restante import mailboxes as asynchronous
from poste_restante.claims import CLOCK_SKEW_S
from poste_restante.devices import Device, DeviceStart
from poste_restante.mailboxes import ATTEMPTS, CONNECTIONS, TIMEOUT_S
from poste_restante.metrics import NO_METRICS, Metrics
from poste_restante.page import Page
from poste_restante.partitioners import Partitioner

T = TypeVar("T")


class Mailboxes:
    """The mailboxes of one table, created by `open_mailboxes`.

    Methods take, return and raise what those of `poste_restante.Mailboxes` do. They also raise
    RuntimeError after the end of the `with` block, and in a forked process, which has no copy of
    the thread.
    """

    def __init__(self, portal: BlockingPortal, mailboxes: asynchronous.Mailboxes) -> None:
        self._portal = portal
        self._mailboxes = mailboxes
        self._process = os.getpid()
        self._is_closed = False

    def fetch(
        self,
        user_id: str,
        *,
        limit: int | None = None,
        max_bytes: int | None = None,
        after: str | None = None,
        since: str | None = None,
        device: str | None = None,
        freshness: bool = False,
    ) -> Page:
        """Return a page of the messages that wait for a user or a device. Acknowledges nothing."""
        return self._call(partial(
            self._mailboxes.fetch, user_id,
            limit=limit, max_bytes=max_bytes, after=after, since=since, device=device,
            freshness=freshness,
        ))  # fmt: skip

    def pages(
        self,
        user_id: str,
        *,
        limit: int | None = None,
        max_bytes: int | None = None,
        since: str | None = None,
        device: str | None = None,
    ) -> Iterator[Page]:
        """Yield all messages that wait for a user or a device, page by page, without
        acknowledging."""
        found = self._mailboxes.pages(
            user_id, limit=limit, max_bytes=max_bytes, since=since, device=device
        )
        while True:
            try:
                yield self._call(found.__anext__)
            except StopAsyncIteration:
                return

    def catch_up(
        self,
        user_id: str,
        *,
        until: datetime | Mapping[int, int],
        device: str | None = None,
        since: str | None = None,
        timeout_s: float = 10.0,
        limit: int | None = None,
        max_bytes: int | None = None,
    ) -> "CatchUp":
        """Return an iterator over waiting messages that ends when a proof shows that none is
        missing."""
        return CatchUp(
            self._mailboxes.catch_up(
                user_id, until=until, device=device, since=since, timeout_s=timeout_s,
                limit=limit, max_bytes=max_bytes,
            ),
            self._call,
        )  # fmt: skip

    def count(self, user_id: str, *, device: str | None = None, limit: int = 1000) -> int:
        """Return the number of waiting messages, up to a limit."""
        return self._call(partial(self._mailboxes.count, user_id, device=device, limit=limit))

    def ack(self, user_id: str, receipt: str | None, *, device: str | None = None) -> None:
        """Acknowledge the messages that a reading has passed."""
        self._call(partial(self._mailboxes.ack, user_id, receipt, device=device))

    def tidy(self, user_id: str) -> int:
        """Delete the bundles that the account's and every device's cursor has passed."""
        return self._call(partial(self._mailboxes.tidy, user_id))

    def add_device(self, user_id: str, device: str, start: DeviceStart = "account") -> bool:
        """Create a device's cursor. Returns False, and changes nothing, if it exists."""
        return self._call(partial(self._mailboxes.add_device, user_id, device, start))

    def devices(self, user_id: str) -> tuple[Device, ...]:
        """Return the devices of a mailbox that have a cursor, by name."""
        return self._call(partial(self._mailboxes.devices, user_id))

    def remove_device(self, user_id: str, device: str) -> None:
        """Delete a device's cursor. The device then reads from the account's."""
        self._call(partial(self._mailboxes.remove_device, user_id, device))

    def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        if os.getpid() != self._process:
            raise RuntimeError(
                "these mailboxes were opened in another process: open them after the fork, for"
                " example in gunicorn's post_fork"
            )
        if self._is_closed:
            raise RuntimeError("these mailboxes are closed: call them within their `with` block")
        return self._portal.call(work)


class CatchUp:
    """An iterator over the pages of one mailbox, until a proof or a time-out."""

    def __init__(
        self,
        found: asynchronous_catch_up.CatchUp,
        call: Callable[[Callable[[], Awaitable[Page]]], Page],
    ) -> None:
        self._found = found
        self._call = call

    @property
    def complete(self) -> bool:
        """Return whether everything that `until` covers was returned, was acknowledged, or has
        expired."""
        return self._found.complete

    @property
    def fresh_as_of(self) -> datetime | None:
        """Return `Page.fresh_as_of` of the last completed reading."""
        return self._found.fresh_as_of

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Page:
        try:
            return self._call(self._found.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None


@contextmanager
def open_mailboxes(
    *,
    table: str = "mailboxes",
    receipt_keys: Sequence[str | bytes] = (),
    timeout_s: float = TIMEOUT_S,
    attempts: int = ATTEMPTS,
    connections: int = CONNECTIONS,
    delete_acknowledged: bool = False,
    metrics: Metrics = NO_METRICS,
    partitioner: str | Partitioner | None = None,
    clock_skew_s: float = CLOCK_SKEW_S,
) -> Iterator[Mailboxes]:
    """Open mailboxes over a client and a thread of their own, as `poste_restante.open_mailboxes`
    does.

    metrics: called in that thread.
    """
    opening = asynchronous.open_mailboxes(
        table=table, receipt_keys=receipt_keys, timeout_s=timeout_s, attempts=attempts,
        connections=connections, delete_acknowledged=delete_acknowledged, metrics=metrics,
        partitioner=partitioner, clock_skew_s=clock_skew_s,
    )  # fmt: skip
    with (
        start_blocking_portal(name="poste_restante") as portal,
        portal.wrap_async_context_manager(opening) as opened,
    ):
        mailboxes = Mailboxes(portal, opened)
        try:
            yield mailboxes
        finally:
            mailboxes._is_closed = True  # noqa: SLF001 - our own
