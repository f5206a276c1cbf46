"""A worker that crashes at a step, or whose calls to Kafka fail, on order. Run by the sweeps."""

import os
from collections import Counter

from tests.sweeps.kafka_faults import KAFKA_FAULTS, inject
from tests.sweeps.orders import CRASHED, ORDER, Order
from tests.sweeps.steps import FLUSH_STEPS, watch
from worker import writer

#: Items of one call, so that a wave of the scenario, three mailboxes, is more than one call.
ITEMS_OF_A_CALL = 2


def main() -> None:
    order = Order.of(os.environ)
    times: Counter[str] = Counter()
    if order.what in KAFKA_FAULTS:
        fault = KAFKA_FAULTS[order.what]

        def due() -> bool:
            times[fault.call] += 1
            if not order.is_due(times[fault.call]):
                return False
            order.meet(fault.call)
            return True

        inject(fault, due)
    else:

        def passed(step: str) -> None:
            times[step] += 1
            if step == order.what and order.is_due(times[step]):
                order.meet(step)
                os._exit(CRASHED)

        writer.CALL_ITEMS_MAX = ITEMS_OF_A_CALL
        watch(FLUSH_STEPS, passed)
    from worker.app import run
    from worker.configuration import load_settings

    del os.environ[ORDER]
    run(load_settings(None, os.environ))


if __name__ == "__main__":
    main()
