"""A worker's phase: since when, and why."""

from worker.status import Phase, WorkerStatus


def test_status_entering_the_same_phase_again_keeps_its_time() -> None:
    now = [1.0]
    status = WorkerStatus(clock=lambda: now[0])
    now[0] = 5.0
    status.enter(Phase.JOINING, "the coordinator is loading")
    now[0] = 9.0
    status.enter(Phase.JOINING, "a rebalance is under way")
    assert (status.phase, status.since_s) == (Phase.JOINING, 5.0)
    assert status.text == "joining: a rebalance is under way"


def test_status_entering_another_phase_forgets_the_detail() -> None:
    now = [1.0]
    status = WorkerStatus(clock=lambda: now[0])
    status.enter(Phase.WAITING_FOR_KAFKA, "connection refused")
    now[0] = 2.0
    status.enter(Phase.JOINING)
    assert (status.since_s, status.text) == (2.0, "joining")


def test_status_of_a_worker_that_stops_stays_stopping() -> None:
    """A stop revokes its partitions, which looks like a rebalance."""
    status = WorkerStatus()
    status.enter(Phase.STOPPING)
    status.enter(Phase.JOINING, "a rebalance is under way")
    assert status.text == "stopping"
