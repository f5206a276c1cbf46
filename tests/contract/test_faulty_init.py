"""`poste init` against every fault that passes: whatever its first attempt has made, it is done."""

import pytest

from tests.contract.faulty import PASSING, Faulty, ids, timeout_s
from tests.fault_proxy import Fault
from worker.cli.provisioning import _ensure_table
from worker.kafka.admin import TopicState
from worker.settings import Settings

CALLS = ["DescribeTable", "CreateTable", "DescribeTimeToLive", "UpdateTimeToLive", "PutItem",
         "GetItem"]  # fmt: skip


@pytest.mark.parametrize("fault", ids(PASSING))
async def test_init_is_done_whatever_passes(faulty: Faulty, fault: Fault) -> None:
    """At each of its calls in turn; and a second one finds nothing to do (G1)."""
    made = []
    async with faulty.store(timeout_s=timeout_s(fault)) as store:
        for operation in CALLS:
            table = f"{faulty.table}-{operation}"
            settings = Settings.model_validate({"dynamodb": {"table": table}})
            source = TopicState(partitions=2, replicas=1, config={})
            faulty.apply_fault(fault, operation)
            findings = [f async for f in _ensure_table(settings, store, source, check=False)]
            assert len(findings) == 3
            assert faulty.endpoint.injected[fault, operation] == 1
            faulty.endpoint.flush()
            made.append(table)
            again = [f async for f in _ensure_table(settings, store, source, check=True)]
            assert [(f.is_created, f.is_missing) for f in again] == [(False, False)] * 3
    for table in made:
        await faulty.mailbox_table.store.delete_table(TableName=table)
