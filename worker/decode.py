"""From a record to messages: a decoder's contract, and a batch through a decoder. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from poste_restante.item import ITEM_BYTES_MAX, item_bytes_max, message_bytes_max
from poste_restante.message import Message
from worker.cloudevents import CloudEventsDecoder
from worker.dead_letters import DeadLetter
from worker.errors import BadRecord, Reason
from worker.record import Record

__all__ = ["CloudEventsDecoder", "Decoded", "Decoder", "decode_batch"]


class Decoder(Protocol):
    """Turns a record into messages: zero or more, at most one per user."""

    def __call__(self, record: Record, epoch: int) -> Sequence[Message]:
        """The messages of a record, each with its user_id and the record's position in `epoch`.

        A pure function of the record: a replay must give the same. Raises BadRecord for a
        record that cannot become a message; what else it raises is taken for a fault of its own.
        """
        ...


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a batch holds, in log order. A record has messages, or is a dead letter, or neither.

    sizes: of each message, as `message_bytes_max` counts them.
    """

    messages: list[Message] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)


def decode_batch(records: Sequence[Record], epoch: int, decoder: Decoder) -> Decoded:
    """Every record through the decoder. Raises nothing that a record causes.

    A record is delivered whole or is a dead letter: one of its messages that does not fit an
    item takes the others with it.
    """
    decoded = Decoded()
    for record in records:
        try:
            messages = decoder(record, epoch)
            sizes = _sizes(messages, record, epoch)
        except MemoryError:
            raise  # says nothing about the record
        except BadRecord as bad:
            decoded.dead_letters.append(DeadLetter(record, bad.reason, bad.detail))
        except Exception as error:  # noqa: BLE001 - one record must not stop the partition
            detail = f"{type(error).__name__}: {error}"
            decoded.dead_letters.append(DeadLetter(record, Reason.DECODER_FAILED, detail))
        else:
            decoded.messages.extend(messages)
            decoded.sizes.extend(sizes)
    return decoded


def _sizes(messages: Sequence[Message], record: Record, epoch: int) -> list[int]:
    """The messages' sizes. Raises BadRecord or ValueError for some that cannot be written."""
    position = (epoch, record.partition, record.offset)
    if len(messages) > 1 and len({message.user_id for message in messages}) < len(messages):
        raise BadRecord(Reason.DECODER_FAILED, "two messages of one record for one user")
    sizes = []
    for message in messages:
        if message.position != position:
            raise BadRecord(Reason.DECODER_FAILED, f"a message at {message.position}")
        size = message_bytes_max(message)
        alone = item_bytes_max(message.user_id, size)
        if alone > ITEM_BYTES_MAX:
            raise BadRecord(
                Reason.TOO_LARGE, f"an item of {alone} bytes; at most {ITEM_BYTES_MAX} are allowed"
            )
        sizes.append(size)
    return sizes
