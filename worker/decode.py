"""The contract of a decoder, and the decoding of a batch. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from poste_restante.item import ITEM_BYTES_MAX, item_bytes_max
from poste_restante.message import Message
from worker.cloudevents import CloudEventsDecoder
from worker.dead_letters import DeadLetter
from worker.entry import Entry, entry_of
from worker.errors import BadRecord, DeadLetterReason
from worker.fast_path import FastPath
from worker.record import Record

__all__ = ["CloudEventsDecoder", "Decoded", "Decoder", "FastPathDecoder", "decode_batch"]


class Decoder(Protocol):
    """Turns a record into messages: zero or more, at most one per user."""

    def __call__(self, record: Record, epoch: int) -> Sequence[Message]:
        """Return the messages of a record, each with its user_id and the record's position in
        `epoch`.

        A pure function of the record, so that a replay gives the same. Raises BadRecord for a
        record that cannot become a message; any other exception counts as a fault of the decoder.
        """
        ...


@runtime_checkable
class FastPathDecoder(Protocol):
    """A decoder whose result for plain records equals that of `FastPath`."""

    def plain(self, topic: str, epoch: int, partition: int) -> FastPath:
        """Return the fast path for the plain records of a partition log."""
        ...


@dataclass(frozen=True, slots=True)
class Decoded:
    """The content of a batch, in log order. A record has messages, is a dead letter, or neither."""

    entries: list[Entry] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)


def decode_batch(records: Sequence[Record], epoch: int, decoder: Decoder) -> Decoded:
    """Decode every record of a batch. Raises nothing that a record causes.

    records: of one partition. A record is delivered whole or is a dead letter: if one of its
    messages does not fit an item, all of them become the dead letter.
    """
    decoded = Decoded()
    entries = decoded.entries
    fast_path: Callable[[Record], Entry | None] = _no_fast_path
    if records and isinstance(decoder, FastPathDecoder):
        fast_path = decoder.plain(records[0].topic, epoch, records[0].partition).entry
    for record in records:
        entry = fast_path(record)
        if entry is not None:
            entries.append(entry)
            continue
        try:
            entries += _entries(decoder(record, epoch), record, epoch)
        except MemoryError:
            raise  # not about the record
        except BadRecord as bad:
            decoded.dead_letters.append(DeadLetter(record, bad.reason, bad.detail))
        except Exception as error:  # noqa: BLE001 - one record must not stop the partition
            detail = f"{type(error).__name__}: {error}"
            decoded.dead_letters.append(DeadLetter(record, DeadLetterReason.DECODER_FAILED, detail))
    return decoded


def _no_fast_path(_: Record) -> Entry | None:
    return None


def _entries(messages: Sequence[Message], record: Record, epoch: int) -> list[Entry]:
    """Return the messages' entries. Raises BadRecord or ValueError if some cannot be written."""
    position = (epoch, record.partition, record.offset)
    if len(messages) > 1 and len({message.user_id for message in messages}) < len(messages):
        raise BadRecord(DeadLetterReason.DECODER_FAILED, "two messages of one record for one user")
    entries = []
    for message in messages:
        if message.position != position:
            raise BadRecord(DeadLetterReason.DECODER_FAILED, f"a message at {message.position}")
        entry = entry_of(message, record.topic)
        alone = item_bytes_max(message.user_id, entry.bytes_max)
        if alone > ITEM_BYTES_MAX:
            raise BadRecord(
                DeadLetterReason.TOO_LARGE,
                f"an item of {alone} bytes; at most {ITEM_BYTES_MAX} are allowed",
            )
        entries.append(entry)
    return entries
