"""Whether the services answer, and what that makes of a worker."""

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError

from worker.assignment import Assignment
from worker.errors import OperatorError
from worker.health import Health, LastWait, ServiceCheck
from worker.readiness import ReadinessNote
from worker.status import Phase, WorkerStatus

LIMIT_S = 15.0


class Service:
    """One that fails as it is told, asked by a check whose clock the test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.fails: Exception | None = None
        self.check = ServiceCheck(
            "Kafka", self._answer, unready_after_s=LIMIT_S, clock=lambda: self.now_s
        )

    async def _answer(self) -> None:
        if self.fails is not None:
            raise self.fails

    async def problem_after(self, seconds: float) -> str | None:
        self.now_s += seconds
        await self.check.check()
        return self.check.problem()


async def test_a_service_that_answers_is_no_problem() -> None:
    service = Service()
    assert await service.problem_after(10 * LIMIT_S) is None


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (KafkaConnectionError("no connection to node 1"), "no connection to node 1"),
        (OperatorError("DynamoDB refuses get_item"), "DynamoDB refuses get_item"),
        (OSError("network unreachable"), "network unreachable"),
        (TimeoutError(), "no answer within 10 s"),
    ],
)
async def test_a_service_without_an_answer_for_too_long_is_a_problem_with_its_cause(
    error: Exception, why: str
) -> None:
    service = Service()
    service.fails = error
    assert await service.problem_after(LIMIT_S - 1) is None
    problem = await service.problem_after(1)
    assert problem is not None
    assert problem.startswith("Kafka has not answered for 15 s: ")
    assert why in problem

    service.fails = None
    assert await service.problem_after(1) is None


async def test_a_question_that_hangs_is_a_problem_before_it_ends() -> None:
    """What the client waits for is said, where the client knows."""
    now_s = 0.0
    check = ServiceCheck(
        "DynamoDB", asyncio.Event().wait, unready_after_s=LIMIT_S, clock=lambda: now_s,
        cause=lambda: "throttled",
    )  # fmt: skip
    asking = asyncio.create_task(check.check())
    await asyncio.sleep(0)
    now_s = LIMIT_S
    assert check.problem() == "DynamoDB has not answered for 15 s: throttled"
    asking.cancel()


async def test_a_check_of_a_short_limit_asks_often_enough() -> None:
    check = ServiceCheck("Kafka", asyncio.Event().wait, unready_after_s=0.3)
    assert check.every_s == pytest.approx(0.1)


async def test_health_before_anything_is_open_is_the_phase() -> None:
    status = WorkerStatus()
    assert Health(status).readiness().reasons[0].startswith("starting since ")


async def test_health_is_made_of_assignment_checks_and_notes() -> None:
    status, service = WorkerStatus(), Service()
    status.enter(Phase.JOINED)
    health = Health(status)
    assignment = Assignment([3])
    note = ReadinessNote("open_transaction", "held back", 3)
    health.include(assignment=lambda: assignment, checks=[service.check], notes=lambda: [note])
    service.now_s = LIMIT_S

    found = health.readiness()
    assert found.reasons == (
        "Kafka has not answered for 15 s", "partition 3 is opening: being opened"
    )  # fmt: skip
    assert found.notes == (note,)


def test_a_wait_explains_its_own_phase_and_no_other() -> None:
    status = WorkerStatus()
    wait = LastWait(status, Phase.WAITING_FOR_DYNAMODB)
    status.enter(Phase.WAITING_FOR_DYNAMODB)
    wait("unreachable")
    assert status.text == "waiting for DynamoDB: unreachable"
    status.enter(Phase.JOINED)
    wait("throttled")
    assert (status.text, wait.last()) == ("joined", "throttled")
