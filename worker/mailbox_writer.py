"""The port through which a flush makes bundles durable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.bundles import Bundle


@dataclass(frozen=True, slots=True)
class Rejected:
    """A bundle that the store rejects when it stands alone, or that we cannot encode.

    detail: why, without any body.
    """

    bundle: Bundle
    detail: str


class MailboxWriter(Protocol):
    """Where bundles are made durable."""

    async def write(self, bundles: Sequence[Bundle]) -> list[Rejected]:
        """Writes all, in any order; returns when all are durable but those returned.

        Waits for a store that is away or throttles, without end. Writing again changes nothing.
        No two of the bundles have the same key. Raises OperatorError for what is refused for
        another reason than a bundle.
        """
        ...
