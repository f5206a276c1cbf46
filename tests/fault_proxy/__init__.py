"""A DynamoDB endpoint that goes wrong on order, for the write, the read and the ack side.

with FaultyEndpoint(upstream, plan=rates({Fault.UNPROCESSED: 0.2}, seed=7)) as endpoint:
    ...                                     # clients use endpoint.url
assert_met(endpoint, [Fault.UNPROCESSED])   # a run that never met a fault proves nothing
"""

from tests.fault_proxy.faults import Fault
from tests.fault_proxy.late import Landing
from tests.fault_proxy.plans import Call, Plan, calm, nth, rates
from tests.fault_proxy.server import FaultyEndpoint, assert_met, has_body

__all__ = [
    "Call",
    "Fault",
    "FaultyEndpoint",
    "Landing",
    "Plan",
    "assert_met",
    "calm",
    "has_body",
    "nth",
    "rates",
]
