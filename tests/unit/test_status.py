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


def test_a_rebalance_lasts_from_joining_to_joined() -> None:
    """Whatever the details say meanwhile; a stop is none."""
    now, seconds = [1.0], list[float]()
    status = WorkerStatus(clock=lambda: now[0], on_joined=seconds.append)
    for at_s, phase in (
        (2.0, Phase.JOINING), (3.0, Phase.JOINING), (5.5, Phase.JOINED), (6.0, Phase.JOINED),
        (7.0, Phase.JOINING), (7.25, Phase.JOINED), (8.0, Phase.JOINING), (9.0, Phase.STOPPING),
    ):  # fmt: skip
        now[0] = at_s
        status.enter(phase)
    assert seconds == [3.5, 0.25]
