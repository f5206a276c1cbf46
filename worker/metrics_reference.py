"""Generates the tables of docs/metrics.md from the lists of metrics.

python -m worker.metrics_reference            # of the worker
python -m worker.metrics_reference --reader   # of the read module
"""

import sys
from collections.abc import Sequence

from poste_restante.metric_list import METRICS as READER_METRICS
from poste_restante.metric_types import Label, Metric
from worker.metrics import METRICS


def markdown_table(metrics: Sequence[Metric] = METRICS) -> str:
    """Return a table of docs/metrics.md."""
    lines = ["| metric | type | unit | labels | |", "|---|---|---|---|---|", *map(_row, metrics)]
    return "\n".join(lines)


def _row(metric: Metric) -> str:
    labels = "; ".join(map(_label, metric.labels))
    help_ = metric.help
    if metric.buckets:
        help_ += " Buckets: " + ", ".join(f"{bound:.9g}" for bound in metric.buckets) + "."
    return f"| `{metric.exposed}` | {metric.kind} | {metric.unit} | {labels} | {help_} |"


def _label(label: Label) -> str:
    values = ", ".join(f"`{value}`" for value in label.values) or label.meaning
    return f"`{label.name}`: {values}"


if __name__ == "__main__":
    shown = READER_METRICS if "--reader" in sys.argv[1:] else METRICS
    sys.stdout.write(markdown_table(shown) + "\n")
