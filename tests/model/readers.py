"""What readers do: fetch, page by page, acknowledge, and add and remove devices."""

from typing import Any

from poste_restante.devices import DeviceStart
from poste_restante.table import Cursor
from tests.model.ledger import DEVICES, Chain
from tests.model.playing import RECORD, Playing
from tests.model.topic import USERS
from tests.model.truth import Asked

#: Requests under way at a time, and receipts that a device remembers.
READERS_MAX, CHAINS_MAX = 3, 6
STARTS: tuple[DeviceStart, ...] = ("oldest", "newest", "account")


class Readers(Playing):
    """Events of readers."""

    def fetch(self) -> None:
        """A page, from the beginning or behind another one, while others are at work."""
        if self._free():
            asked, arguments = self._wanted()
            self._begin(
                f"{asked} fetches {arguments} behind {asked.chain.shown[-1:]}",
                self.reader.fetch(asked.user, **self._with_receipt(asked, arguments)),
                self.reader,
                lambda page: self._paged(asked, page),
            )

    def look(self) -> None:
        """A page with nothing in between, which must be exact."""
        asked, arguments = self._wanted()
        arguments.pop("max_bytes", None)
        name = f"{asked} looks {arguments} behind {asked.chain.shown[-1:]}"
        page = self._at_once(
            name, self.reader.fetch(asked.user, **self._with_receipt(asked, arguments))
        )
        self.truth.undisturbed(asked, arguments.get("limit"), page)
        self._paged(asked, page)

    def _free(self) -> bool:
        return sum(actor.owner is self.reader for actor in self.scheduler.actors) < READERS_MAX

    def _whose(self) -> tuple[str, str | None]:
        """An account, or a device where there are some."""
        user, device = self.random.choice(USERS), None
        if self.profile.devices and self.random.random() < 0.6:
            device = self.random.choice(DEVICES)
        return user, device

    def _wanted(self) -> tuple[Asked, dict[str, Any]]:
        user, device = self._whose()
        chains = self.chains[user, device]
        chance, chain = self.random.random(), chains[-1]
        if chance < 0.6:
            chain = Chain() if chance < 0.3 else self.random.choice(chains)
        arguments: dict[str, Any] = {"device": device}
        if self.random.random() < 0.8:
            arguments["limit"] = self.random.randrange(1, 8)
        if self.random.random() < 0.2:
            arguments["max_bytes"] = self.random.randrange(1, 60)
        since = chain.token is not None and self.random.random() < 0.25
        return Asked(
            user, device, chain, since, self.truth.mailboxes[user].views[device]
        ), arguments

    def _with_receipt(self, asked: Asked, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "since" if asked.since else "after": asked.chain.token}

    def _paged(self, asked: Asked, page: Any) -> None:
        end = None
        if page.receipt is not None:
            end = self.receipts.decode(
                page.receipt, table_id=RECORD.table_id, user_id=asked.user, device=asked.device
            )
        after = self.truth.page(asked, page, end)
        self._note(f"    {asked} has {[place[1] for place in after.shown]}, more: {page.more}")
        chains = self.chains[asked.user, asked.device]
        self.chains[asked.user, asked.device] = [*chains, after][-CHAINS_MAX:]

    def ack(self) -> None:
        user, device = self._whose()
        chain = self.random.choice(self.chains[user, device])
        if chain.token is not None and chain.receipt is not None:
            begins_at: Cursor = {
                log: reach.cursor_begins_at
                for log, reach in chain.receipt.logs.items()
                if reach.cursor_begins_at >= 0
            }
            self.truth.mailboxes[user].views[device].asked.append(begins_at)
            self._begin(
                f"{user} {device or ''} acknowledges {begins_at}",
                self.reader.ack(user, chain.token, device=device),
                self.reader,
                lambda _: self.truth.confirmed(user, device, chain),
            )

    def device(self) -> None:
        """One comes, or goes; the mailbox is tidied."""
        user, device = self._whose()
        if not self._free():
            return
        if device is None:
            if self.deletes:
                self._begin(f"{user} is tidied", self.reader.tidy(user), self.reader)
        elif self.random.random() < 0.3:
            removal = self.reader.remove_device(user, device)
            self._begin(f"{user} {device} is removed", removal, self.reader)
        else:
            start: DeviceStart = "oldest"
            if device == DEVICES[1]:
                start = self.random.choice(STARTS)
            self.truth.adds(user, device, start)
            addition = self.reader.add_device(user, device, start=start)
            self._begin(f"{user} {device} is added: {start}", addition, self.reader)
