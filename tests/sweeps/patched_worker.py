"""A worker that crashes at a step, or whose calls to Kafka fail, on order. Run by the sweeps."""

import itertools
import os

from tests.sweeps.kafka_faults import KAFKA_FAULTS, Due, KafkaFault, inject
from tests.sweeps.orders import ORDER, Order, crash_at
from tests.sweeps.steps import FLUSH_STEPS, watch
from worker.app import run
from worker.config_file import load_settings
from worker.dynamodb import puts

#: Items of one call, so that a wave of the scenario, three mailboxes, is more than one call.
ITEMS_OF_A_CALL = 2


def main() -> None:
    order = Order.of(os.environ)
    del os.environ[ORDER]
    kinds = order.what.split(",")
    if kinds[0] in KAFKA_FAULTS:
        for call in {KAFKA_FAULTS[kind].call for kind in kinds}:
            inject(call, due_of(order, [k for k in kinds if KAFKA_FAULTS[k].call == call]))
    else:
        puts.CALL_ITEMS_MAX = ITEMS_OF_A_CALL
        watch(FLUSH_STEPS, crash_at(order))
    run(load_settings(None, os.environ))


def due_of(order: Order, kinds: list[str]) -> Due:
    """Of one call: the kind that is ordered; of several kinds one after the other, each once."""
    times = itertools.count(1)

    def due() -> KafkaFault | None:
        time = next(times)
        if len(kinds) > 1 and time > len(kinds):
            return None
        if len(kinds) == 1 and not order.is_due(time):
            return None
        kind = kinds[0] if len(kinds) == 1 else kinds[time - 1]
        order.meet(kind)
        return KAFKA_FAULTS[kind]

    return due


if __name__ == "__main__":
    main()
