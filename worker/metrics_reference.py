"""The metrics as docs/metrics.md shows them, generated from the list so that they cannot drift.

python -m worker.metrics_reference
"""

import sys

from worker.metrics import METRICS, Label, Metric


def markdown_table() -> str:
    """Return the table of metrics in docs/metrics.md."""
    lines = ["| metric | type | unit | labels | |", "|---|---|---|---|---|", *map(_row, METRICS)]
    return "\n".join(lines)


def _row(metric: Metric) -> str:
    labels = "; ".join(map(_label, metric.labels))
    help_ = metric.help
    if metric.buckets:
        help_ += " Buckets: " + ", ".join(f"{bound:g}" for bound in metric.buckets) + "."
    return f"| `{metric.exposed}` | {metric.kind} | {metric.unit} | {labels} | {help_} |"


def _label(label: Label) -> str:
    values = ", ".join(f"`{value}`" for value in label.values) or label.meaning
    return f"`{label.name}`: {values}"


if __name__ == "__main__":
    sys.stdout.write(markdown_table() + "\n")
