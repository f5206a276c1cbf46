"""The port through which a flush makes bundles durable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.bundles import Bundle


@dataclass(frozen=True, slots=True)
class Rejected:
    """A bundle that the store rejects when it stands alone, or that cannot be encoded.

    detail: the reason, without any body.
    """

    bundle: Bundle
    detail: str


class MailboxWriter(Protocol):
    """The port that makes bundles durable."""

    async def write(self, bundles: Sequence[Bundle]) -> list[Rejected]:
        """Write all bundles, in any order; return, when all others are durable, the rejected ones.

        Waits without end for a store that throttles or is unavailable. Writing again changes
        nothing. No two bundles have the same key. Raises OperatorError for a refusal that is not
        about a bundle.
        """
        ...
