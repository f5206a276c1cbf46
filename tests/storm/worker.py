"""A worker of a storm: the real one, whose decoder raises on marked records.

No record makes our decoder raise anything but BadRecord, so the reason `decoder_failed` would
never be met otherwise.
"""

import os
from collections.abc import Sequence
from datetime import timedelta

from poste_restante.message import Message
from tests.storm.traffic import UNDECODABLE
from worker import app
from worker.cloudevents import CloudEventsDecoder
from worker.config_file import load_settings
from worker.entry import Entry
from worker.fast_path import FastPath
from worker.record import Record


def _is_marked(record: Record) -> bool:
    return record.value is not None and record.value.startswith(UNDECODABLE)


class FailingDecoder:
    """As any decoder may that somebody puts in. Plain records that are not marked go the quick way,
    as they do in a worker."""

    def __init__(self, retention: timedelta) -> None:
        self._retention = retention
        self._decode = CloudEventsDecoder(retention)

    def __call__(self, record: Record, epoch: int) -> Sequence[Message]:
        if _is_marked(record):
            raise ZeroDivisionError("a decoder with a fault")
        return self._decode(record, epoch)

    def plain(self, topic: str, epoch: int, partition: int) -> FastPath:
        return _Unmarked(topic, epoch, partition, self._retention)


class _Unmarked(FastPath):
    def entry(self, record: Record) -> Entry | None:
        return None if _is_marked(record) else super().entry(record)


if __name__ == "__main__":
    app.CloudEventsDecoder = FailingDecoder  # type: ignore[attr-defined,assignment]
    app.run(load_settings(None, os.environ))
