"""Why not Kafka alone: three ways to ask a log for one user's messages, and a mailbox beside them.

docs/why-not-kafka.md tells it, `make why-not-kafka` repeats it.
"""

from pathlib import Path


def faust_table_path() -> Path:
    """The program of Option C's workers."""
    return Path(__file__).parent / "faust_table.py"
