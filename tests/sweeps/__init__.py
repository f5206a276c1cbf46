"""Sweeps: fail the first call, then the second, ... until a run meets no fault; audit each run.

    store     calls to DynamoDB of a worker, through the fault-injecting endpoint
    reading   calls to DynamoDB of a reader that fetches, pages and acknowledges
    kafka     a worker's commits of the group's offsets, and its dead letters
    crash     the process ends, at every step of a flush and of an acknowledgement

Every run has a topic, a table and a group of its own (a mailbox of its own on the reader's side);
every worker is a real process. `python -m tests.sweeps` runs all of it, one line of JSON a run.
"""
