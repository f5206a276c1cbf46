"""A worker of a storm: the real one, whose decoder raises on marked records.

No record makes our decoder raise anything but BadRecord, so the reason `decoder_failed` would
never be met otherwise.
"""

import os
from collections.abc import Sequence

from poste_restante.message import Message
from tests.storm.traffic import UNDECODABLE
from worker import app
from worker.cloudevents import CloudEventsDecoder
from worker.configuration import load_settings
from worker.record import Record


class FailingDecoder(CloudEventsDecoder):
    """As any decoder may that somebody puts in."""

    def __call__(self, record: Record, epoch: int) -> Sequence[Message]:
        if record.value is not None and record.value.startswith(UNDECODABLE):
            raise ZeroDivisionError("a decoder with a fault")
        return super().__call__(record, epoch)


if __name__ == "__main__":
    app.CloudEventsDecoder = FailingDecoder  # type: ignore[attr-defined]
    app.run(load_settings(None, os.environ))
