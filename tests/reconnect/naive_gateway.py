"""The example's gateway, with one method changed: it fetches once on connect."""

from examples.chat.__main__ import main
from examples.chat.gateway import PAGE_MAX, Connection, Gateway
from poste_restante import MailboxError


class NaiveGateway(Gateway):
    """It shows what is in the mailbox at that instant, and takes it for all there is."""

    async def catch_up(self, connection: Connection) -> None:
        user, device = connection.user, connection.device
        try:
            async for page in self.mailboxes.pages(user, device=device, limit=PAGE_MAX):
                if page.messages:
                    await connection.show([m.to_cloudevent() for m in page.messages])
                await self.mailboxes.ack(user, page.receipt, device=device)
        except MailboxError:
            connection.end(connection.code)


if __name__ == "__main__":
    main(NaiveGateway)
