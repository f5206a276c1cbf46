"""What readers do: fetch, page by page, and acknowledge."""

from collections.abc import Mapping
from typing import Any

from poste_restante.position import LogId
from tests.model.ledger import Chain
from tests.model.playing import RECORD, Playing
from tests.model.topic import USERS

#: Requests under way at a time, and receipts that a user remembers.
READERS_MAX, CHAINS_MAX = 3, 6


class Readers(Playing):
    """Events of readers."""

    def fetch(self) -> None:
        """A page, from the beginning or behind another one, while others are at work."""
        if sum(a.owner is self.reader for a in self.stage.actors) < READERS_MAX:
            user, chain, limits = self._wanted()
            at = dict(self.truth.mailboxes[user].cursor)
            self._begin(
                f"{user} fetches {limits} behind {chain.shown[-1:]}",
                self.reader.fetch(user, after=chain.token, **limits),
                self.reader,
                lambda page: self._paged(user, chain, page, at),
            )

    def look(self) -> None:
        """A page with nothing in between, which must be exact."""
        user, chain, limits = self._wanted()
        limits.pop("max_bytes", None)
        name = f"{user} looks {limits} behind {chain.shown[-1:]}"
        page = self._at_once(name, self.reader.fetch(user, after=chain.token, **limits))
        self.truth.undisturbed(user, chain, limits.get("limit"), page)
        self._paged(user, chain, page, self.truth.mailboxes[user].cursor)

    def _wanted(self) -> tuple[str, Chain, dict[str, int]]:
        user = self.random.choice(USERS)
        chance, chain = self.random.random(), self.chains[user][-1]
        if chance < 0.6:
            chain = Chain() if chance < 0.3 else self.random.choice(self.chains[user])
        limits = {}
        if self.random.random() < 0.8:
            limits["limit"] = self.random.randrange(1, 8)
        if self.random.random() < 0.2:
            limits["max_bytes"] = self.random.randrange(1, 60)
        return user, chain, limits

    def _paged(self, user: str, chain: Chain, page: Any, at: Mapping[LogId, int]) -> None:
        receipts = self.reader._receipts
        end = None
        if page.receipt is not None:
            end = receipts.decode(page.receipt, table_id=RECORD.table_id, user_id=user)
        after = self.truth.page(user, chain, page, end, dict(at))
        self._note(f"    {user} has {[place[1] for place in after.shown]}, more: {page.more}")
        self.chains[user] = [*self.chains[user], after][-CHAINS_MAX:]

    def ack(self) -> None:
        user = self.random.choice(USERS)
        chain = self.random.choice(self.chains[user])
        if chain.token is not None and chain.receipt is not None:
            covered = {tuple(log): reach.covered for log, reach in chain.receipt.logs.items()}
            name = f"{user} acknowledges {covered}"
            self._begin(name, self.reader.ack(user, chain.token), self.reader)
