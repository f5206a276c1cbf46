"""The auditor: what was produced, fetched and acknowledged, held against what is stored.

    journal     what producers and readers did, and when
    keys        the stored format, parsed again from docs/format.md, not by the product's code
    log         the topic and its dead letters, as the broker holds them
    judge       pure: histories in, a Verdict out
    observer    raw reads of DynamoDB and Kafka
    auditor     watches while workers run, and gives the verdict at the end
    producer, readers   the audited ones

Nothing here imports `worker`: an auditor that shared its code would share its faults. Of
`poste_restante` it uses what a gateway uses.
"""

from tests.audit.auditor import Auditor
from tests.audit.journal import Journal, Outgoing
from tests.audit.producer import AuditedProducer
from tests.audit.readers import AuditedMailboxes, AuditedReaders, mailboxes_at
from tests.audit.verdict import Verdict, ViolationKind

__all__ = [
    "AuditedMailboxes",
    "AuditedProducer",
    "AuditedReaders",
    "Auditor",
    "Journal",
    "Outgoing",
    "Verdict",
    "ViolationKind",
    "mailboxes_at",
]
