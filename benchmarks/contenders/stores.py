"""Where the contenders write: the endpoint that answers at once, or DynamoDB Local.

Both say what has arrived of the messages. Tables of the worker are made in DynamoDB Local in both
cases, by its own `init`: the instant endpoint passes on all but the writes.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.request import Request, urlopen

import boto3

from benchmarks.contenders.arrived import MESSAGES, Arrivals

#: Seconds until the endpoint answers, and that `poste init` may take.
_ANSWER_S_MAX, _INIT_S_MAX = 30.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What came of one run. messages: different ones; again: those that came once more. seconds:
    from the first write to the last; 0 where it is not known. counted: calls and units
    are; else they are no figures."""

    messages: int
    again: int = 0
    seconds: float = 0.0
    calls: int = 0
    write_units: int = 0
    counted: bool = True


class Store(Protocol):
    """environment: where a child finds it. table: there while the block runs, if it is needed.
    watch: called again and again during a run."""

    @property
    def environment(self) -> Mapping[str, str]: ...
    def table(self, contender: str, environ: Mapping[str, str]) -> Any: ...
    def watch(self) -> None: ...
    def written(self, table: str) -> Written: ...


class Instant:
    """`address`: of an endpoint with `CountingArrivals`, before the one at `behind`."""

    def __init__(self, address: str, behind: str, aws: Mapping[str, str]) -> None:
        self._address, self._behind, self._aws = address, behind, aws

    @property
    def environment(self) -> Mapping[str, str]:
        return {**self._aws, "AWS_ENDPOINT_URL_DYNAMODB": self._address}

    @contextmanager
    def table(self, contender: str, environ: Mapping[str, str]) -> Iterator[None]:
        made = contender == "worker"  # nobody else asks for more than writes
        with _made(environ, self._behind) if made else _nothing():
            self._asked("DELETE")
            yield

    def watch(self) -> None: ...

    def written(self, table: str) -> Written:  # noqa: ARG002 - it counts for whoever runs
        found = self._asked("GET")
        operations = [counted for name, counted in found.items() if name != MESSAGES]
        return Written(
            **found[MESSAGES],
            calls=sum(counted["calls"] for counted in operations),
            write_units=sum(counted["write_units"] for counted in operations),
        )

    def _asked(self, method: str) -> Any:
        with urlopen(Request(self._address, method=method), timeout=_ANSWER_S_MAX) as answer:
            return json.load(answer)


class Local:
    """DynamoDB Local. What a run wrote is read from its table; calls are not counted."""

    def __init__(self, address: str, aws: Mapping[str, str]) -> None:
        self._address, self._aws = address, aws
        self._client = boto3.client(
            "dynamodb", endpoint_url=address, region_name=aws["AWS_DEFAULT_REGION"],
            aws_access_key_id=aws["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=aws["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip
        self._table, self._counts = "", [(0.0, 0)]

    @property
    def environment(self) -> Mapping[str, str]:
        return {**self._aws, "AWS_ENDPOINT_URL_DYNAMODB": self._address}

    @contextmanager
    def table(self, contender: str, environ: Mapping[str, str]) -> Iterator[None]:  # noqa: ARG002 - each needs one
        self._table, self._counts = environ["POSTE_DYNAMODB__TABLE"], []
        with _made(environ, self._address):
            yield

    def watch(self) -> None:
        """How many items there are by now: the rate of a contender that commits at leisure."""
        described = self._client.describe_table(TableName=self._table)
        self._counts.append((time.monotonic(), described["Table"]["ItemCount"]))

    def written(self, table: str) -> Written:
        arrivals = Arrivals()
        for page in self._client.get_paginator("scan").paginate(TableName=table):
            arrivals.add(item for item in page["Items"] if item["position"]["S"] != "!")
        first = next((at for at, items in self._counts if items > self._counts[0][1]), 0.0)
        last = next((at for at, items in self._counts if items >= self._counts[-1][1]), 0.0)
        return Written(messages=arrivals.messages, seconds=last - first, counted=False)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _made(environ: Mapping[str, str], address: str) -> Iterator[None]:
    """The table and the dead-letter topic of these settings, by the worker's own `init`."""
    done = subprocess.run(
        [sys.executable, "-m", "worker", "init", "--replication-factor", "1"],
        env={**environ, "AWS_ENDPOINT_URL_DYNAMODB": address},
        capture_output=True, text=True, check=False, timeout=_INIT_S_MAX,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"poste init: {done.stderr.strip()}")
    yield
