"""Counts the attempts of calls to DynamoDB."""

from botocore.exceptions import ClientError

from poste_restante.retryable_errors import is_throttled, throttling_reasons
from worker.dynamodb.client import Answer
from worker.dynamodb.errors import outcome_of
from worker.dynamodb.puts import PutResult
from worker.metrics import WorkerMetrics
from worker.outcomes import AttemptOutcome


class CallMetrics:
    """The CallObserver that counts into the worker's metrics."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics

    def attempted(
        self, operation: str, seconds: float, outcome: Exception | PutResult | Answer
    ) -> None:
        if isinstance(outcome, Exception):
            how = outcome_of(outcome, operation)
            if isinstance(outcome, ClientError) and is_throttled(outcome):
                self._metrics.count_throttled(throttling_reasons(outcome))
        elif isinstance(outcome, PutResult):
            left_over = len(outcome.left_over)
            how = AttemptOutcome.PARTIAL if left_over else AttemptOutcome.OK
            self._metrics.count_batch_write(
                left_over=left_over, write_units=outcome.write_units or 0.0
            )
        else:
            how = AttemptOutcome.OK
        self._metrics.count_store_call(operation, how, seconds)
