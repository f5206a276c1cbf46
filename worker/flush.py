"""The flush: makes one batch of records durable.

    1. take a batch: records of one partition, in log order, bounded in number and bytes
    2. decode into messages and dead letters; check the limit on consecutive dead letters before
       anything of the batch is produced
    3. send the dead letters; the broker acknowledges them before any message behind them
       becomes visible
    4. bundle, and write in waves; a wave starts when the one before, with all that it was split
       into, is durable
    5. the batch is durable: `flush` returns, and its caller counts what was written
    6. every commit interval, by the caller: save progress, then commit the group's offset

A bundle that the store rejects, or that cannot be encoded, is split until one message stands alone.
What precedes it is written, its record becomes a dead letter, then what follows is written.

A flush that does not return is the last of its partition task. The next partition task writes its
records again; a key that is written again gets the same content.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from poste_restante.position import LogId
from worker.bundles import Bundle, BundleLimits, pack
from worker.dead_letters import DeadLetter, DeadLetters
from worker.decode import Decoder, decode_batch
from worker.entry import Entry
from worker.errors import DeadLetterReason, TooManyDeadLetters
from worker.mailbox_writer import MailboxWriter, Rejected
from worker.record import Record


@dataclass(frozen=True, slots=True)
class Flushed:
    """The outcome of a batch.

    messages: written. dead_letters: records. consecutive_dead_letters: at the end of the batch,
    including those of earlier batches. expired: messages that had expired before. bundles: written.
    """

    messages: int
    dead_letters: int
    consecutive_dead_letters: int
    expired: int = 0
    bundles: int = 0


class Flusher:
    """Makes batches durable. One flush at a time per partition; partitions side by side.

    topic: the source. dead_letters_consecutive_max: consecutive records, in one partition.
    on_dead_letters: called once for each flush that sent some, however it ends, with those that
    were acknowledged. now_ms: the clock, epoch milliseconds, by which messages have expired.
    """

    def __init__(
        self,
        *,
        topic: str,
        decoder: Decoder,
        limits: BundleLimits,
        mailboxes: MailboxWriter,
        dead_letters: DeadLetters,
        dead_letters_consecutive_max: int,
        on_dead_letters: Callable[[Sequence[DeadLetter]], None] = lambda _: None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._now_ms = now_ms
        self.topic = topic
        self.decoder = decoder
        self.limits = limits
        self.mailboxes = mailboxes
        self.dead_letters = dead_letters
        self.dead_letters_consecutive_max = dead_letters_consecutive_max
        self.on_dead_letters = on_dead_letters

    async def flush(
        self,
        records: Sequence[Record],
        *,
        epoch: int,
        consecutive_dead_letters: int,
        on_wave: Callable[[], None] = lambda: None,
    ) -> Flushed:
        """Return when every record is in a mailbox or in the dead-letter topic.

        records: of one partition, in log order, at least one. consecutive_dead_letters: dead
        letters directly before the batch. on_wave: called for each durable wave.

        Raises TooManyDeadLetters, and what the ports raise.
        """
        decoded = decode_batch(records, epoch, self.decoder)
        log = LogId(epoch, records[0].partition)
        run = ConsecutiveDeadLetters(
            records, consecutive_dead_letters, self.dead_letters_consecutive_max
        )
        for letter in decoded.dead_letters:
            run.add(letter)
        sent: list[DeadLetter] = []
        writing = WaveWriter(self, run, sent)
        try:
            if decoded.dead_letters:
                await self.dead_letters.send(decoded.dead_letters)
                sent += decoded.dead_letters
            for wave in pack(decoded.entries, log, self.limits):
                await writing.write(wave)
                on_wave()
        finally:
            if sent:
                self.on_dead_letters(sent)
        return Flushed(
            messages=writing.messages,
            dead_letters=len(run.dead),
            consecutive_dead_letters=run.at_end(),
            expired=_expired(decoded.entries, self._now_ms()),
            bundles=writing.bundles,
        )


def _expired(entries: Sequence[Entry], now_ms: int) -> int:
    """Return how many of the messages have expired."""
    times = [entry.expires_at_ms for entry in entries]
    return sum(time_ms is not None and time_ms <= now_ms for time_ms in times)


class ConsecutiveDeadLetters:
    """Finds the dead records of a batch, and judges their runs as they grow. Pure."""

    def __init__(self, records: Sequence[Record], before: int, consecutive_max: int) -> None:
        self._records = records
        self._before = before
        self._max = consecutive_max
        #: Indexes of the dead records.
        self.dead: set[int] = set()

    @cached_property
    def _index(self) -> dict[int, int]:
        """Return the index of each offset; made for the first dead record, so rarely."""
        return {record.offset: index for index, record in enumerate(self._records)}

    def record(self, offset: int) -> Record:
        return self._records[self._index[offset]]

    def add(self, letter: DeadLetter) -> bool:
        """Add a dead record. False: another of its messages made it dead before.

        Raises TooManyDeadLetters if that makes more consecutive ones than allowed.
        """
        index = self._index[letter.record.offset]
        if index in self.dead:
            return False
        self.dead.add(index)
        first, last = self._run(index)
        count = last - first + 1 + (self._before if first == 0 else 0)
        if count > self._max:
            self._stop(count, first, last, letter)
        return True

    def at_end(self) -> int:
        """Return the consecutive dead letters at the end of the batch."""
        index = len(self._records) - 1
        if index not in self.dead:
            return 0
        first, last = self._run(index)
        return last - first + 1 + (self._before if first == 0 else 0)

    def _run(self, index: int) -> tuple[int, int]:
        """Return the first and last index of the run around a dead record. Runs are short."""
        first = last = index
        while first - 1 in self.dead:
            first -= 1
        while last + 1 in self.dead:
            last += 1
        return first, last

    def _stop(self, count: int, first: int, last: int, letter: DeadLetter) -> None:
        record = letter.record
        begin, end = self._records[first].offset, self._records[last].offset
        earlier = ", and those right before" if first == 0 and self._before else ""
        raise TooManyDeadLetters(
            f"{record.topic}-{record.partition}: {count} records in a row cannot become messages,"
            f" at most {self._max} may: offsets {begin} to {end}{earlier}; the last:"
            f" {letter.reason}: {letter.detail[:200]}. Nothing is lost: mend the producer or this"
            " worker and start it again; if the records are truly dead, raise"
            " dead_letters_consecutive_max, or leave them out by `poste skip`"
        )


class WaveWriter:
    """Step 4 of one flush. sent: collects the dead letters that it finds."""

    def __init__(
        self, flusher: Flusher, run: ConsecutiveDeadLetters, sent: list[DeadLetter]
    ) -> None:
        self._mailboxes = flusher.mailboxes
        self._dead_letters = flusher.dead_letters
        self._run = run
        self._sent = sent
        self.messages = 0
        self.bundles = 0

    async def write(self, bundles: Sequence[Bundle]) -> None:
        """Return when all bundles, and all that they were split into, are durable."""
        rejected = await self._mailboxes.write(bundles)
        self.messages += sum(len(bundle.entries) for bundle in bundles)
        self.bundles += len(bundles) - len(rejected)
        for each in rejected:  # sequential: rare, and the order within each matters
            self.messages -= len(each.bundle.entries)
            await self.split(each)

    async def split(self, rejected: Rejected) -> None:
        """Write what precedes the message that the store rejects, then its dead letter, then what
        follows."""
        if len(rejected.bundle.entries) > 1:
            for half in rejected.bundle.halves():
                await self.write([half])
            return
        (entry,) = rejected.bundle.entries
        record = self._run.record(entry.offset)
        letter = DeadLetter(record, DeadLetterReason.REJECTED_BY_STORE, rejected.detail)
        if self._run.add(letter):
            await self._dead_letters.send([letter])
            self._sent.append(letter)
