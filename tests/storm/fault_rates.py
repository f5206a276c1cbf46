"""The faults that both endpoints inject all the time, and those of a while."""

import random

from tests.fault_proxy import Fault, Plan, rates

#: Share of the calls that meet each transient fault. SLOW holds a caller for its time-out and
#: REFUSED all of them for a while: they are rarer.
TRANSIENT: dict[Fault, float] = {
    **dict.fromkeys(
        (
            Fault.PROVISIONED_THROUGHPUT, Fault.THROTTLED, Fault.REQUEST_LIMIT,
            Fault.INTERNAL_ERROR, Fault.UNAVAILABLE, Fault.CUT_BEFORE, Fault.CUT_AFTER,
            Fault.LATE, Fault.MISSHAPEN, Fault.TRUNCATED,
        ),
        0.008,
    ),
    Fault.SLOW: 0.002,
    Fault.REFUSED: 0.0005,
}  # fmt: skip
#: Share of the batches of writes of which a part is not made, for the whole run.
UNPROCESSED_SHARE = 0.20
#: What an operator's mistake looks like, and the share of the calls that meet it for a while:
#: workers leave, some live a little.
REFUSALS = {Fault.ACCESS_DENIED: 0.25, Fault.NO_TABLE: 0.25}
#: What a whole storm must have met. REJECTED_ITEM is the poison's.
READERS_FAULTS = (Fault.UNPROCESSED, *TRANSIENT)
WORKERS_FAULTS = (*READERS_FAULTS, Fault.REJECTED_ITEM, *REFUSALS)


def workers_fault_rates(seed: int) -> Plan:
    return rates({Fault.UNPROCESSED: UNPROCESSED_SHARE, **TRANSIENT}, seed=seed)


def readers_fault_rates(seed: int) -> Plan:
    return rates({Fault.UNPROCESSED: UNPROCESSED_SHARE, **TRANSIENT}, seed=seed + 1)


def refusing(draws: random.Random) -> Plan:
    return rates(REFUSALS, seed=draws.getrandbits(32))
